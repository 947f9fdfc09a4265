"""The format of files, described to the byte in docs/files.md: a header, an index, and a record for each image."""

from __future__ import annotations

import contextlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import attrs
from attrs.validators import ge, in_, le, max_len, min_len
from cattrs import Converter

from auxar import ImageSpec, UserError, replacing
from auxar_codec.index import MOST_INDEX, Entry, packed_index, unpacked_index

MAGIC = b"\x89AUXAR\r\n"
"""The first bytes of a file. A transfer as text would change them."""
FORMAT = 1
"""Version of the format."""
MOST_VALUES = 1024
"""Maximum number of values of a condition."""
MOST_HEADER = 2**16
"""Maximum number of bytes of the header."""


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

    kind: str = attrs.field(validator=in_(("label", "attributes")))
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
        # With a larger lag, pixels would be coded in raster order, too, but decoding would take more steps.
        if (lag := max(factor.lag for factor in self.factors)) > self.tile.width:
            raise ValueError(f"the lag {lag} is larger than the width {self.tile.width}")

    @property
    def tile(self) -> ImageSpec:
        """Shape and range of the model's images."""
        return ImageSpec(self.channels, height=self.height, width=self.width, levels=self.levels)

    def table(self) -> dict[str, Any]:
        """The header as plain values, as the file has them."""
        return {key: value for key, value in attrs.asdict(self).items() if value is not None}


@attrs.frozen(eq=False)
class Container:
    """A file whose header and index were read."""

    path: Path
    """The file."""
    header: Header
    """The header."""
    entries: tuple[Entry, ...]
    """The images."""
    start: int
    """Position of the first record in the file."""

    def records(self, chosen: Sequence[Entry], *, coarse: bool = False) -> Iterator[tuple[Entry, bytes | None]]:
        """Yields the record of each chosen image in the order of the file, or None if it is damaged or missing.

        With `coarse`, only the part of the record before the finest factor's streams is read, and only this part must
        be there. Damage to the finest factor's streams is not found here: the values that they give are compared with
        the image's checksum.
        """
        position, wanted = self.start, {entry.name for entry in chosen}
        with _opened(self.path) as file:
            end = os.fstat(file.fileno()).st_size
            for entry in self.entries:
                if entry.name in wanted:
                    size, record = entry.coarse_size if coarse else entry.size, b""
                    # The size is checked first, so that a claim of many bytes needs no memory.
                    if position + size <= end:
                        file.seek(position)
                        record = file.read(size)
                    whole = len(record) == size and entry.coarse_checksum == zlib.crc32(record[: entry.coarse_size])
                    yield entry, record if whole else None
                position += entry.size


def write_container(path: Path, header: Header, entries: Sequence[Entry], records: Sequence[bytes]) -> None:
    """Writes a file. An existing file is replaced when the new one is complete.

    Raises `UserError` if the file cannot be written, or if its index would be too large.
    """
    text = json.dumps(header.table(), separators=(",", ":")).encode()
    index = packed_index(entries)
    if len(index) > MOST_INDEX:
        raise UserError(f"{path}: its index would have {len(index):,} bytes, and at most {MOST_INDEX:,} are allowed")
    parts = [len(part).to_bytes(4, "little") + part + zlib.crc32(part).to_bytes(4, "little") for part in (text, index)]
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines([MAGIC, *parts, *records])


def read_container(path: Path) -> Container:
    """Reads the header and the index of a file.

    Memory and time are bounded by `MOST_HEADER` and `MOST_INDEX`, whatever the file claims. Raises `UserError` if this
    is no such file, or one of a newer format, or if its header or index is damaged.

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> drawn = auxar.sample("runs/quickstart", images=1, rule="map", seed=4)
        >>> made = auxar.compress("runs/quickstart", [drawn / "images"], "one.auxar")
        >>> [(entry.name, entry.height, entry.width) for entry in read_container(Path("one.auxar")).entries]
        [('000000.png', 32, 32)]
    """
    with _opened(path) as file:
        if not MAGIC.startswith(file.read(len(MAGIC))):
            raise UserError(f"{path} was not made by `auxar compress`")
        with _naming(path, "header"):
            header = _header(_part(file, MOST_HEADER))
        with _naming(path, "index"):
            entries = entries_of(_part(file, MOST_INDEX), header)
        return Container(path, header, entries, file.tell())


def entries_of(index: bytes, header: Header) -> tuple[Entry, ...]:
    """The images of an index, for files with a header. Raises an exception if it is not valid."""
    given = header.condition
    values = (0, 0) if given is None else (given.values, given.levels)
    return unpacked_index(index, header.tile, len(header.factors), *values)


def _opened(path: Path) -> BinaryIO:
    if not path.is_file():  # Reading a pipe or a device may never end.
        raise UserError(f"{path} is missing, or not a regular file")
    return path.open("rb")


@contextlib.contextmanager
def _naming(path: Path, part: str) -> Iterator[None]:
    """A context in which exceptions become messages that name a part of a file."""
    try:
        yield
    except OSError:  # A file that cannot be read is not damaged.
        raise
    except Exception as error:  # cattrs, validators, `json` and `lzma` raise many kinds of exceptions.
        raise UserError(f"{path} is damaged: its {part} is not valid ({error!s:.300})") from None


def _part(file: BinaryIO, most: int) -> bytes:
    length = int.from_bytes(file.read(4), "little")
    if length > most:
        raise ValueError(f"it has {length:,} bytes, expected at most {most:,}")
    part, checksum = file.read(length), file.read(4)
    if checksum != zlib.crc32(part).to_bytes(4, "little"):
        raise ValueError("it is cut, or its checksum is wrong")
    return part


def _header(text: bytes) -> Header:
    values = json.loads(text)
    if values["format"] != FORMAT:
        raise ValueError(f"it has format {values['format']!r:.30}; this version of auxar reads format {FORMAT}")
    return Converter(forbid_extra_keys=True, detailed_validation=False).structure(values, Header)
