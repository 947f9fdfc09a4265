"""The format of files: a header, an index, and a record for each image.

All numbers are unsigned integers with their lowest byte first.

- 8 bytes: `89 41 55 58 41 52 0D 0A` (`\\x89AUXAR\\r\\n`)
- 2 bytes: number of bytes of the header
- 4 bytes: number of bytes of the index
- the header, JSON in UTF-8, compressed by DEFLATE (RFC 1951) with the preset dictionary `DICTIONARY`
- the index
- 4 bytes: CRC-32 of everything between the first 8 bytes and here
- a record for each image, in the order of the index
- 8 bytes: a mark by which `auxar compress` recognizes a file of the same pictures and size, although it is damaged;
  decoders do not need it
- 4 bytes: CRC-32 of everything before

The header has the keys `format` (2; a file of format 1 ends after the last record, and is read, too), `model` (the name
of the run's folder, which helps to find it), `digest` (the first 16 characters of the SHA-256, in the URL-safe Base64
alphabet, of a line `NAME DIGEST` for each factor of images in `integer.json` of a run, in the order of their names,
with a line feed at its end), `channels` and `levels` of the model's images, `height` and `width` of tiles, both 0 if
each image is a single tile, and `lags`: for each factor, the coarsest first, its lag, at least 1. If images are coded
given labels or attributes, there is also `condition`, with its `kind`, the number of `values` of an image, 1 … 1024,
and their number of `levels`, 2 … 2²⁴. Other keys are refused.

The index is compressed by LZMA2 with a dictionary of 8 MiB, without the header of a file. It has at most 2²⁵ bytes, and
this content of at most 2²⁵ bytes, for n images:

- 4 bytes: n, at least 1
- for each image, its name in UTF-8 and a zero byte. A name has 1 … 200 bytes, without `/`, `\\` and the zero byte, is
  not `.` or `..`, and not the name of another image
- 4n bytes: 1 for each image that is gray although the model has 3 channels, and 0 for the others
- 4n bytes: the number of channels, 1 if gray, of each image whose values are stored as they are, and 0 for the others
- 4n bytes: number of rows of each image
- 4n bytes: number of columns, which is at most 2¹⁶, as the number of rows is; an image has 1 … 10⁸ pixels
- 4n bytes: number of bytes of the color profile, at most 2¹⁸
- 4n bytes: number of bytes of the EXIF data, at most 2¹⁸
- 4n bytes: CRC-32 of the record without the streams of the finest factor
- 4n bytes: CRC-32 of the image's values, in the order of rows, columns and channels; of one channel if it is gray
- 4t bytes: for each factor, the coarsest first: number of bytes of the streams of all images' tiles, t in all. The
  tiles of an image are in raster order. A stream has at most 4·d + 16 bytes, for the d sub-pixels of the largest tile.
  An image whose values are stored has no tiles
- 4n bytes: for each of the `values` of a condition, if the header has one: 0 for an image with the null condition,
  and otherwise the value plus 1

The numbers of such a row of 4n or 4t bytes are written in four parts: the lowest bytes of all numbers, their second
bytes, their third bytes, and their highest bytes. Numbers of the same kind are similar, so most of the parts compress
well: an image of the model's size takes about 14 bytes in the index of a model with five factors, in addition to its
name. 8 of them are the checksums.

A record is the color profile, the EXIF data (as Pillow reads it from the picture, and gives it to the PNG file), the
image's values in the order of rows, columns and channels, if they are stored, and the streams: for each factor, the
coarsest first, those of the tiles in raster order. A view at depth k is decoded from the streams of the factors down to
this depth, and only the part of the record before the finest factor's streams is read and compared with its checksum.
The values of an image itself are compared with their checksum after it is decoded, which finds all other damage, and a
decoder that computes other frequencies.

**Streams.** A stream holds the sub-pixels of one tile for one factor, given the tile's view. The pixel at row r and
column c is coded at time r · lag + c, and of pixels with the same time, that of the upper row comes first. With this
order, a sampler decodes many rows at once; lag = width is raster order, which larger lags stand for, too. The lag is
derived from the network, and a sampler that cannot follow it is refused. The channels of a pixel follow each other.

If the model's networks work at any size, a high tile is coded in bands of rows (`auxar.model.bands`), one after another
in the same stream: let s be the number of rows of the factor's image for each row of its view (1 for a prior), and u
the least common multiple of 16 and s. Bands have max(4u, ⌊⌊2¹⁵ / width⌋ / u⌋ · u) rows, and the last one has the rows
that are left. The network computes the parameters
of a band from an image that begins u rows above the band and ends with it, and the embedding's features are computed
from the rows of the view that belong to this image and u rows below. In a band, r counts from its first row.

A value is coded with the cumulative frequency *start* of all lower values and its own *frequency*, which the head
gives for the integer parameters that the network predicts for the pixel. In a restricted decoder, only the values in
the sub-pixel's interval have frequencies. All frequencies add up to 2²⁴. If only one value is possible, nothing is
coded.

The range coder has a lower end `low` and a `width`, both of 64 bits, which begin with 0 and 2⁶⁴ − 1. For each value:

    scale = width >> 24
    low   = low + start · scale          (a carry out of 64 bits is added to the bytes written so far)
    width = frequency · scale
    while width < 2⁵⁶:  write the highest byte of low;  low = low << 8;  width = width << 8

At the end, `low` is rounded up to a multiple of 2⁵⁶ (a carry is added as above), its highest byte is written, and
zero bytes at the end of the stream are left out. A decoder begins with `code`, the first 8 bytes as a number with the
highest byte first, and reads zeros after the end of the stream. For each value, it finds the one whose range contains
⌊code / scale⌋ (at most 2²⁴ − 1), subtracts start · scale from `code`, sets `width` as above, and then appends bytes
to `code` where the coder wrote them. A stream takes at most 2 bytes more than the bits of its frequencies.
"""

