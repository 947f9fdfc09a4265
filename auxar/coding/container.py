"""The format of files, described to the byte in docs/files.md: a header, an index, and a record for each image."""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import attrs
from attrs.validators import ge, max_len, min_len

from auxar.coding.names import problem_of_name
from auxar.coding.tiles import tile_counts
from auxar.data.conversion import MAX_PIXELS
from auxar.errors import UserError, one_line, shown
from auxar.files import DamagedFile, parse_json, reading, replacing
from auxar.interfaces import ImageSpec
from auxar.structuring import Misfit, StrictConverter

MAGIC = b"\x89AUXAR\r\n"
"""The first bytes of a file. A transfer as text would change them."""
FORMAT = 1
"""Version of the format."""
MOST_HEADER, MOST_INDEX = 2**16, 2**26
"""Maximum number of bytes of the header and of the index."""
MOST_METADATA = 2**18
"""Maximum number of bytes of a color profile, and of EXIF data."""
GRAY, OWN_SIZE, METADATA = 1, 2, 4
"""Flags of an image: it is gray, its size is not that of the model, and it has a color profile or EXIF data."""


@attrs.frozen
class CodedFactor:
    """A factor of the model, as the header names it."""

    name: str
    """Name of the factor."""
    digest: str
    """Digest of the factor in integers (`auxar integers`)."""
    lag: int = attrs.field(validator=ge(1))
    """The pixel at row r and column c is coded at time r · lag + c."""


@attrs.frozen
class Header:
    """The header of a file: the model with which it is decoded."""

    format: int
    """Version of the format."""
    model: str
    """Name of the run or of the model. It helps to find the model; only digests decide."""
    channels: int
    """Number of channels of the model's images."""
    height: int
    """Number of rows of the model's images."""
    width: int
    """Number of columns of the model's images."""
    levels: int
    """Number of values of a sub-pixel of the model's images."""
    factors: tuple[CodedFactor, ...] = attrs.field(validator=[min_len(1), max_len(65)])
    """The factors, the coarsest first."""

    def __attrs_post_init__(self) -> None:
        try:
            ImageSpec(self.channels, height=self.height, width=self.width, levels=self.levels)
        except UserError as error:
            raise ValueError(str(error)) from None

    @property
    def tile(self) -> ImageSpec:
        """Shape and range of the model's images."""
        return ImageSpec(self.channels, height=self.height, width=self.width, levels=self.levels)


@attrs.frozen
class Entry:
    """An image in the index of a file."""

    name: str
    """Name of the image, without folders."""
    gray: bool
    """Whether the image is gray."""
    height: int
    """Number of rows."""
    width: int
    """Number of columns."""
    profile_bytes: int
    """Number of bytes of the color profile."""
    exif_bytes: int
    """Number of bytes of the EXIF data."""
    lengths: tuple[tuple[int, ...], ...]
    """For each factor, the coarsest first, the number of bytes of each tile's stream."""
    checksum: int
    """CRC-32 of the image's record."""
    pixel_checksum: int
    """The lower 16 bits of the CRC-32 of the image's values, in the order of rows, columns and channels."""

    @property
    def size(self) -> int:
        """Number of bytes of the image's record."""
        return self.profile_bytes + self.exif_bytes + sum(map(sum, self.lengths))


@attrs.frozen(eq=False)
class Container:
    """A file whose header and index were read."""

    path: Path
    header: Header
    entries: tuple[Entry, ...]
    start: int
    """Position of the first record in the file."""

    def records(self, chosen: Sequence[Entry]) -> Iterator[tuple[Entry, bytes | None]]:
        """Yields the record of each chosen image in the order of the file, or None if it is damaged or missing."""
        position, wanted = self.start, set(map(id, chosen))
        with reading(self.path) as file:
            end = os.fstat(file.fileno()).st_size
            for entry in self.entries:
                if id(entry) in wanted:
                    record = b""
                    # The size is checked first, so that a claim of many bytes needs no memory.
                    if position + entry.size <= end:
                        file.seek(position)
                        record = file.read(entry.size)
                    whole = len(record) == entry.size and zlib.crc32(record) == entry.checksum
                    yield entry, record if whole else None
                position += entry.size


def streams(entry: Entry, record: bytes) -> list[list[bytes]]:
    """The streams in a record: for each factor, the coarsest first, the stream of each tile."""
    position, found = entry.profile_bytes + entry.exif_bytes, []
    for lengths in entry.lengths:
        of_factor: list[bytes] = []
        for length in lengths:
            of_factor.append(record[position : position + length])
            position += length
        found.append(of_factor)
    return found


def write_container(path: Path, header: Header, entries: Sequence[Entry], records: Sequence[bytes]) -> None:
    """Writes a file. An existing file is replaced when the new one is complete. Raises `UserError` if it cannot be."""
    text = json.dumps(attrs.asdict(header), separators=(",", ":")).encode()
    index = b"".join([_varint(len(entries)), *(_described(entry, header) for entry in entries)])
    for name, part, most in (("header", text, MOST_HEADER), ("index", index, MOST_INDEX)):
        if len(part) > most:
            raise UserError(f"{path}: its {name} would have {len(part):,} bytes, and at most {most:,} are allowed")
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(MAGIC)
        for part in (text, index):
            file.write(len(part).to_bytes(4, "little") + part + zlib.crc32(part).to_bytes(4, "little"))
        for record in records:
            file.write(record)


