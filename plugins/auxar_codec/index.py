"""The index of a file, described to the byte in `container.py`: it says where each image is, without decoding it."""

from __future__ import annotations

import itertools
import lzma
import math
import zlib
from collections.abc import Sequence
from typing import Any

import attrs
import numpy as np

from auxar import UserError
from auxar_codec.names import problem_of_name
from auxar_codec.tiles import tile_counts

MOST_INDEX = 2**25
"""Maximum number of bytes of the index, before and after it is compressed."""
MOST_METADATA = 2**18
"""Maximum number of bytes of a color profile, and of EXIF data."""
MOST_PIXELS = 10**8
"""Maximum number of pixels of an image."""
MOST_SIDE = 2**16
"""Maximum height and width of an image and of tiles."""
MOST = 2**32 - 1
Shape = tuple[int, int, int]
"""Channels of a model's images, and height and width of tiles; both are 0 if each image is a single tile."""
FILTERS = [{"id": lzma.FILTER_LZMA2, "dict_size": 2**23}]
"""The compression of the index. It bounds the memory that decompression uses."""
FIELDS = {
    "gray": 1,
    "raw": 3,
    "height": MOST,
    "width": MOST,
    "profile_bytes": MOST_METADATA,
    "exif_bytes": MOST_METADATA,
    "coarse_checksum": MOST,
    "checksum": MOST,
}
"""The numbers of each image in the order of the index, and the maximum of each."""


@attrs.frozen
class Entry:
    """An image in the index of a file."""

    name: str
    """Name of the image, without folders."""
    gray: bool = attrs.field(converter=bool)
    """Whether the image is gray, and the images of the model have three channels."""
    height: int
    """Number of rows."""
    width: int
    """Number of columns."""
    profile_bytes: int
    """Number of bytes of the color profile."""
    exif_bytes: int
    """Number of bytes of the EXIF data."""
    checksum: int
    """CRC-32 of the image's values, in the order of rows, columns and channels."""
    condition: tuple[int, ...] = ()
    """The values of the image's label or attributes, which it was coded given; empty if there are none. All are -1 for
    the null condition."""
    lengths: tuple[tuple[int, ...], ...] = ()
    """For each factor, the coarsest first, the number of bytes of each tile's stream; empty before it is encoded."""
    raw: int = 0
    """Number of channels of the image if the record has its values in place of streams, and 0 otherwise."""
    coarse_checksum: int = 0
    """CRC-32 of the image's record without the streams of the finest factor; before it is encoded, CRC-32 of the color
    profile and the EXIF data."""

    @property
    def size(self) -> int:
        """Number of bytes of the image's record."""
        return self.coarse_size + sum(self.lengths[-1])

    @property
    def coarse_size(self) -> int:
        """Number of bytes of the image's record without the streams of the finest factor, which come last."""
        metadata = self.profile_bytes + self.exif_bytes
        return metadata + self.raw * self.height * self.width + sum(map(sum, self.lengths[:-1]))

    def before_encoding(self, record: bytes) -> Entry:
        """The entry of the same image before it was encoded to a record."""
        return attrs.evolve(self, lengths=(), raw=0, coarse_checksum=zlib.crc32(b"".join(self.metadata(record))))

    def metadata(self, record: bytes) -> tuple[bytes, bytes]:
        """The color profile and the EXIF data in the image's record."""
        return record[: self.profile_bytes], record[self.profile_bytes :][: self.exif_bytes]


def check_index(entries: Sequence[Entry], tiles: int, factors: int) -> None:
    """Raises `UserError` if the index of images that have `tiles` tiles in all would be too large."""
    names = sum(len(entry.name.encode()) + 1 for entry in entries)
    numbers = sum(len(FIELDS) + len(entry.condition) for entry in entries) + factors * tiles
    if (size := 4 + names + 4 * numbers) > MOST_INDEX:
        raise UserError(
            f"these {len(entries):,} pictures have {tiles:,} tiles, whose index would have {size:,} bytes, and at most "
            f"{MOST_INDEX:,} are allowed; compress them into several files"
        )


def packed_index(entries: Sequence[Entry]) -> bytes:
    """Writes an index, compressed. `check_index` says whether it is too large.

    Numbers of the same kind are next to each other, because they are similar.
    """
    names = b"".join(entry.name.encode() + b"\0" for entry in entries)
    rows = [[getattr(entry, field) for entry in entries] for field in FIELDS]
    lengths = zip(*(entry.lengths for entry in entries), strict=True)
    rows += [[length for image in of_factor for length in image] for of_factor in lengths]
    # The null condition is stored as 0, and other values are one larger.
    conditions = zip(*(entry.condition for entry in entries), strict=True)
    rows += [[value + 1 for value in of_place] for of_place in conditions]
    content = len(entries).to_bytes(4, "little") + names + b"".join(map(_planes, rows))
    return lzma.compress(content, format=lzma.FORMAT_RAW, filters=FILTERS)


