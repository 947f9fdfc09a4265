"""Encoding of pictures to the records of a file, and decoding, with the factors of a model in integers."""

import base64
import difflib
import functools
import hashlib
import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar import (
    CONDITION,
    Chain,
    FactorCoder,
    ImageModel,
    ImageSpec,
    UserError,
    Values,
    as_integer,
    check_strings,
    progress_bar,
    variable_at,
)
from auxar.numerics.levels import to_pixels
from auxar_codec.container import FORMAT, MOST_TILE, CodedCondition, Container, Header
from auxar_codec.index import Entry, number_of_tiles
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
T = TypeVar("T")


def header_of(model: ImageModel, height: int, width: int, *, tiles: bool, conditioned: bool = False) -> Header:
    """The header of files that a model makes.

    With `tiles`, images are divided into tiles of this height and width. Otherwise, `width` is the width of the widest
    image. `conditioned` says whether images have conditions other than the null condition. Raises
    `UserError` if these are no labels or attributes, if the images of the model are not pictures, or if a factor has no
    integer frequencies.
    """
    image, given = model.image, model.condition
    if image.channels not in (1, 3) or image.levels != 256:
        raise UserError(f"files need a model of gray or RGB images with 256 levels, got {image}")
    if conditioned and (given is None or given.kind not in ("label", "attributes")):
        kind = "no condition" if given is None else f"a condition of the kind '{given.kind}'"
        raise UserError(f"files have labels or attributes of images, but this model has {kind}; use the null condition")
    condition = CodedCondition(given.kind, given.spec.channels, given.spec.levels) if given and conditioned else None
    if tiles and height * width > MOST_TILE:
        raise UserError(f"tile: got {height}×{width} pixels; expected at most {MOST_TILE:,}, such as 4096x4096")
    lags = tuple(coder.lag() for coder in coders_of(model.at(height, width)))
    size = (height, width) if tiles else (0, 0)
    # A file may be given to others, so it has the name of the run's folder without the folders above it.
    name = "" if model.run is None else Path(model.run.name).name
    return Header(FORMAT, name, digest_of(model), image.channels, *size, image.levels, lags, condition)


def coders_of(model: ImageModel) -> list[FactorCoder]:
    """A coder for each factor of a model, the coarsest first. Raises `UserError` if it has no integer frequencies."""
    assert model.chain.sampler is not None, "a model in integers was loaded from a run"
    return [FactorCoder(factor, model.chain.sampler) for factor in reversed(model.factors)]


def digest_of(model: ImageModel) -> str:
    """The digest of a model in integers that headers have."""
    return digest_of_factors({factor.name: model.chain.digests[factor.name] for factor in model.factors})


def digest_of_factors(digests: Mapping[str, str]) -> str:
    """The digest that headers have, from the digests of a model's factors in integers by name.

    Examples:
        >>> digest_of_factors({"stage0": "2e", "prior": "1f"})
        'ib-IjmAR2u29dPtM'
    """
    lines = (f"{name} {digest}\n" for name, digest in sorted(digests.items()))
    return base64.urlsafe_b64encode(hashlib.sha256("".join(lines).encode()).digest())[:16].decode()


def model_of(container: Container, model: ImageModel) -> ImageModel:
    """The model with which a file is decoded: `model`, or `model` without limits of its parameters.

    Raises `UserError` unless the file was made with one of these.
    """
    if model.chain.unlimited_digests and container.header.digest != digest_of(model):
        unlimited = attrs.evolve(model, chain=model.chain.without_limits())
        model = unlimited if container.header.digest == digest_of(unlimited) else model
    given, header, image = model.condition, container.header, model.image
    ours = CodedCondition(given.kind, given.spec.channels, given.spec.levels) if given and header.condition else None
    for theirs, own in (
        (f"a model with the digest {header.digest}", f"a model with the digest {digest_of(model)}"),
        (str(header.condition or "no condition"), str(ours or "no condition")),
        (
            f"{len(header.lags)} factors and images of {header.channels} channels with {header.levels} levels",
            f"{len(model.factors)} factors and images of {image.channels} channels with {image.levels} levels",
        ),
    ):
        if theirs != own:
            raise UserError(f"{container.path} was made with another model: it needs {theirs:.200}, and this is {own}")
    return model


