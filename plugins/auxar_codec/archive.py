"""Encoding of pictures to the records of a file, and decoding, with the factors of a model in integers."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterator, Sequence

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar import FactorCoder, ImageModel, UserError
from auxar_codec.container import FORMAT, CodedCondition, CodedFactor, Container, Header
from auxar_codec.index import Entry
from auxar_codec.pictures import Picture
from auxar_codec.tiles import from_tiles, tile_counts, to_tiles

DECODED_DIMS = 2**18
"""Maximum number of sub-pixels that are decoded at once; at least one tile is."""
ENCODED_DIMS = 2**16
"""Maximum number of sub-pixels that are encoded at once; at least one tile is. Larger batches take more time for
each image."""

Record = tuple[Entry, bytes]
"""An image in the index, and its record."""
Streams = tuple[bytes, ...]
"""The streams of a tile: one for each factor, the coarsest first."""


def coders_of(model: ImageModel) -> list[FactorCoder]:
    """A coder for each factor of a model, the coarsest first. Raises `UserError` if it has no integer frequencies."""
    assert model.chain.sampler is not None, "a model in integers was loaded from a run"
    return [FactorCoder(factor, model.chain.sampler) for factor in reversed(model.factors)]


def header_of(model: ImageModel, name: str, *, conditioned: bool = False) -> Header:
    """The header of files that a model makes. `name` is the name of the run or of the model.

    `conditioned` says whether images have conditions other than the null condition. Raises `UserError` if these are no
    labels or attributes, if the images of the model are not pictures, or if a factor has no integer frequencies.
    """
    image, given, digests = model.image, model.condition, model.chain.digests
    if image.channels not in (1, 3) or image.levels != 256:
        raise UserError(f"files need a model of gray or RGB images with 256 levels, got {image}")
    if conditioned and (given is None or given.kind not in ("label", "attributes")):
        kind = "no condition" if given is None else f"a condition of the kind '{given.kind}'"
        raise UserError(f"files have labels or attributes of images, but this model has {kind}; use the null condition")
    factors = tuple(
        CodedFactor(coder.factor.name, digests[coder.factor.name], coder.lag()) for coder in coders_of(model)
    )
    shape = image.channels, image.height, image.width, image.levels
    condition = CodedCondition(given.kind, given.spec.channels, given.spec.levels) if given and conditioned else None
    return Header(FORMAT, name, *shape, factors, condition)


def check_model(container: Container, model: ImageModel) -> None:
    """Raises `UserError` unless a file was made with this model."""
    own = header_of(model, "", conditioned=container.header.condition is not None)
    for theirs, ours in itertools.zip_longest(_identity(container.header), _identity(own)):
        if theirs != ours:
            raise UserError(
                f"{container.path} was made with another model: it needs {theirs!s:.200}, and this model has {ours}"
            )


def _identity(header: Header) -> list[str]:
    """The parts of a header that decide whether a model can decode a file."""
    factors = [f"the factor {factor.name!r} with the digest {factor.digest!r}" for factor in header.factors]
    return [f"images of {header.tile}", str(header.condition or "no condition"), *factors]


def entry_of(name: str, picture: Picture, header: Header, condition: tuple[int, ...] = ()) -> Entry:
    """The entry of a picture in the index of a file, before the picture is encoded."""
    channels, height, width = picture.pixels.shape
    sizes = len(picture.profile), len(picture.exif)
    return Entry(name, channels == 1 < header.channels, height, width, *sizes, checksum_of(picture.pixels), condition)


def checksum_of(pixels: np.ndarray) -> int:
    """The CRC-32 of a picture's values, in the order of rows, columns and channels."""
    return zlib.crc32(np.ascontiguousarray(pixels.transpose(1, 2, 0)).tobytes())


