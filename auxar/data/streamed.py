"""Image sets that are read while they are used, for data sets larger than the disk."""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, TypeVar

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.data.batches import Numbered
from auxar.data.conversion import Preparation
from auxar.data.crops import Crops
from auxar.data.decoding import BrokenImage
from auxar.data.folder import digest
from auxar.data.randomness import generator
from auxar.data.sets import ImageSet
from auxar.data.source import EncodedImages
from auxar.data.splits import Side
from auxar.errors import UserError, logger, one_line
from auxar.model import CONDITION, IMAGE, Condition, ImageSpec, Values

T = TypeVar("T")
Row = tuple[int, list[Any]]
"""The position of an image in the stream, and the values of `EncodedImages.columns`."""
Pixels = tuple[np.ndarray, np.ndarray | None]
"""The pixels of an image, and its condition."""


@attrs.frozen(eq=False)
class StreamedImages(ImageSet):
    """An image set that is streamed from its source. The number of images is unknown until all are read.

    Evaluation reads the images in the order of the source. Training draws them at random from a buffer of
    `shuffle_buffer` images. A resumed training reads the images of earlier steps again and discards them. It decodes
    them only if `skip_broken` is true, because broken images have to be found.
    """

    encoded: EncodedImages
    preparation: Preparation
    image: ImageSpec
    crops: Crops | None
    side: Side
    """The side of the stream that the images are on."""
    skip_broken: bool
    shuffle_buffer: int
    own_shards: bool = False
    """Whether each of several processes reads its own shards for training."""
    part: tuple[int, ...] = ()
    """The number of the process whose shards these are; empty for the whole stream."""
    # Only one worker is allowed. `datasets` would distribute the shards of a stream over several workers, and the order
    # of the images would depend on the number of workers.
    most_workers: int | None = attrs.field(init=False, default=1)

    @property
    def condition(self) -> Condition | None:  # type: ignore[override]
        return None if self.encoded.conditions is None else self.encoded.conditions.condition

    @property
    def fingerprint(self) -> str:  # type: ignore[override]
        # The images are unknown until they are read, so the fingerprint hashes their source.
        own = () if self.encoded.conditions is None else (self.encoded.conditions.identity,)
        return digest(self.encoded.identity, self.preparation.identity, repr(self.side), *own)

    def own_part(self, rank: int, processes: int) -> StreamedImages | None:
        if processes == 1 or not self.own_shards:
            return None
        shards = self.encoded.rows.num_shards
        if shards < processes:
            raise UserError(
                f"data.shards: 'own' needs at least one file (shard) of training images for each process, but there "
                f"are {shards} for {processes} processes; use fewer processes, or leave out data.shards"
            )
        rows = self.encoded.rows.shard(num_shards=processes, index=rank, contiguous=False)
        return attrs.evolve(self, encoded=attrs.evolve(self.encoded, rows=rows), part=(rank,))

    def training_examples(self, seed: int, shares: Iterable[range]) -> Iterator[Values]:
        epochs = (self._some(self._images(self._shuffled(seed, epoch))) for epoch in itertools.count())
        images = enumerate(itertools.chain.from_iterable(epochs))
        for share in shares:
            wanted = ((place, convert()) for place, convert in images if place >= share.start)
            found = itertools.islice(wanted, len(share))
            yield _examples(
                [(self.cropped(pixels, seed, place, *self.part).copy(), given) for place, (pixels, given) in found]
            )

    def every_example(self, count: int, first: int, limit: int | None, block: int = 1) -> Iterator[Numbered]:
        images = self._some(self._images(self._rows()))
        for number, convert in enumerate(itertools.islice(images, limit)):
            if number // block % count == first:
                yield number, _examples([convert()])

    def named(self) -> Iterator[tuple[str, Tensor]]:
        return self._some(
            # At most one image: none if it is broken and left out.
            (self._name(row), torch.tensor(convert()[0]))
            for row in self._rows()
            for convert in self._images([row])
        )

    def whole(self) -> StreamedImages:
        return attrs.evolve(self, side=Side(), own_shards=False)

    @property
    def reduced(self) -> bool:  # type: ignore[override]
        # Raises `UserError` if the set has no image.
        _, (value, *_) = next(self._some(self._rows()))
        with contextlib.suppress(BrokenImage):
            return self.preparation.reduces(self.encoded.content(value))
        return False

    def _some(self, found: Iterable[T]) -> Iterator[T]:
        """Yields the entries. Raises `UserError` if there is none."""
        empty = True
        for each in found:
            empty = False
            yield each
        if empty:
            raise UserError(f"data.path: the stream gives no {self.side}")

    def _rows(self) -> Iterator[Row]:
        """Yields (position in the stream, values of the columns) for every image on this side of the split."""
        try:
            for position, row in enumerate(self.encoded.rows):
                if self.side.holds(position):
                    yield position, [row[column] for column in self.encoded.columns]
        except Exception as error:  # The network, pyarrow and `datasets` all raise different exceptions.
            reason = str(error).strip().split("\n")[0]
            raise UserError(f"data.path: reading the stream failed: {reason}") from error

    def _shuffled(self, seed: int, epoch: int) -> Iterator[Row]:
        # `IterableDataset.shuffle` would also shuffle the shards. This would change the positions of the images, which
        # determine their side of the split.
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

    def _images(self, rows: Iterable[Row]) -> Iterator[Callable[[], Pixels]]:
        """Yields a function for each image that converts it, so that images can be discarded without converting them.

        If `skip_broken` is true, every image is converted, and broken images are logged and left out.
        """
        for row in rows:
            if not self.skip_broken:
                yield functools.partial(self._convert, row)
                continue
            try:
                pixels = self._convert(row)
            except _Broken as error:
                logger.warning("%s", error)
                continue
            yield lambda pixels=pixels: pixels  # type: ignore[misc]

    def _name(self, row: Row) -> str:
        position, values = row
        return one_line(self.encoded.name(values[0], position))

    def _convert(self, row: Row) -> Pixels:
        name = self._name(row)
        try:
            value, *others = row[1]
            encoded = self.encoded.content(value)
            pixels = self.preparation(encoded, name)
            reader = self.encoded.conditions
            return pixels, None if reader is None else reader(others, encoded, name, self.encoded.content)
        except BrokenImage as error:
            outcome = "it is left out" if self.skip_broken else "set data.broken = 'skip' to leave out broken images"
            raise _Broken(f"data.path: {name} cannot be read as an image: {error}; {outcome}") from error


def _examples(found: Sequence[Pixels]) -> Values:
    images, conditions = zip(*found, strict=True)
    given = [condition for condition in conditions if condition is not None]
    condition = torch.from_numpy(np.stack(given)) if given else None
    return Values({IMAGE: torch.from_numpy(np.stack(images)), CONDITION: condition})


class _Broken(UserError):
    """The error for a broken image in a stream. It ends the run unless `skip_broken` is true."""