def chosen_of(container: Container, only: Sequence[str], depth: int) -> list[Entry]:
    """The images of these names in a file, or all if there are no names, to be decoded at a depth.

    Raises `UserError` if there is no such depth, or no image of a name.
    """
    as_integer(depth, "depth", 0, len(container.header.lags) - 1)
    only = [only] if isinstance(only, str) else only
    check_strings(only, "only", "names of images")
    names = [entry.name for entry in container.entries]
    for name in only:
        if name not in names:
            near = "".join(f"; did you mean {each!r}?" for each in difflib.get_close_matches(name, names, n=1))
            raise UserError(f"only: {container.path} has no image {name!r}{near}")
    return [entry for entry in container.entries if not only or entry.name in only]


def entry_of(name: str, picture: Picture, channels: int, condition: tuple[int, ...], label: str) -> Entry:
    """The entry of a picture in the index of a file, before it is encoded by a model of images with `channels`.

    Raises `UserError`, with `label`, if the picture has more channels.
    """
    own, height, width = picture.pixels.shape
    if own > channels:
        raise UserError(f"{label} cannot be compressed: it has colors, but the model's images are gray")
    sizes = len(picture.profile), len(picture.exif)
    checksums = checksum_of(picture.pixels), zlib.crc32(picture.profile + picture.exif)
    return Entry(
        name, own == 1 < channels, height, width, *sizes, checksums[0], condition, coarse_checksum=checksums[1]
    )


def checksum_of(pixels: np.ndarray) -> int:
    """The CRC-32 of a picture's values, in the order of rows, columns and channels."""
    return zlib.crc32(values_of(pixels))


def values_of(pixels: np.ndarray) -> bytes:
    """A picture's values, (channels, height, width), in the order of rows, columns and channels."""
    return np.ascontiguousarray(pixels.transpose(1, 2, 0)).tobytes()


