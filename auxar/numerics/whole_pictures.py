"""Decoding of pictures whose files are complete."""

import io
import math
import zlib
from collections.abc import Callable, Iterable

from PIL import Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

INTERLACED = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
"""The first column and row, and the steps between columns and rows, of each pass of an interlaced PNG file."""


def load_whole(picture: Image.Image) -> None:
    """Decodes a picture whose header Pillow has read. Raises any exception if it is damaged.

    Pillow fills in rows for which a PNG, JPEG or TIFF file has no data. Here, they raise an exception, except in JPEG
    files with several scans, such as progressive ones. Data of a PNG file is counted only if the last row is black, or
    if the file is interlaced.
    """
    if not getattr(picture, "tile", ()):
        picture.load()
    elif isinstance(picture, PngImagePlugin.PngImageFile):
        _load_png(picture)
    elif isinstance(picture, JpegImagePlugin.JpegImageFile) and picture.format == "JPEG":
        _load_jpeg(picture)
    else:
        if isinstance(picture, TiffImagePlugin.TiffImageFile):
            _check_tiff(picture)
        picture.load()


def _load_jpeg(picture: JpegImagePlugin.JpegImageFile) -> None:
    """Decodes a JPEG file. A single scan is decoded without the marker of its end.

    At that marker, libjpeg fills in the missing pixels. Without it, the decoder asks for more data, and Pillow raises
    an exception. libjpeg reads up to 8 bytes ahead of the pixels, so 8 bytes take the marker's place. Their bits are
    not a valid code, so at most two missing blocks of 8×8 values are not noticed.
    """
    assert picture.fp is not None
    picture.fp.seek(0)
    content = picture.fp.read()
    scan = content.rfind(b"\xff\xda")
    end = content.find(b"\xff\xd9", scan)
    if end > 0 and "progressive" not in picture.info and content[scan + 4] == picture.layers:
        content = content[:end] + b"\xff\0" * 8
    _load_from(picture, io.BytesIO(content).read)


def _load_from(picture: Image.Image, read: Callable[[int], bytes]) -> None:
    """Decodes a picture from the data that `read` returns."""
    vars(picture)["load_read"] = read
    try:
        picture.load()
    finally:
        del vars(picture)["load_read"]


def _check_tiff(picture: TiffImagePlugin.TiffImageFile) -> None:
    """Raises `ValueError` if the strips or tiles of an uncompressed TIFF file are smaller than the picture."""
    tags = picture.tag_v2
    counts = tags.get(TiffImagePlugin.STRIPBYTECOUNTS) or tags.get(TiffImagePlugin.TILEBYTECOUNTS)
    row = math.ceil(picture.width * sum(tags.get(TiffImagePlugin.BITSPERSAMPLE, (1,))) / 8)
    if counts and tags.get(TiffImagePlugin.COMPRESSION, 1) == 1 and sum(counts) < row * picture.height:
        raise _fewer(picture)


def _fewer(picture: Image.Image) -> ValueError:
    return ValueError(f"its header says {picture.height}×{picture.width} pixels, and its data has fewer")


def _load_png(picture: PngImagePlugin.PngImageFile) -> None:
    """Decodes a PNG file. Raises `ValueError` if its data has fewer bytes than its header says."""
    _, extents, _, mode = picture.tile[0]
    data: list[bytes] = []
    original = picture.load_read

    def kept(size: int) -> bytes:
        data.append(original(size))
        return data[-1]

    _load_from(picture, kept)
    left, top, right, bottom = extents or (0, 0, *picture.size)
    interlaced = bool(picture.info.get("interlace"))
    unsure = interlaced or not any(picture.crop((left, bottom - 1, right, bottom)).tobytes())
    if unsure and _has_less(data, _size(right - left, bottom - top, str(mode), interlaced=interlaced)):
        raise _fewer(picture)


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
