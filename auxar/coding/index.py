"""The index of a file, described to the byte in docs/files.md: it says where each image is, without decoding it."""

from __future__ import annotations

import lzma
from collections.abc import Iterator, Sequence

import attrs
import numpy as np

from auxar.coding.names import problem_of_name
from auxar.coding.tiles import tile_counts
from auxar.data.conversion import MAX_PIXELS
from auxar.errors import UserError, shown
from auxar.model import NULL, ImageSpec

MOST_INDEX = 2**25
"""Maximum number of bytes of the index, before and after it is compressed."""
MOST_MEMORY = 2**26
"""Maximum number of bytes that decompressing the index may use, apart from its content."""
MOST_METADATA = 2**18
"""Maximum number of bytes of a color profile, and of EXIF data."""


@attrs.frozen
class Entry:
    """An image in the index of a file."""

    name: str
    """Name of the image, without folders."""
    gray: bool
    """Whether the image is gray, and the images of the model have three channels."""
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
    coarse_checksum: int
    """CRC-32 of the image's record without the streams of the finest factor."""
    checksum: int
    """CRC-32 of the image's values, in the order of rows, columns and channels."""
    condition: tuple[int, ...] = ()
    """The values of the image's label or attributes, which it was coded given; empty if there are none. All are -1 for
    the null condition."""

    @property
    def size(self) -> int:
        """Number of bytes of the image's record."""
        return self.coarse_size + sum(self.lengths[-1])

    @property
    def coarse_size(self) -> int:
        """Number of bytes of the image's record without the streams of the finest factor, which come last."""
        return self.profile_bytes + self.exif_bytes + sum(map(sum, self.lengths[:-1]))


def index_bytes(names: Sequence[str], tiles: int, factors: int, values: int = 0) -> int:
    """The number of bytes of the content of an index of images with these names, which have `tiles` tiles in all.

    `values` is the number of values of a condition.
    """
    return 4 + sum(len(name.encode()) + 1 for name in names) + 4 * ((7 + values) * len(names) + factors * tiles)


def check_index(names: Sequence[str], tiles: int, factors: int, values: int) -> None:
    """Raises `UserError` if the index of these images would have more than `MOST_INDEX` bytes."""
    if (size := index_bytes(names, tiles, factors, values)) > MOST_INDEX:
        raise UserError(
            f"these {len(names):,} pictures have {tiles:,} tiles, whose index would have {size:,} bytes, and at most "
            f"{MOST_INDEX:,} are allowed; compress them into several files"
        )


def packed_index(entries: Sequence[Entry]) -> bytes:
    """Writes an index, compressed as .xz. `index_bytes` of its images must be at most `MOST_INDEX`.

    Numbers of the same kind are next to each other, because they are similar.
    """
    names = b"".join(entry.name.encode() + b"\0" for entry in entries)
    fields = [
        [getattr(entry, field) for entry in entries]
        for field in ("gray", "height", "width", "profile_bytes", "exif_bytes", "coarse_checksum", "checksum")
    ]
    lengths = zip(*(entry.lengths for entry in entries), strict=True)
    fields += [[length for image in of_factor for length in image] for of_factor in lengths]
    # The null condition is stored as 0, and other values are one larger.
    conditions = zip(*(entry.condition for entry in entries), strict=True)
    fields += [[value + 1 for value in of_place] for of_place in conditions]
    content = len(entries).to_bytes(4, "little") + names + b"".join(map(_planes, fields))
    # The file has a checksum of the index itself.
    return lzma.compress(content, format=lzma.FORMAT_XZ, check=lzma.CHECK_NONE, preset=6)