import contextlib
import functools
import hashlib
import io
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import attrs
from attrs.validators import deep_iterable, ge, in_, le, max_len, min_len
from cattrs import Converter

from auxar import ImageSpec, UserError, replacing
from auxar_codec.index import MOST_INDEX, MOST_SIDE, Entry, Shape, packed_index, unpacked_index

MAGIC = b"\x89AUXAR\r\n"
"""The first bytes of a file. A transfer as text would change them."""
FORMAT = 2
"""Version of the format that is written."""
MARK = 8
"""Number of bytes of the mark of the pictures."""
ENDS = {1: 0, FORMAT: MARK + 4}
"""Number of bytes after the last record, by the version of the format."""
WHOLE = 0x2144DF1C
"""CRC-32 of any bytes that are followed by their own CRC-32."""
MOST_VALUES = 1024
"""Maximum number of values of a condition."""
MOST_TILE = 2**24
"""Maximum number of pixels of a tile, so that a short file cannot take much memory."""
MOST_HEADER = 2**16
"""Maximum number of bytes of the header, before it is compressed."""
DICTIONARY = (
    b'"condition":{"kind":"attributes","kind":"label","values":1,"levels":'
    b'{"format":1,"model":"","digest":"","channels":3,"height":0,"width":0,"levels":256,"lags":[4,4,4]}'
)
"""The preset dictionary of the header's compression: a short header takes about 35 bytes."""


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
    """Name of the run or of the model. It helps to find the model; only the digest decides."""
    digest: str
    """Digest of the digests of all factors in integers (`auxar integers`)."""
    channels: int = attrs.field(validator=in_((1, 3)))
    """Number of channels of the model's images."""
    height: int = attrs.field(validator=[ge(0), le(MOST_SIDE)])
    """Number of rows of a tile; 0 if each image is a single tile."""
    width: int = attrs.field(validator=[ge(0), le(MOST_SIDE)])
    """Number of columns of a tile; 0 if each image is a single tile."""
    levels: int = attrs.field(validator=in_((256,)))
    """Number of values of a sub-pixel of the model's images."""
    lags: tuple[int, ...] = attrs.field(validator=[min_len(1), max_len(65), deep_iterable(ge(1))])
    """For each factor, the coarsest first, the number of columns by which a row is coded behind the row above."""
    condition: CodedCondition | None = None
    """The condition that images were coded given. None for the null condition, and for a model without a condition."""

    def __attrs_post_init__(self) -> None:
        if bool(self.height) != bool(self.width) or self.height * self.width > MOST_TILE:
            raise ValueError(f"tiles of {self.height}×{self.width} pixels")

    @property
    def image(self) -> Shape:
        """Channels of the model's images, and height and width of tiles; both are 0 if each image is a single tile."""
        return self.channels, self.height, self.width

    def tile_of(self, entry: Entry) -> ImageSpec:
        """Shape and range of the tiles of an image."""
        height, width = self.height or entry.height, self.width or entry.width
        return ImageSpec(self.channels, height=height, width=width, levels=self.levels)

    def table(self) -> dict[str, Any]:
        """The header as plain values, as the file has them."""
        return {key: value for key, value in attrs.asdict(self).items() if value is not None}


