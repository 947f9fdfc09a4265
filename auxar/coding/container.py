"""The format of files, described to the byte in docs/files.md: a header, an index, and a record for each image."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal

import attrs
from attrs.validators import ge, le, max_len, min_len

from auxar.coding.index import MOST_INDEX, Entry, packed_index, unpacked_index
from auxar.errors import UserError, one_line, shown
from auxar.files import CHUNK, DamagedFile, parse_json, reading, replacing
from auxar.model import ImageSpec
from auxar.structuring import Misfit, StrictConverter

MAGIC = b"\x89AUXAR\r\n"
"""The first bytes of a file. A transfer as text would change them."""
FORMAT = 1
"""Version of the format."""
MOST_VALUES = 1024
"""Maximum number of values of a condition."""
MOST_HEADER = 2**16
"""Maximum number of bytes of the header."""
SEAL = 32
"""Number of bytes of the digest at the end of a sealed file."""


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
class CodedCondition:
    """The label or the attributes that each image was coded given, as the header describes them."""

    kind: Literal["label", "attributes"]
    """Kind of the condition."""
    values: int = attrs.field(validator=[ge(1), le(MOST_VALUES)])
    """Number of values of each image."""
    levels: int = attrs.field(validator=[ge(2), le(2**24)])
    """Number of values that each may take."""


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
    condition: CodedCondition | None = None
    """The condition that images were coded given. None for the null condition, and for a model without a condition."""

    def __attrs_post_init__(self) -> None:
        try:
            ImageSpec(self.channels, height=self.height, width=self.width, levels=self.levels)
        except UserError as error:
            raise ValueError(str(error)) from None

    @property
    def tile(self) -> ImageSpec:
        """Shape and range of the model's images."""
        return ImageSpec(self.channels, height=self.height, width=self.width, levels=self.levels)


@attrs.frozen(eq=False)
class Container:
    """A file whose header and index were read."""

    path: Path
    header: Header
    entries: tuple[Entry, ...]
    start: int
    """Position of the first record in the file."""

    def records(self, chosen: Sequence[Entry], *, coarse: bool = False) -> Iterator[tuple[Entry, bytes | None]]:
        """Yields the record of each chosen image in the order of the file, or None if it is damaged or missing.

        With `coarse`, only the part of the record before the finest factor's streams is read, and only this part must
        be there. Damage to the finest factor's streams is not found here: the values that they give are compared with
        the image's checksum.
        """
        position, wanted = self.start, set(map(id, chosen))
        with reading(self.path) as file:
            end = os.fstat(file.fileno()).st_size
            for entry in self.entries:
                if id(entry) in wanted:
                    size, record = entry.coarse_size if coarse else entry.size, b""
                    # The size is checked first, so that a claim of many bytes needs no memory.
                    if position + size <= end:
                        file.seek(position)
                        record = file.read(size)
                    whole = len(record) == size and entry.coarse_checksum == zlib.crc32(record[: entry.coarse_size])
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


def write_container(
    path: Path, header: Header, entries: Sequence[Entry], records: Sequence[bytes], *, sealed: bool = False
) -> bytes:
    """Writes a file. An existing file is replaced when the new one is complete. Returns the SHA-256 of its content.

    With `sealed`, this digest, which has `SEAL` bytes, is appended to the file. Raises `UserError` if the file cannot
    be written.
    """
    described = {key: value for key, value in attrs.asdict(header).items() if value is not None}
    text = json.dumps(described, separators=(",", ":")).encode()
    index = packed_index(entries)
    for name, part, most in (("header", text, MOST_HEADER), ("index", index, MOST_INDEX)):
        if len(part) > most:
            raise UserError(f"{path}: its {name} would have {len(part):,} bytes, and at most {most:,} are allowed")
    parts = [len(part).to_bytes(4, "little") + part + zlib.crc32(part).to_bytes(4, "little") for part in (text, index)]
    digest = hashlib.sha256()
    with replacing(path) as temporary, temporary.open("wb") as file:
        for part in itertools.chain([MAGIC], parts, records):
            file.write(part)
            digest.update(part)
        if sealed:
            file.write(digest.digest())
    return digest.digest()


def digest_of(path: Path, end: int = 0) -> tuple[bytes, bytes]:
    """The SHA-256 of a file without its last `end` bytes, and these bytes."""
    digest = hashlib.sha256()
    with reading(path) as file:
        rest = os.fstat(file.fileno()).st_size - end
        while rest > 0 and (part := file.read(min(rest, CHUNK))):
            digest.update(part)
            rest -= len(part)
        return digest.digest(), file.read()


def read_container(path: Path) -> Container:
    """Reads the header and the index of a file.

    Memory and time are bounded by `MOST_HEADER` and `MOST_INDEX`, whatever the file claims. Raises `UserError` if this
    is no such file, or one of a newer format, and `DamagedFile` if its header or index is damaged.
    """
    with reading(path) as file:
        if (first := file.read(len(MAGIC))) != MAGIC:
            if MAGIC.startswith(first):
                raise DamagedFile(f"{path} is damaged: it is cut")
            raise UserError(f"{path} was not made by `auxar compress`")
        header = _header(path, _part(file, path, "header", MOST_HEADER))
        index = _part(file, path, "index", MOST_INDEX)
        start = file.tell()
    try:
        condition = header.condition
        values = (0, 0) if condition is None else (condition.values, condition.levels)
        return Container(path, header, unpacked_index(index, header.tile, len(header.factors), *values), start)
    except ValueError as error:
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