def unpacked_index(index: bytes, image: Shape, factors: int, values: int = 0, levels: int = 0) -> tuple[Entry, ...]:
    """Reads the index of a file for a model of images with the channels, and tiles with the sizes, of `image`.

    There is a number of factors. `values` and `levels` are the number of values of a condition, and their range.

    Raises `ValueError` or `LZMAError` if it is not valid. Memory and time are bounded by `MOST_INDEX`, whatever the
    index claims.
    """
    content = _decompressed(index)
    count = int.from_bytes(content[:4], "little")
    if not 0 < 4 * len(FIELDS) * count <= len(content) - 4:
        raise ValueError("it has no images, or ends too early")
    *parts, rest = content[4:].split(b"\0", count)
    names, rows = _names(parts, count), _Rows(rest)
    columns = [rows.take(count, most) for most in FIELDS.values()]
    found = [
        Entry(name, **dict[str, Any](zip(FIELDS, each, strict=True)))
        for name, *each in zip(names, *columns, strict=True)
    ]
    channels, height, width = image
    for entry in found:
        if entry.raw not in (0, 1 if entry.gray else channels):
            raise ValueError(f"the values of the image {entry.name!r:.100} have {entry.raw} channels")
    tiles = [number_of_tiles(entry, image) * (not entry.raw) for entry in found]
    dims = [channels * (height or entry.height) * (width or entry.width) for entry in found]
    most = 4 * max(dims, default=0) + 16  # A value takes at most 3 bytes, so no tile has a longer stream.
    lengths = [rows.take(sum(tiles), most) for _ in range(factors)]
    conditions = [rows.take(count, levels) for _ in range(values)]
    if len(rows.content):
        raise ValueError("it has more bytes than its images")
    places = itertools.pairwise(itertools.accumulate(tiles, initial=0))
    return tuple(
        attrs.evolve(
            entry,
            condition=tuple(of_place[number] - 1 for of_place in conditions),
            lengths=tuple(tuple(each[slice(*place)]) for each in lengths),
        )
        for number, (entry, place) in enumerate(zip(found, places, strict=True))
    )


def _decompressed(index: bytes) -> bytes:
    stream = lzma.LZMADecompressor(format=lzma.FORMAT_RAW, filters=FILTERS)
    content = stream.decompress(index, MOST_INDEX)
    if stream.unused_data:
        raise ValueError("it is followed by other bytes")
    if not stream.eof:
        raise ValueError(f"it is cut, or has more than {MOST_INDEX:,} bytes")
    return content


def _names(parts: Sequence[bytes], count: int) -> list[str]:
    """The names of `count` images."""
    if len(parts) < count:
        raise ValueError("it ends too early")
    names: dict[str, None] = {}
    for name in (part.decode() for part in parts):
        problem = "it is not the only one" if name in names else problem_of_name(name)
        if problem is not None:
            raise ValueError(f"the name {name!r:.100} is not allowed: {problem}")
        names[name] = None
    return list(names)


def number_of_tiles(entry: Entry, image: Shape) -> int:
    """The number of tiles of an image, 1 without tiles. Raises `ValueError` if it has too many pixels, or none."""
    if not 0 < entry.height * entry.width <= MOST_PIXELS or max(entry.height, entry.width) > MOST_SIDE:
        raise ValueError(f"the image {entry.name!r:.100} has {entry.height}×{entry.width} pixels")
    _, height, width = image
    return math.prod(tile_counts(entry.height, entry.width, height or entry.height, width or entry.width))


def _planes(numbers: Sequence[int]) -> bytes:
    """Writes numbers of 4 bytes: the lowest bytes of all numbers, then their second bytes, and so on."""
    return np.array(numbers, dtype="<u4").view(np.uint8).reshape(-1, 4).T.tobytes()


class _Rows:
    """Reads rows of numbers that `_planes` wrote. `content` is what is left."""

    def __init__(self, content: bytes) -> None:
        self.content = memoryview(content)

    def take(self, count: int, most: int) -> list[int]:
        """The next `count` numbers. Raises `ValueError` if there are fewer, or if one is larger than `most`."""
        if 4 * count > len(self.content):
            raise ValueError("it ends too early")
        planes = np.frombuffer(self.content[: 4 * count], dtype=np.uint8).reshape(4, count)
        self.content = self.content[4 * count :]
        found: list[int] = np.ascontiguousarray(planes.T).view("<u4").ravel().tolist()
        if found and max(found) > most:
            raise ValueError(f"a number is larger than {most:,}")
        return found