@attrs.frozen(eq=False)
class Container:
    """A file whose header and index were read."""

    path: Path
    """The file; `file`, as messages name it, if its content was given."""
    header: Header
    """The header."""
    entries: tuple[Entry, ...]
    """The images."""
    start: int
    """Position of the first record in the file."""
    source: Path | bytes = attrs.field(repr=False)
    """The file, or its content."""

    def records(self, chosen: Sequence[Entry], *, coarse: bool = False) -> Iterator[tuple[Entry, bytes | None]]:
        """Yields the record of each chosen image in the order of the file, or None if it is damaged or missing.

        With `coarse`, only the part of the record before the finest factor's streams is read, and only this part must
        be there. Damage to the finest factor's streams is not found here: the values that they give are compared with
        the image's checksum.
        """
        position, wanted = self.start, {entry.name for entry in chosen}
        with _opened(self.source) as file:
            end = file.seek(0, os.SEEK_END)
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

    def is_whole(self) -> bool:
        """Whether no byte of the file has changed, by the checksum at its end, which format 1 lacks."""
        with _opened(self.source) as file:
            return _checksum(iter(functools.partial(file.read, 2**20), b"")) == WHOLE


def packed_container(
    header: Header, entries: Sequence[Entry], records: Sequence[bytes], pictures: Sequence[Entry]
) -> list[bytes]:
    """The content of a file, in parts. `check_index` says whether its index is too large.

    `pictures` are the entries before they were encoded.
    """
    packing = zlib.compressobj(9, wbits=-15, zdict=DICTIONARY)
    text = packing.compress(json.dumps(header.table(), separators=(",", ":")).encode()) + packing.flush()
    index = packed_index(entries)
    parts = b"".join([len(text).to_bytes(2, "little"), len(index).to_bytes(4, "little"), text, index])
    content = [MAGIC, parts, _checksum([parts]).to_bytes(4, "little"), *records]
    content.append(_mark(header, pictures, sum(map(len, content)) + ENDS[FORMAT]))
    return [*content, _checksum(content).to_bytes(4, "little")]


def _checksum(parts: Iterable[bytes]) -> int:
    """The CRC-32 of bytes that are given in parts."""
    return functools.reduce(lambda checksum, part: zlib.crc32(part, checksum), parts, 0)


def _mark(header: Header, pictures: Sequence[Entry], size: int) -> bytes:
    facts = [header.table(), list(map(attrs.astuple, pictures)), size]
    return hashlib.sha256(json.dumps(facts).encode()).digest()[:MARK]


def has_mark(path: Path, header: Header, pictures: Sequence[Entry]) -> bool:
    """Whether a file, which may be damaged, has the mark of these pictures. Raises `UserError` if there is no file."""
    with _opened(path) as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - ENDS[FORMAT]))
        return file.read(MARK) == _mark(header, pictures, size)