def read_container(path: Path) -> Container:
    """Reads the header and the index of a file.

    Memory and time are bounded by `MOST_HEADER` and `MOST_INDEX`, whatever the file claims. Raises `UserError` if this
    is no such file, or one of a newer format, and `DamagedFile` if its header or index is damaged.
    """
    with reading(path) as file:
        if file.read(len(MAGIC)) != MAGIC:
            raise UserError(f"{path} was not made by `auxar compress`")
        header = _header(path, _part(file, path, "header", MOST_HEADER))
        index = _part(file, path, "index", MOST_INDEX)
        start = file.tell()
    try:
        return Container(path, header, tuple(_entries(index, header)), start)
    except (ValueError, IndexError) as error:
        raise DamagedFile(f"{path} is damaged: its index is not valid ({one_line(str(error))})") from None


def _part(file: BinaryIO, path: Path, name: str, most: int) -> bytes:
    length = int.from_bytes(file.read(4), "little")
    if length > most:
        raise DamagedFile(f"{path} is damaged: its {name} has {length:,} bytes, expected at most {most:,}")
    part, checksum = file.read(length), file.read(4)
    if len(part) < length or checksum != zlib.crc32(part).to_bytes(4, "little"):
        raise DamagedFile(f"{path} is damaged: the checksum of its {name} is wrong")
    return part


def _header(path: Path, text: bytes) -> Header:
    try:
        values = parse_json(text)
        if isinstance(values, dict) and values.get("format") != FORMAT:
            found = shown(values.get("format"))
            raise UserError(f"{path} has format {found}; this version of auxar reads format {FORMAT}")
        return StrictConverter(unknown_keys="refused", finite=True).structure(values, Header)
    except Misfit as error:
        problem = error.problems[0]
    except ValueError as error:
        problem = one_line(str(error))
    raise DamagedFile(f"{path} is damaged: its header is not valid ({problem})")


def _described(entry: Entry, header: Header) -> bytes:
    own = (entry.height, entry.width) != (header.height, header.width)
    metadata = bool(entry.profile_bytes or entry.exif_bytes)
    name = entry.name.encode()
    parts = [_varint(len(name)), name, bytes([GRAY * entry.gray | OWN_SIZE * own | METADATA * metadata])]
    parts += [_varint(side) for side in (entry.height, entry.width) if own]
    parts += [_varint(length) for length in (entry.profile_bytes, entry.exif_bytes) if metadata]
    parts += [_varint(length) for lengths in entry.lengths for length in lengths]
    return b"".join([*parts, entry.checksum.to_bytes(4, "little"), entry.pixel_checksum.to_bytes(2, "little")])


def _entries(index: bytes, header: Header) -> Iterator[Entry]:
    reader, names = _Reader(index), set()
    # A value takes at most 3 bytes, so longer streams are not those of a tile.
    longest = 4 * header.tile.dims + 16
    for _ in range(reader.number()):
        name = reader.bytes(reader.number()).decode()
        problem = "it is not the only one" if name in names else problem_of_name(name)
        if problem is not None:
            raise ValueError(f"the name {shown(name)} is not allowed: {problem}")
        names.add(name)
        flags = reader.bytes(1)[0]
        if flags > GRAY | OWN_SIZE | METADATA:
            raise ValueError(f"the image {shown(name)} has unknown flags")
        height, width = (reader.number(), reader.number()) if flags & OWN_SIZE else (header.height, header.width)
        if not 0 < height * width <= MAX_PIXELS:
            raise ValueError(f"the image {shown(name)} has {height}×{width} pixels")
        profile, exif = (reader.number(MOST_METADATA), reader.number(MOST_METADATA)) if flags & METADATA else (0, 0)
        rows, columns = tile_counts(height, width, header.tile)
        reader.expect(rows * columns * len(header.factors))
        lengths = tuple(tuple(reader.number(longest) for _ in range(rows * columns)) for _ in header.factors)
        checksum, pixels = (int.from_bytes(reader.bytes(size), "little") for size in (4, 2))
        yield Entry(name, bool(flags & GRAY), height, width, profile, exif, lengths, checksum, pixels)
    reader.end()


class _Reader:
    """Reads numbers and bytes from the index. Raises `ValueError` at its end."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    def bytes(self, count: int) -> bytes:
        self.expect(count)
        self.position += count
        return self.content[self.position - count : self.position]

    def number(self, most: int = 2**32) -> int:
        """A number in groups of 7 bits, the lowest first. All bytes but the last have the highest bit set."""
        value = shift = 0
        while True:
            byte = self.bytes(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if value > most or shift > 35:
                raise ValueError(f"a number is larger than {most:,}")
            if byte < 128:
                return value

    def expect(self, count: int) -> None:
        if count > len(self.content) - self.position:
            raise ValueError("it ends too early")

    def end(self) -> None:
        if self.position < len(self.content):
            raise ValueError("it has more bytes than its images")


def _varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])