def unpacked_index(index: bytes, tile: ImageSpec, factors: int, values: int = 0, levels: int = 0) -> tuple[Entry, ...]:
    """Reads the index of a file for a model of images `tile` with a number of factors.

    `values` and `levels` are the number of values of a condition, and their range.

    Raises `ValueError` if it is not valid. Memory and time are bounded by `MOST_INDEX`, whatever the index claims.
    """
    reader = _Reader(_decompressed(index))
    names = tuple(reader.names(reader.number()))
    count = len(names)
    gray = reader.numbers(count, 1)
    heights, widths = reader.numbers(count), reader.numbers(count)
    profiles, exifs = reader.numbers(count, MOST_METADATA), reader.numbers(count, MOST_METADATA)
    coarse, checksums = reader.numbers(count), reader.numbers(count)
    tiles = [_number_of_tiles(*each, tile) for each in zip(names, heights, widths, strict=True)]
    # A value takes at most 3 bytes, so longer streams are not those of a tile.
    lengths = [reader.numbers(sum(tiles), 4 * tile.dims + 16) for _ in range(factors)]
    conditions = [reader.numbers(count, levels) for _ in range(values)]
    reader.end()
    found, first = [], 0
    for number, (name, own) in enumerate(zip(names, tiles, strict=True)):
        of_image = tuple(tuple(each[first : first + own]) for each in lengths)
        size = heights[number], widths[number]
        metadata = profiles[number], exifs[number]
        condition = tuple(of_place[number] - 1 for of_place in conditions)
        if NULL in condition and set(condition) != {NULL}:
            raise ValueError(f"the condition of the image {shown(name)} is not complete")
        checks = coarse[number], checksums[number]
        found.append(Entry(name, bool(gray[number]), *size, *metadata, of_image, *checks, condition))
        first += own
    return tuple(found)


def _decompressed(index: bytes) -> bytes:
    stream = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=MOST_MEMORY)
    try:
        content = stream.decompress(index, MOST_INDEX)
    except lzma.LZMAError as error:
        raise ValueError(f"it cannot be decompressed as .xz: {error}") from None
    if stream.unused_data:
        raise ValueError("it is followed by other bytes")
    if not stream.eof:
        raise ValueError(f"it is cut, or has more than {MOST_INDEX:,} bytes")
    return content


def _number_of_tiles(name: str, height: int, width: int, tile: ImageSpec) -> int:
    if not 0 < height * width <= MAX_PIXELS:
        raise ValueError(f"the image {shown(name)} has {height}×{width} pixels")
    rows, columns = tile_counts(height, width, tile)
    return rows * columns


def _planes(numbers: Sequence[int]) -> bytes:
    """Writes numbers of 4 bytes: the lowest bytes of all numbers, then their second bytes, and so on."""
    return np.array(numbers, dtype="<u4").view(np.uint8).reshape(-1, 4).T.tobytes()


class _Reader:
    """Reads numbers and names from the content of an index. Raises `ValueError` at its end."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.position = 0

    def bytes(self, count: int) -> bytes:
        if count > len(self.content) - self.position:
            raise ValueError("it ends too early")
        self.position += count
        return self.content[self.position - count : self.position]

    def number(self) -> int:
        return int.from_bytes(self.bytes(4), "little")

    def numbers(self, count: int, most: int = 2**32 - 1) -> list[int]:
        planes = np.frombuffer(self.bytes(4 * count), dtype=np.uint8).reshape(4, count)
        found: list[int] = np.ascontiguousarray(planes.T).view("<u4").ravel().tolist()
        if found and max(found) > most:
            raise ValueError(f"a number is larger than {most:,}")
        return found

    def names(self, count: int) -> Iterator[str]:
        seen = set()
        for _ in range(count):
            end = self.content.find(b"\0", self.position)
            if end < 0:
                raise ValueError("it ends too early")
            name = self.content[self.position : end].decode()
            problem = "it is not the only one" if name in seen else problem_of_name(name)
            if problem is not None:
                raise ValueError(f"the name {shown(name)} is not allowed: {problem}")
            seen.add(name)
            self.position = end + 1
            yield name

    def end(self) -> None:
        if self.position < len(self.content):
            raise ValueError("it has more bytes than its images")