class Archiver:
    """Encodes and decodes pictures with a model in integers, for a file with a header that fits the model.

    The model is on the CPU, where sums of integers are exact with every library.
    """

    def __init__(self, model: ImageModel, header: Header) -> None:
        self.model = model
        self.header = header
        self.coders = [(coder, factor.lag) for coder, factor in zip(coders_of(model), header.factors, strict=True)]

    def encode(self, pictures: Sequence[tuple[Entry, Picture]]) -> list[Record]:
        """Encodes pictures, given with their entries. Returns complete entries and records."""
        tiles = [
            to_tiles(np.repeat(picture.pixels, self.header.channels // len(picture.pixels), 0), self.header.tile)
            for _, picture in pictures
        ]
        conditions = self._conditions([entry for entry, _ in pictures], list(map(len, tiles)))
        streams = self._encoded(torch.from_numpy(np.concatenate(tiles)), conditions)
        return [
            _record(entry, picture, list(itertools.islice(streams, len(own))))
            for (entry, picture), own in zip(pictures, tiles, strict=True)
        ]

    def decode(
        self, container: Container, chosen: Sequence[Entry], depth: int = 0
    ) -> Iterator[tuple[Entry, Picture | None]]:
        """Decodes the chosen images, or their views at a depth, in the order of the file.

        Yields None for an image that is damaged or missing. A view of a picture that does not fill its last tiles has
        the pixels of which at least a part lies in the picture. Raises `UserError` if a view cannot be shown.
        """
        if (channels := self.model.chain.specs[depth].channels) not in (1, 3):
            raise UserError(f"the views at depth {depth} have {channels} channels, and cannot be written as pictures")
        waiting, tiles = list[tuple[Entry, bytes | None]](), 0
        for entry, record in container.records(chosen, coarse=depth > 0):
            waiting.append((entry, record))
            tiles += 0 if record is None else len(entry.lengths[0])
            if tiles * self.header.tile.dims >= DECODED_DIMS:
                yield from self._pictures(waiting, depth)
                waiting, tiles = [], 0
        yield from self._pictures(waiting, depth)

    def _encoded(self, tiles: Tensor, conditions: Tensor | None) -> Iterator[Streams]:
        """Yields the streams of each tile."""
        for rows in self._parts(len(tiles), ENCODED_DIMS):
            views = self.model.chain.views(tiles[rows].to(torch.int64))
            found = []
            for coder, lag in self.coders:
                image, view, given = coder.factor.inputs(views, None if conditions is None else conditions[rows])
                found.append(coder.encode(image, view, lag, given))
            yield from zip(*found, strict=True)

    def _pictures(
        self, waiting: Sequence[tuple[Entry, bytes | None]], depth: int
    ) -> Iterator[tuple[Entry, Picture | None]]:
        found = [(entry, record) for entry, record in waiting if record is not None]
        streams = [tile for entry, record in found for tile in streams_of(entry, record)]
        counts = [len(entry.lengths[0]) for entry, _ in found]
        tiles = self._tiles(streams, self._conditions([entry for entry, _ in found], counts), depth)
        for entry, record in waiting:
            own = [] if record is None else list(itertools.islice(tiles, len(entry.lengths[0])))
            yield entry, None if record is None else self._picture(np.stack(own), entry, record, depth)

    def _tiles(self, streams: Sequence[Streams], conditions: Tensor | None, depth: int) -> Iterator[np.ndarray]:
        """Decodes tiles, or their views at a depth: uint8, (channels, height, width)."""
        for rows in self._parts(len(streams), DECODED_DIMS):
            view: Tensor | None = None
            for (coder, lag), own in zip(self.coders, zip(*streams[rows], strict=True), strict=True):
                if coder.factor.depth >= depth:
                    view = coder.decode(own, view, lag, None if conditions is None else conditions[rows])
            assert view is not None
            # The largest level becomes 255, and values are rounded up, as in all pictures of auxar.
            yield from (-(-255 * view // (self.model.chain.specs[depth].levels - 1))).to(torch.uint8).numpy()

    def _picture(self, tiles: np.ndarray, entry: Entry, record: bytes, depth: int) -> Picture | None:
        spec, tile = self.model.chain.specs[depth], self.header.tile
        rows, columns = tile_counts(entry.height, entry.width, tile)
        # A view has as many rows as the same share of its tiles, rounded up.
        height = min(rows * spec.height, -(-entry.height * spec.height // tile.height))
        width = min(columns * spec.width, -(-entry.width * spec.width // tile.width))
        pixels = from_tiles(tiles, height, width)
        pixels = np.ascontiguousarray(pixels[:1] if entry.gray else pixels)
        if depth > 0:  # The metadata of a picture, such as its size, need not hold for its views.
            return Picture(pixels)
        profile, exif = record[: entry.profile_bytes], record[entry.profile_bytes :][: entry.exif_bytes]
        return Picture(pixels, profile, exif) if checksum_of(pixels) == entry.checksum else None

    def _conditions(self, entries: Sequence[Entry], tiles: Sequence[int]) -> Tensor | None:
        """The condition of each tile of images with these numbers of tiles; None without a condition."""
        if not entries:
            return None
        given = None if self.header.condition is None else [entry.condition for entry in entries]
        found = self.model.conditions(given and torch.tensor(given)[..., None, None], len(entries))
        return None if found is None else found.repeat_interleave(torch.tensor(tiles), 0)

    def _parts(self, count: int, dims: int) -> Iterator[slice]:
        """Slices of `count` tiles, each with at most `dims` sub-pixels, or with one tile."""
        size = max(1, dims // self.header.tile.dims)
        return (slice(first, first + size) for first in range(0, count, size))


def _record(entry: Entry, picture: Picture, tiles: Sequence[Streams]) -> Record:
    """The complete entry and the record of a picture, from the streams of its tiles."""
    by_factor = list(zip(*tiles, strict=True))
    record = b"".join([picture.profile, picture.exif, *itertools.chain(*by_factor)])
    entry = attrs.evolve(entry, lengths=tuple(tuple(map(len, each)) for each in by_factor))
    return attrs.evolve(entry, coarse_checksum=zlib.crc32(record[: entry.coarse_size])), record


def streams_of(entry: Entry, record: bytes) -> list[Streams]:
    """The streams of each tile of an image, from its record."""
    ends = itertools.accumulate(itertools.chain(*entry.lengths), initial=entry.profile_bytes + entry.exif_bytes)
    streams = (record[first:last] for first, last in itertools.pairwise(ends))
    by_factor = [list(itertools.islice(streams, len(lengths))) for lengths in entry.lengths]
    return list(zip(*by_factor, strict=True))
