"""Compression of pictures into a file, and decompression, with the factors of a model in integers."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.coding.container import (
    FORMAT,
    CodedCondition,
    CodedFactor,
    Container,
    Header,
    streams,
    write_container,
)
from auxar.coding.factors import FactorCoder
from auxar.coding.index import Entry
from auxar.coding.pictures import Picture
from auxar.coding.tiles import from_tiles, tile_counts, to_tiles
from auxar.errors import UserError, shown
from auxar.model import NULL, Chain, Condition, Sampler
from auxar.numerics.levels import to_pixels
from auxar.recipe.building import own_sampler

ARITHMETIC = "integer"
"""The arithmetic of files. Its frequencies are the same on every machine."""
DECODED_DIMS = 2**18
"""Maximum number of sub-pixels that are decoded at once; at least one tile is."""
ENCODED_DIMS = 2**16
"""Maximum number of sub-pixels that are encoded at once; at least one tile is. Larger batches take more time for
each image."""


@attrs.frozen(eq=False)
class Archiver:
    """Compresses and decompresses pictures with a model in integers.

    Raises `UserError` if a factor has no integer frequencies, or if the images of the model are not pictures.
    """

    model: Chain
    sampler: Sampler
    coders: tuple[FactorCoder, ...] = attrs.field(init=False)
    """A coder for each factor, the coarsest first."""

    @coders.default
    def _coders_of_factors(self) -> tuple[FactorCoder, ...]:
        image = self.model.image
        if image.channels not in (1, 3) or image.levels != 256:
            raise UserError(f"files need a model of gray or RGB images with 256 levels, got {image}")
        return tuple(FactorCoder(factor, self.sampler) for factor in reversed(self.model.factors))

    @property
    def most_tiles(self) -> int:
        """Maximum number of tiles that are decoded at once."""
        return max(1, DECODED_DIMS // self.model.image.dims)

    def header(self, name: str, *, conditioned: bool = False) -> Header:
        """The header of a file. `name` is that of the run or of the model.

        `conditioned` says whether images have conditions other than the null condition. Raises `UserError` if these are
        no labels or attributes.
        """
        image, digests = self.model.image, self.model.digests
        factors = tuple(
            CodedFactor(coder.factor.name, digests[coder.factor.name], coder.lag()) for coder in self.coders
        )
        condition = _coded(self.model.condition) if conditioned else None
        return Header(FORMAT, name, image.channels, image.height, image.width, image.levels, factors, condition)

    def check(self, container: Container) -> None:
        """Raises `UserError` unless a file was made with this model, and its header can be used to decode images."""
        header, path, image = container.header, container.path, self.model.image
        if header.tile != image:
            raise UserError(f"{path} is for images of {header.tile}, but the model has images of {image}")
        if header.condition is not None and _coded(self.model.condition) != header.condition:
            raise UserError(f"{path} was made with another model: images have other conditions")
        required = self.model.condition is not None and not self.model.condition.optional
        if required and (header.condition is None or any(NULL in entry.condition for entry in container.entries)):
            raise UserError(f"{path} was made with another model: it has images without a condition")
        names = [coder.factor.name for coder in self.coders]
        if [factor.name for factor in header.factors] != names:
            raise UserError(f"{path} was made with another model: expected the factors {', '.join(names)}")
        for coder, factor in zip(self.coders, header.factors, strict=True):
            if (own := self.model.digests[factor.name]) != factor.digest:
                raise UserError(
                    f"{path} was made with another model: the digest of {factor.name} in integers is "
                    f"{shown(factor.digest[:16])}… in the file and '{own[:16]}'… in the model"
                )
            # With a larger lag, pixels would be coded in raster order, too, but decoding would take more steps.
            if factor.lag > coder.factor.image.width:
                most = coder.factor.image.width
                raise UserError(f"{path} is damaged: the lag of {factor.name} is {factor.lag}, expected at most {most}")

    def check_picture(self, picture: Picture, name: object) -> None:
        """Raises `UserError` if the model is one of gray images and the picture has colors."""
        if len(picture.pixels) > self.model.image.channels:
            raise UserError(f"{name} cannot be compressed: it has colors, but the model's images are gray")

    def encode(
        self,
        pictures: Sequence[tuple[str, Picture]],
        header: Header,
        conditions: Sequence[tuple[int, ...]] | None = None,
    ) -> list[tuple[Entry, bytes]]:
        """Encodes pictures, given with their names. Returns the entry in the index and the record of each.

        `conditions` has the values of the condition of each picture, if the header has a condition.

        Raises `UserError` if the model is one of gray images and a picture has colors.
        """
        for name, picture in pictures:
            self.check_picture(picture, name)
        of_picture = [
            to_tiles(np.repeat(picture.pixels, header.channels // len(picture.pixels), axis=0), header.tile)
            for _, picture in pictures
        ]
        tiles = torch.from_numpy(np.concatenate(of_picture))
        values = list(conditions or [()] * len(pictures))
        given = self._conditions([own for own, part in zip(values, of_picture, strict=True) for _ in part], header)
        most = max(1, ENCODED_DIMS // header.tile.dims)
        parts = []
        for first in range(0, len(tiles), most):
            rows = slice(first, first + most)
            parts.append(self._encoded(tiles[rows], header, None if given is None else given[rows]))
        by_factor = [[stream for part in parts for stream in part[number]] for number in range(len(self.coders))]
        coded, first = [], 0
        for (name, picture), own, value in zip(pictures, of_picture, values, strict=True):
            entry, record = _record(name, picture, [each[first : first + len(own)] for each in by_factor], header)
            coded.append((attrs.evolve(entry, condition=value), record))
            first += len(own)
        return coded

    def decode(
        self, container: Container, chosen: Sequence[Entry], depth: int = 0
    ) -> Iterator[tuple[Entry, Picture | None]]:
        """Decodes the chosen images, or their views at a depth, in the order of the file.

        Yields None for an image that is damaged or missing. A view of a picture that does not fill its last tiles has
        the pixels of which at least a part lies in the picture. Raises `UserError` if a view cannot be shown.
        """
        if (channels := self.model.specs[depth].channels) not in (1, 3):
            raise UserError(f"the views at depth {depth} have {channels} channels, and cannot be written as pictures")
        waiting: list[tuple[Entry, bytes]] = []
        for entry, record in container.records(chosen, coarse=depth > 0):
            if record is None:
                yield from self._decoded(waiting, container.header, depth)
                waiting = []
                yield entry, None
                continue
            waiting.append((entry, record))
            if sum(len(each.lengths[0]) for each, _ in waiting) >= self.most_tiles:
                yield from self._decoded(waiting, container.header, depth)
                waiting = []
        yield from self._decoded(waiting, container.header, depth)

    def _encoded(self, tiles: Tensor, header: Header, condition: Tensor | None) -> list[list[bytes]]:
        """The streams of tiles: for each factor, the coarsest first, the stream of each tile."""
        views = self.model.views(tiles.to(torch.int64))
        found = []
        for coder, factor in zip(self.coders, header.factors, strict=True):
            image, view, given = coder.factor.inputs(views, condition)
            found.append(coder.encode(image, view, factor.lag, given))
        return found

    def _conditions(self, values: Sequence[tuple[int, ...]], header: Header) -> Tensor | None:
        """The condition of each tile: int64, (tiles, *condition.spec.shape); None without a condition."""
        if header.condition is None or self.model.condition is None:
            return None
        return torch.tensor(values, dtype=torch.int64).reshape(-1, *self.model.condition.spec.shape)

    def _decoded(
        self, waiting: Sequence[tuple[Entry, bytes]], header: Header, depth: int
    ) -> Iterator[tuple[Entry, Picture | None]]:
        by_image = [streams(entry, record) for entry, record in waiting]
        by_factor = [[stream for image in by_image for stream in image[number]] for number in range(len(self.coders))]
        total = len(by_factor[0])
        given = self._conditions([entry.condition for entry, _ in waiting for _ in entry.lengths[0]], header)
        parts = []
        for first in range(0, total, self.most_tiles):
            rows = slice(first, first + self.most_tiles)
            condition = None if given is None else given[rows]
            parts.append(self._tiles([each[rows] for each in by_factor], header, depth, condition))
        tiles = np.concatenate(parts) if parts else np.empty(0)
        first = 0
        for entry, record in waiting:
            count = len(entry.lengths[0])
            yield entry, self._picture(tiles[first : first + count], entry, record, header, depth)
            first += count

    def _tiles(
        self, by_factor: Sequence[Sequence[bytes]], header: Header, depth: int, condition: Tensor | None
    ) -> np.ndarray:
        """Decodes tiles, or their views at a depth: uint8, (tiles, channels, height, width)."""
        view: Tensor | None = None
        for coder, factor, own in zip(self.coders, header.factors, by_factor, strict=True):
            if coder.factor.depth >= depth:
                view = coder.decode(own, view, factor.lag, condition)
        return to_pixels(_not_none(view).numpy(), self.model.specs[depth].levels)

    def _picture(self, tiles: np.ndarray, entry: Entry, record: bytes, header: Header, depth: int) -> Picture | None:
        spec = self.model.specs[depth]
        rows, columns = tile_counts(entry.height, entry.width, header.tile)
        # A view has as many rows as the same share of its tiles, rounded up.
        height = min(rows * spec.height, -(-entry.height * spec.height // header.height))
        width = min(columns * spec.width, -(-entry.width * spec.width // header.width))
        pixels = from_tiles(tiles, height, width)
        pixels = np.ascontiguousarray(pixels[:1] if entry.gray else pixels)
        if depth == 0 and checksum_of(pixels) != entry.checksum:
            return None
        profile, exif = record[: entry.profile_bytes], record[entry.profile_bytes :][: entry.exif_bytes]
        # The metadata of a picture, such as its size, need not hold for its views.
        return Picture(pixels, profile, exif) if depth == 0 else Picture(pixels)


def archiver_of(model: Chain) -> Archiver:
    """The archiver of a run's model. It works on the CPU, where sums of integers are exact with every library."""
    return Archiver(model.to("cpu"), own_sampler(model))


