"""Decodes image files within limits of memory."""

import contextlib
import io
import re
import stat
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import ExifTags, Image, TiffImagePlugin, UnidentifiedImageError

from auxar.errors import UserError, logger, one_line
from auxar.numerics.silence import silence
from auxar.numerics.whole_pictures import load_whole

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""Pillow's names of the image formats that auxar reads.

Some formats are left out for safety: Pillow reads EPS by starting a program, and a crafted JPEG 2000 file can take a
hundred bytes of memory for each pixel.
"""
MAX_PIXELS = 100_000_000
"""Maximum number of pixels of an image, which is more than almost any photograph has.

Converting an image of this size takes up to 2 GB, with all intermediate copies. Pillow itself warns above 89 million
pixels and refuses images of more than 179 million.
"""
MAX_SIDE = 1_000_000
"""Maximum width or height of an image in pixels. Resizing takes 48 bytes for each pixel of a row or column."""
MAX_BYTES = 4 * MAX_PIXELS
"""Maximum size of an image file in bytes: that of `MAX_PIXELS` uncompressed pixels with transparency."""
LARGE = MAX_PIXELS // 8
"""Images with more pixels than this are converted one at a time, to limit the memory that several threads need."""
DEEP = ("PNG", "PPM", "TIFF")
"""The formats that can have 16 bits per channel."""
UPPER_BITS = "16 bits per channel, of which only the upper 8 are used: values 0 … 4095 become 0 … 15"
"""A part of messages about such pictures."""
warned: dict[str, object] = {}
"""Marks of the data sets and folders that `warn_of_depth` has named."""

_large = threading.Lock()
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""The operation that turns an image upright, by its EXIF orientation. Orientation 1 is upright already."""


DEEP_KEY = "a 16-bit color is marked as transparent, which is not supported"
"""The reason why a picture with such a color cannot be read."""


class BrokenImage(Exception):
    """The error for an image that cannot be read or that exceeds a limit. The message gives the reason."""


