"""Images read as they are needed, for sets larger than the disk."""

from __future__ import annotations

import functools
import itertools
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.data.conversion import BrokenImage, Preparation
from auxar.data.folder import digest
from auxar.data.randomness import generator, uniform
from auxar.data.sets import ImageSet
from auxar.data.source import EncodedImages
from auxar.errors import UserError, one_line
from auxar.interfaces import ImageSpec

logger = logging.getLogger(__name__)
Row = tuple[int, Any]


@attrs.frozen
class Assignment:
    """One side of a random division of a stream, in which each image falls to a side by its position alone."""

    seed: int
    fraction: float
    train: bool

    def holds(self, position: int) -> bool:
        """Whether the image at `position` of the whole stream is on this side."""
        return (uniform("stream split", self.seed, position) < self.fraction) is self.train


@attrs.frozen(eq=False)
class StreamedImages(ImageSet):
    """A stream of images, of unknown number, in the order of the source.

    Training shuffles it through a buffer of `shuffle_buffer` images. To resume, the images before are read again and
    dropped, without decoding them unless broken ones are skipped.
    """

    image: ImageSpec
    fingerprint: str
    encoded: EncodedImages
    preparation: Preparation
    assignment: Assignment | None
    skip_broken: bool
    shuffle_buffer: int
    # `datasets` deals a stream's shards out to the workers, which would make the order depend on their number.
    most_workers: int | None = 1

    @classmethod
    def of(
        cls,
        encoded: EncodedImages,
        preparation: Preparation,
        assignment: Assignment | None,
        skip_broken: bool,
        shuffle_buffer: int,
    ) -> StreamedImages:
        """The images of `encoded` that `assignment` holds; all of them without it."""
        # The images are not known before they are read: what is hashed is where they come from.
        fingerprint = digest(encoded.identity, repr(preparation), repr(assignment))
        return cls(preparation.image, fingerprint, encoded, preparation, assignment, skip_broken, shuffle_buffer)

    def training_images(self, seed: int, shares: Iterable[range]) -> Iterator[Tensor]:
        images = enumerate(self._sequence(seed))
        for share in shares:
            wanted = (convert() for place, convert in images if place >= share.start)
            yield torch.from_numpy(np.stack(list(itertools.islice(wanted, len(share)))))

    def every(self, count: int, first: int, limit: int | None, block: int = 1) -> Iterator[tuple[int, Tensor]]:
        for number, convert in enumerate(itertools.islice(self._images(self._rows()), limit)):
            if number // block % count == first:
                yield number, torch.from_numpy(convert())

    def _sequence(self, seed: int) -> Iterator[Callable[[], np.ndarray]]:
        """The endless training sequence."""
        for epoch in itertools.count():
            found = False
            for convert in self._images(self._shuffled(seed, epoch)):
                found = True
                yield convert
            if not found:
                raise UserError("data.path: the stream holds no images for training")

    def _rows(self) -> Iterator[Row]:
        """(position in the stream, value of the image column) of every image on this side of the split."""
        try:
            for position, row in enumerate(self.encoded.rows):
                if self.assignment is None or self.assignment.holds(position):
                    yield position, row[self.encoded.column]
        except OSError as error:
            raise UserError(f"data.path: reading the stream failed: {error}") from error

    def _shuffled(self, seed: int, epoch: int) -> Iterator[Row]:
        # `IterableDataset.shuffle` would also shuffle the shards, and with them the positions that the split goes by.
        randomness = generator("buffer", seed, epoch)
        buffer: list[Row] = []

        def draw() -> Row:
            place = int(randomness.random() * len(buffer))
            buffer[place], buffer[-1] = buffer[-1], buffer[place]
            return buffer.pop()

        for row in self._rows():
            buffer.append(row)
            if len(buffer) > self.shuffle_buffer:
                yield draw()
        while buffer:
            yield draw()

    def _images(self, rows: Iterable[Row]) -> Iterator[Callable[[], np.ndarray]]:
        """For each image, a function that converts it, so that images which are passed over cost little."""
        for row in rows:
            if not self.skip_broken:
                yield functools.partial(self._convert, row)
                continue
            try:
                pixels = self._convert(row)
            except _Broken as error:
                logger.warning("%s", error)
                continue
            yield functools.partial(np.asarray, pixels)

    def _convert(self, row: Row) -> np.ndarray:
        position, value = row
        name, encoded = self.encoded.read(value, position)
        name = one_line(name)
        try:
            if encoded is None:
                raise BrokenImage("there is no file or it may not be read")
            return self.preparation(encoded, name)
        except BrokenImage as error:
            advice = "" if self.skip_broken else "; data.broken = 'skip' leaves broken images out"
            raise _Broken(f"data.path: {name} cannot be read as an image: {error}{advice}") from error


class _Broken(UserError):
    """A broken image in a stream, which ends the run unless it is to be skipped."""