class Archiver:
    """Encodes and decodes pictures with a model in integers, for a file with a header that fits the model.

    The model is on the CPU, where sums of integers are exact with every library.
    """

    def __init__(self, model: ImageModel, header: Header) -> None:
        self.model = model
        self.header = header
        self._at = functools.lru_cache(maxsize=4)(self._at_size)

    def size(self, entry: Entry) -> int:
        """The number of sub-pixels of the tiles of an image."""
        return number_of_tiles(entry, self.header.image) * self.header.tile_of(entry).dims

    def encode(self, pictures: Sequence[tuple[Entry, Picture]]) -> list[Record]:
        """Encodes pictures, given with their entries. Returns complete entries and records."""
        found = []
        for part in steps(chunks_of([self.size(entry) for entry, _ in pictures], ENCODED_DIMS), "encoding"):
            for tile, group in itertools.groupby(pictures[part], key=lambda each: self.header.tile_of(each[0])):
                own = list(group)
                tiles = [self._tiles(picture.pixels, tile) for _, picture in own]
                conditions = self._conditions([entry for entry, _ in own], list(map(len, tiles)))
                streams = self._encoded(tile, torch.cat(tiles), conditions)
                found += [
                    _record(entry, picture, list(itertools.islice(streams, len(each))))
                    for (entry, picture), each in zip(own, tiles, strict=True)
                ]
        return found

    def decode(
        self, container: Container, chosen: Sequence[Entry], depth: int = 0
    ) -> Iterator[tuple[Entry, Picture | None]]:
        """Decodes the chosen images, or their views at a depth, in the order of the file.

        Yields None for an image that is damaged or missing. A view of a picture that does not fill its last tiles has
        the pixels of which at least a part lies in the picture. Raises `UserError` if a view cannot be shown.
        """
        if (channels := self.model.chain.specs[depth].channels) not in (1, 3):
            raise UserError(f"the views at depth {depth} have {channels} channels, and cannot be written as pictures")
        for part in steps(chunks_of([self.size(entry) for entry in chosen], DECODED_DIMS), "decoding"):
            records = container.records(chosen[part], coarse=depth > 0)
            for tile, group in itertools.groupby(records, key=lambda each: self.header.tile_of(each[0])):
                try:
                    yield from self._pictures(list(group), tile, depth)
                except UserError as error:  # A forged lag does not fit the network.
                    raise UserError(f"{container.path}: {error}") from None

    def _at_size(self, height: int, width: int) -> tuple[Chain, list[tuple[FactorCoder, int]]]:
        """The model at the size of tiles, and its coders with their lags, the coarsest first."""
        model = self.model.at(height, width)
        coders = zip(coders_of(model), self.header.lags, strict=True)
        return model.chain, [(coder, min(lag, coder.factor.image.width)) for coder, lag in coders]

    def _tiles(self, pixels: np.ndarray, tile: ImageSpec) -> Tensor:
        """The tiles of a picture (channels, height, width): int64, (tiles, *tile.shape)."""
        return torch.from_numpy(to_tiles(np.repeat(pixels, tile.channels // len(pixels), 0), tile)).to(torch.int64)

    def _encoded(self, tile: ImageSpec, tiles: Tensor, conditions: Tensor | None) -> Iterator[Streams]:
        """Yields the streams of each tile."""
        chain, coders = self._at(tile.height, tile.width)
        for rows in steps(chunks_of([tile.dims] * len(tiles), ENCODED_DIMS), "encoding tiles"):
            values = chain.values(tiles[rows], condition=None if conditions is None else conditions[rows])
            yield from zip(*(coder.encode(values, lag) for coder, lag in coders), strict=True)

    def _pictures(
        self, waiting: Sequence[tuple[Entry, bytes | None]], tile: ImageSpec, depth: int
    ) -> Iterator[tuple[Entry, Picture | None]]:
        coded = [(entry, record) for entry, record in waiting if record is not None and not entry.raw]
        streams = [each for entry, record in coded for each in streams_of(entry, record)]
        counts = [len(entry.lengths[0]) for entry, _ in coded]
        tiles = self._decoded(tile, streams, self._conditions([entry for entry, _ in coded], counts), depth)
        for entry, record in waiting:
            if record is None:
                yield entry, None
            else:
                decoded = itertools.islice(tiles, len(entry.lengths[0]))
                own = self._views(entry, record, tile, depth) if entry.raw else torch.stack(list(decoded))
                yield entry, self._picture(own, entry, record, tile, depth)

    def _views(self, entry: Entry, record: bytes, tile: ImageSpec, depth: int) -> Tensor:
        """The views at a depth of the tiles of an image whose values are in its record: int64, (tiles, c, h, w)."""
        values = record[entry.profile_bytes + entry.exif_bytes :]
        pixels = np.frombuffer(values, np.uint8).reshape(entry.height, entry.width, entry.raw).transpose(2, 0, 1)
        chain, _ = self._at(tile.height, tile.width)
        return chain.values(self._tiles(pixels, tile))[variable_at(depth)]

    def _decoded(
        self, tile: ImageSpec, streams: Sequence[Streams], conditions: Tensor | None, depth: int
    ) -> Iterator[Tensor]:
        """Decodes tiles, or their views at a depth: int64, (channels, height, width)."""
        _, coders = self._at(tile.height, tile.width)
        given = Values({CONDITION: conditions}, len(streams))
        for rows in steps(chunks_of([tile.dims] * len(streams), DECODED_DIMS), "decoding tiles"):
            values = given.rows(rows)
            for (coder, lag), coded in zip(coders, zip(*streams[rows], strict=True), strict=True):
                if coder.factor.depth >= depth:
                    values = values | {coder.factor.variable: coder.decode(coded, values, lag)}
            yield from values[variable_at(depth)]

    def _picture(self, tiles: Tensor, entry: Entry, record: bytes, tile: ImageSpec, depth: int) -> Picture | None:
        spec = self._at(tile.height, tile.width)[0].specs[depth]
        rows, columns = tile_counts(entry.height, entry.width, tile.height, tile.width)
        # A view has as many rows as the same share of its tiles, rounded up.
        height = min(rows * spec.height, -(-entry.height * spec.height // tile.height))
        width = min(columns * spec.width, -(-entry.width * spec.width // tile.width))
        pixels = from_tiles(to_pixels(tiles.numpy(), spec.levels), height, width)
        pixels = np.ascontiguousarray(pixels[:1] if entry.gray else pixels)
        if depth > 0:  # The metadata of a picture, such as its size, need not hold for its views.
            return Picture(pixels)
        return Picture(pixels, *entry.metadata(record)) if checksum_of(pixels) == entry.checksum else None

    def _conditions(self, entries: Sequence[Entry], tiles: Sequence[int]) -> Tensor | None:
        """The condition of each tile of images with these numbers of tiles; None without a condition."""
        if not entries:
            return None
        given = None if self.header.condition is None else [entry.condition for entry in entries]
        found = self.model.conditions(given and torch.tensor(given)[..., None, None], len(entries))
        return None if found is None else found.repeat_interleave(torch.tensor(tiles), 0)


def chunks_of(sizes: Sequence[int], most: int) -> list[slice]:
    """The places of the pictures or tiles in each chunk, for pictures of these sizes, whose sum is at most `most`.

    A picture that is larger has a chunk of its own.

    Examples:
        >>> chunks_of([8, 2, 6, 1], 8)
        [slice(0, 1, None), slice(1, 3, None), slice(3, 4, None)]
    """
    starts, total = [0], 0
    for number, size in enumerate(sizes):
        if total and total + size > most:
            starts.append(number)
            total = 0
        total += size
    return [slice(*each) for each in itertools.pairwise([*starts, len(sizes)]) if sizes]


def steps(parts: Sequence[T], what: str) -> Iterable[T]:
    """The parts of some work, with a progress bar if there are several and they take long."""
    return progress_bar(parts, desc=what, unit="part", delay=2, leave=False, disable=len(parts) < 2)


def _record(entry: Entry, picture: Picture, tiles: Sequence[Streams]) -> Record:
    """The complete entry and the record of a picture, from the streams of its tiles.

    If the streams are not smaller than the picture's values, the record has the values.
    """
    by_factor = list(zip(*tiles, strict=True))
    content = list(itertools.chain(*by_factor))
    entry = attrs.evolve(entry, lengths=tuple(tuple(map(len, each)) for each in by_factor))
    if grows(content, picture):
        content = [values_of(picture.pixels)]
        entry = attrs.evolve(entry, lengths=((),) * len(by_factor), raw=len(picture.pixels))
    record = b"".join([picture.profile, picture.exif, *content])
    return attrs.evolve(entry, coarse_checksum=zlib.crc32(record[: entry.coarse_size])), record


def grows(streams: Sequence[bytes], picture: Picture) -> bool:
    """Whether streams have at least as many bytes as the values of a picture."""
    return sum(map(len, streams)) >= picture.pixels.size


def streams_of(entry: Entry, record: bytes) -> list[Streams]:
    """The streams of each tile of an image, from its record."""
    ends = itertools.accumulate(itertools.chain(*entry.lengths), initial=entry.profile_bytes + entry.exif_bytes)
    streams = (record[first:last] for first, last in itertools.pairwise(ends))
    by_factor = [list(itertools.islice(streams, len(lengths))) for lengths in entry.lengths]
    return list(zip(*by_factor, strict=True))