def read_file(path: Path) -> bytes:
    """Returns the content of a file. If it is larger than `MAX_BYTES`, only `MAX_BYTES + 1` bytes are read.

    Raises `OSError` if the file cannot be read.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError("it is not a regular file")  # Reading a pipe may never end.
    with path.open("rb") as file:  # Reading a given number of bytes would reserve memory for all of them.
        return file.read() if found.st_size <= MAX_BYTES else file.read(MAX_BYTES + 1)


def is_deep(source: bytes | Image.Image) -> bool:
    """Whether the header of a picture says that it has more than 8 bits per channel. Nothing is decoded."""
    with contextlib.suppress(Exception), silence, _picture(source, DEEP) as picture:
        # Pillow has a mode of 16 bits for gray pictures only. Of others, it names only the decoder differently.
        decoder = str([part[3] for part in getattr(picture, "tile", ())[:1]])
        return picture.mode.startswith("I") or re.search(r";16|'RGB', \d{4}", decoder) is not None
    return False


def warn_of_depth(where: str) -> None:
    """Logs, once for each data set or folder `where`, that its pictures have 16 bits per channel."""
    mark = object()
    if warned.setdefault(where, mark) is mark:  # Threads read pictures, and one of them sets the mark.
        logger.warning("pictures in %s have %s", one_line(where), UPPER_BITS)


@contextlib.contextmanager
def opened(source: bytes | Image.Image, *, upright: bool = True) -> Iterator[Image.Image]:
    """A context that gives a decoded picture in its own Pillow mode, turned by its EXIF orientation if `upright`.

    `source` is the content of an image file, of which the first frame is read, or a Pillow image, which stays open.
    Raises `BrokenImage` if the image cannot be decoded or is too large. Any exception in the body of the `with`
    statement also becomes a `BrokenImage`, except `UserError`.
    """
    if not isinstance(source, Image.Image):
        if not source:
            raise BrokenImage("the file is empty")
        if len(source) > MAX_BYTES:
            raise BrokenImage(f"the file has more than {MAX_BYTES:,} bytes")
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        with silence, _picture(source, formats) as picture:
            _check_extent(picture)
            with _large if picture.width * picture.height > LARGE else contextlib.nullcontext():
                decoder = str(getattr(picture, "tile", ""))
                load_whole(picture)
                if "transparency" in picture.info:
                    picture.info["transparency"] = _transparent(picture.info["transparency"], decoder)
                yield upright_picture(picture, picture) if upright else picture
    except (BrokenImage, UserError):
        raise
    except UnidentifiedImageError as error:
        raise BrokenImage(f"the format is unknown or not supported; expected {', '.join(formats)}") from error
    except Image.DecompressionBombError as error:
        raise BrokenImage(f"the image has more than {MAX_PIXELS:,} pixels") from error
    except MemoryError as error:
        raise BrokenImage("decoding needs more memory than is available") from error
    except Exception as error:  # Pillow's decoders can raise any exception on a damaged file.
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise BrokenImage(f"decoding failed: {reason}") from error


def _transparent(key: Any, decoder: str) -> Any:
    """The color that is transparent, by the decoder of the picture's pixels, where it is one of a PNG file.

    Bits above the file's depth have no meaning there, and Pillow scales only the pixels of 2 and 4 bits to 0 … 255.
    Raises `BrokenImage` for a color of 16 bits per channel, of whose pixels Pillow keeps only 8.
    """
    if isinstance(key, tuple) and "RGB;16" in decoder:
        raise BrokenImage(DEEP_KEY)
    if isinstance(key, tuple) and "'RGB'" in decoder:
        return tuple(value & 255 for value in key)
    if bits := re.search("L;([24])'", decoder):
        most = 2 ** int(bits[1]) - 1
        return (key & most) * (255 // most)
    return key


def _picture(
    source: bytes | Image.Image, formats: list[str] | tuple[str, ...]
) -> contextlib.AbstractContextManager[Image.Image]:
    """A context that gives the picture of an image file and closes it, or a Pillow image, which is left open."""
    if isinstance(source, Image.Image):
        return contextlib.nullcontext(source)
    return Image.open(io.BytesIO(source), formats=tuple(formats))


def _check_extent(picture: Image.Image) -> None:
    """Raises `BrokenImage` if the header of an image shows that decoding would take too much memory or time."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise BrokenImage(f"the image has more than {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_SIDE:
        raise BrokenImage(f"the image is more than {MAX_SIDE:,} pixels wide or high")
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        # A tile is decoded completely, even if it is larger than the image. Tile sizes that are not integers need no
        # check, because libtiff refuses them.
        across, down = map(picture.tag_v2.get, (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
        if isinstance(across, int) and isinstance(down, int) and across * down > MAX_PIXELS:
            raise BrokenImage(f"each tile of the TIFF file has more than {MAX_PIXELS:,} pixels")


def upright_picture(picture: Image.Image, original: Image.Image) -> Image.Image:
    """A picture turned by the EXIF orientation of its original, or unchanged if the EXIF data cannot be read."""
    try:
        turn = _TURNS.get(original.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Damaged EXIF data can raise any exception, but the pixels are still usable.
        return picture
    return picture if turn is None else picture.transpose(turn)


def eight_bit(picture: Image.Image) -> Image.Image:
    """Converts an image to a Pillow mode with at most 8 bits per channel and without transparency.

    Transparent pixels are blended onto white. Raises `BrokenImage` if the values cannot be converted to 8 bits: gray
    values of more than 16 bits, floats, L*a*b* colors, and 16-bit colors that are marked as transparent.
    """
    if _has_deep_key(picture):
        raise BrokenImage(DEEP_KEY)
    if picture.mode.startswith("I"):
        # The image is 16-bit gray. Pillow's own conversion would clip its values at 255.
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise BrokenImage("gray values are outside the 16-bit range 0 … 65,535")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise BrokenImage("pixel values are floats of unknown range; integers are expected")
    if picture.mode == "LAB":
        raise BrokenImage("colors are L*a*b*, which is not supported; gray or RGB is expected")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture


def _has_deep_key(picture: Image.Image) -> bool:
    """Whether a 16-bit color is marked as transparent.

    Pillow keeps only 8 bits per channel of such an image, so its transparent pixels can no longer be identified.
    """
    key = picture.info.get("transparency")
    return key is not None if picture.mode.startswith("I") else isinstance(key, tuple) and max(key) > 255
