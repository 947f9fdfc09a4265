"""Decoding of pictures whose files are complete."""

import math
import zlib
from collections.abc import Iterable

from PIL import Image, PngImagePlugin

INTERLACED = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The first column and row, and the steps between columns and rows, of each pass of an interlaced PNG file."""


def load_whole(picture: Image.Image) -> None:
    """Decodes a picture whose header Pillow has read. Raises any exception if it is damaged.

    Pillow leaves rows black for which a PNG file has no data. Here, they raise `ValueError`. Data is counted only if
    the last row is black, or if the file is interlaced.
    """
    if not isinstance(picture, PngImagePlugin.PngImageFile) or not picture.tile:
        picture.load()
        return
    _, extents, _, mode = picture.tile[0]
    data = _loaded(picture)
    left, top, right, bottom = extents or (0, 0, *picture.size)
    interlaced = bool(picture.info.get("interlace"))
    unsure = interlaced or not any(picture.crop((left, bottom - 1, right, bottom)).tobytes())
    if unsure and _has_less(data, _size(right - left, bottom - top, str(mode), interlaced=interlaced)):
        raise ValueError(f"its header says {picture.height}×{picture.width} pixels, and its data has fewer")


def _loaded(picture: PngImagePlugin.PngImageFile) -> list[bytes]:
    """Decodes a picture. Returns the compressed data, in the parts in which Pillow reads it."""
    data: list[bytes] = []
    read = picture.load_read

    def kept(size: int) -> bytes:
        data.append(read(size))
        return data[-1]

    vars(picture)["load_read"] = kept
    try:
        picture.load()
    finally:
        del vars(picture)["load_read"]
    return data


def _size(width: int, height: int, mode: str, *, interlaced: bool) -> int:
    """The number of bytes of a picture in a PNG file before they are compressed. `mode` is Pillow's raw mode."""
    channels, _, depth = mode.partition(";")
    bits = 1 if mode == "1" else len(channels) * int(depth.rstrip("B") or 8)
    passes = INTERLACED if interlaced else ((0, 0, 1, 1),)
    sides = [(len(range(first, width, across)), len(range(top, height, down))) for first, top, across, down in passes]
    return sum(rows * (1 + math.ceil(columns * bits / 8)) for columns, rows in sides if columns)


def _has_less(parts: Iterable[bytes], size: int) -> bool:
    """Whether compressed data has fewer bytes than `size`. Little of it is in memory at once."""
    stream = zlib.decompressobj()
    for part in parts:
        while part and size > 0:
            size -= len(stream.decompress(part, 2**20))
            part = stream.unconsumed_tail
    return size > 0