def write_archive(
    path: Path,
    archiver: Archiver,
    header: Header,
    names: Sequence[str],
    read: Callable[[int], Picture],
    conditions: Sequence[tuple[int, ...]] | None = None,
    *,
    sealed: bool = False,
) -> list[Entry]:
    """Compresses pictures into a file. `read` returns the picture with a number. Returns the index of the file.

    `conditions` has the values of the condition of each picture, if the header has a condition. With `sealed`, the file
    ends with a checksum of its content.
    """
    coded: list[tuple[Entry, bytes]] = []
    waiting: list[tuple[str, Picture]] = []
    tiles = 0
    for number, name in enumerate(names):
        picture = read(number)
        waiting.append((name, picture))
        _, height, width = picture.pixels.shape
        rows, columns = tile_counts(height, width, header.tile)
        tiles += rows * columns
        # Small pictures are encoded together.
        if tiles * header.tile.dims >= ENCODED_DIMS or number + 1 == len(names):
            own = None if conditions is None else conditions[number + 1 - len(waiting) : number + 1]
            coded += archiver.encode(waiting, header, own)
            waiting, tiles = [], 0
    entries = [entry for entry, _ in coded]
    write_container(path, header, entries, [record for _, record in coded], sealed=sealed)
    return entries


def _coded(condition: Condition | None) -> CodedCondition:
    """The description of a condition in a header. Raises `UserError` if it is no label and no attributes."""
    if condition is None or condition.kind not in ("label", "attributes"):
        kind = "no condition" if condition is None else f"a condition of the kind '{condition.kind}'"
        raise UserError(f"files have labels or attributes of images, but this model has {kind}; use the null condition")
    return CodedCondition(condition.kind, condition.spec.channels, condition.spec.levels)


def _record(name: str, picture: Picture, by_factor: Sequence[Sequence[bytes]], header: Header) -> tuple[Entry, bytes]:
    """The entry and the record of a picture, from the streams of its tiles for each factor, the coarsest first."""
    channels, height, width = picture.pixels.shape
    record = b"".join([picture.profile, picture.exif, *(stream for each in by_factor for stream in each)])
    lengths = tuple(tuple(map(len, each)) for each in by_factor)
    entry = Entry(
        name=name,
        gray=channels == 1 < header.channels,
        height=height,
        width=width,
        profile_bytes=len(picture.profile),
        exif_bytes=len(picture.exif),
        lengths=lengths,
        coarse_checksum=zlib.crc32(record[: len(record) - sum(lengths[-1])]),
        checksum=checksum_of(picture.pixels),
    )
    return entry, record


def checksum_of(pixels: np.ndarray) -> int:
    """The CRC-32 of a picture's values, in the order of rows, columns and channels."""
    return zlib.crc32(np.ascontiguousarray(pixels.transpose(1, 2, 0)).tobytes())


def _not_none(view: Tensor | None) -> Tensor:
    assert view is not None
    return view