def write_container(path: Path, content: Iterable[bytes]) -> None:
    """Writes the content of a file. An existing file is replaced when the new one is complete.

    Raises `UserError` if the file cannot be written.
    """
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.writelines(content)


class BytesAfterEnd(UserError):
    """The error for a file with other bytes after its end."""


def read_container(source: Path | bytes) -> Container:
    """Reads the header and the index of a file, or of the content of a file.

    Memory and time are bounded by `MOST_HEADER` and `MOST_INDEX`, whatever the file claims. Raises `UserError` if this
    is no such file, or one of a newer format, if its header or index is damaged, or if other bytes follow it.

    Examples:
        >>> import auxar
        >>> made = auxar.integers("runs/quickstart", images=8)
        >>> drawn = auxar.sample("runs/quickstart", images=1, rule="map", seed=4)
        >>> made = auxar.compress("runs/quickstart", [drawn / "images"], "one.auxar")
        >>> [(entry.name, entry.height, entry.width) for entry in read_container(Path("one.auxar")).entries]
        [('000000.png', 32, 32)]
    """
    path = source if isinstance(source, Path) else Path("file")
    with _opened(source) as file:
        if not MAGIC.startswith(file.read(len(MAGIC))):
            raise UserError(f"{path} was not made by `auxar compress`")
        with _naming(path, "header"):
            sizes = file.read(6)
            length, rest = int.from_bytes(sizes[:2], "little"), int.from_bytes(sizes[2:], "little")
            if rest > MOST_INDEX:
                raise ValueError(f"its index has {rest:,} bytes, expected at most {MOST_INDEX:,}")
            content = sizes + file.read(length + rest)
            if file.read(4) != zlib.crc32(content).to_bytes(4, "little"):
                raise ValueError("it is cut, or its checksum is wrong")
            text, index = content[6 : 6 + length], content[6 + length :]
            values = json.loads(zlib.decompressobj(-15, DICTIONARY).decompress(text, MOST_HEADER))
            if values["format"] not in ENDS:
                known = "this version of auxar reads the formats 1 and 2"
                raise ValueError(f"it has format {values['format']!r:.30}; {known}")
            header = Converter(forbid_extra_keys=True, detailed_validation=False).structure(values, Header)
        with _naming(path, "index"):
            entries = entries_of(index, header)
        start = file.tell()
        end = start + sum(entry.size for entry in entries) + ENDS[header.format]
        if (size := file.seek(0, os.SEEK_END)) > end:
            advice = f"if files were joined, `head -c {end} {path}` prints the first one"
            raise BytesAfterEnd(f"{path} has {size - end:,} bytes after its end; {advice}")
        return Container(path, header, entries, start, source)


def entries_of(index: bytes, header: Header) -> tuple[Entry, ...]:
    """The images of an index, for files with a header. Raises an exception if it is not valid."""
    given = header.condition
    values = (0, 0) if given is None else (given.values, given.levels)
    return unpacked_index(index, header.image, len(header.lags), *values)


def _opened(source: Path | bytes) -> BinaryIO:
    if isinstance(source, bytes):
        return io.BytesIO(source)
    if not source.is_file():  # Reading a pipe or a device may never end.
        raise UserError(f"{source} is missing, or not a regular file")
    return source.open("rb")


@contextlib.contextmanager
def _naming(path: Path, part: str) -> Iterator[None]:
    """A context in which exceptions become messages that name a part of a file."""
    try:
        yield
    except OSError:  # A file that cannot be read is not damaged.
        raise
    except Exception as error:  # cattrs, validators, `json` and `lzma` raise many kinds of exceptions.
        # The arguments of an error of attrs are its message and descriptions of the field.
        reason = error.args[0] if any(isinstance(each, attrs.Attribute) for each in error.args) else error
        raise UserError(f"{path} is damaged: its {part} is not valid ({reason!s:.300})") from None
