"""One encoded image file to the integers of an `ImageSpec`."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import stat
import textwrap
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import ExifTags, Image, ImageFile, ImageOps, TiffImagePlugin, UnidentifiedImageError

from auxar.errors import UserError
from auxar.interfaces import ImageSpec
from auxar.recipe import Crop

FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The formats that are read, as Pillow calls them. Of the others, EPS starts a program, and JPEG 2000 can be made to
take a hundred bytes of memory for each pixel."""
MAX_PIXELS = 100_000_000
"""More than almost any photograph has; with all copies on the way to integers they take up to 2 GB. Pillow itself warns
from 89 million on, and refuses from 179 million on."""
MAX_SIDE = 1_000_000
"""Scaling a row or column takes 48 bytes for each of its pixels."""
MAX_BYTES = 4 * MAX_PIXELS
"""The size of a file that holds `MAX_PIXELS` with transparency and compresses nothing."""
MAX_SCANS = 500
"""A progressive JPEG needs about ten scans. At `MAX_PIXELS` an empty one takes 5 ms, and a megabyte holds 50,000."""
LARGE = MAX_PIXELS // 8
"""Pictures of more pixels are converted one at a time, so that threads do not multiply the memory they need."""

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
"""What turns a picture upright, for each orientation of EXIF."""


class BrokenImage(Exception):
    """An image that cannot be read; the text says why."""


def _suppliable(instance: object, attribute: attrs.Attribute[Any], image: ImageSpec) -> None:
    if image.channels not in (1, 3):
        raise UserError(f"image.channels: data has 1 (gray) or 3 (RGB) channels, and {image.channels} are asked for")
    if image.levels > 256:
        raise UserError(f"image.levels: data has 2 to 256 levels, and {image.levels} are asked for")


@attrs.frozen
class Preparation:
    """How an image is brought to `image`. Raises `UserError` for a shape or range that data cannot supply."""

    image: ImageSpec = attrs.field(validator=_suppliable)
    crop: Crop
    resize: str

    def __call__(self, encoded: bytes, name: str) -> np.ndarray:
        """The bytes of an image file to uint8 of shape (channels, height, width), values in [0, levels).

        Raises `BrokenImage` if the bytes cannot be decoded and `UserError` if the size does not fit.
        """
        with opened(encoded) as picture:
            upright = eight_bit(picture).convert("L" if self.image.channels == 1 else "RGB")
            pixels = np.asarray(self._fit(upright, name))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if self.image.levels < 256:
            pixels = (pixels.astype(np.uint16) * self.image.levels // 256).astype(np.uint8)
        return np.ascontiguousarray(pixels)

    def _fit(self, picture: Image.Image, name: str) -> Image.Image:
        full = f"{picture.height}×{picture.width}"
        crop, size = self.crop, (self.image.width, self.image.height)
        box = (crop.left, crop.top, picture.width - crop.right, picture.height - crop.bottom)
        if box[0] >= box[2] or box[1] >= box[3]:
            raise UserError(f"data.crop: nothing is left of {name}, which has {full} pixels")
        if crop != Crop():
            picture = picture.crop(box)
        if picture.size == size:
            return picture
        if self.resize == "none":
            cropped = f" ({picture.height}×{picture.width} after data.crop)" if crop != Crop() else ""
            raise UserError(
                f"data: {name} has {full} pixels{cropped}, and [image] asks for {size[1]}×{size[0]}; set data.crop, "
                "data.resize = 'cover' or 'stretch', or the size of [image]"
            )
        if self.resize == "stretch":
            return picture.resize(size, Image.Resampling.LANCZOS)
        return ImageOps.fit(picture, size, Image.Resampling.LANCZOS)


class _Silence:
    """While any thread is inside, nothing that Pillow warns of or logs is shown.

    Warning filters belong to the process, and `warnings.catch_warnings` of threads that overlap would put them back in
    the wrong order: the first thread in changes them, and the last one out puts them back.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._changes = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._changes.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
                logger = logging.getLogger("PIL")
                self._changes.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._changes.close()


_silence = _Silence()


def read_file(path: Path) -> bytes:
    """The content of a file; of one that is too large, one byte more than `MAX_BYTES`.

    Raises `OSError` if it cannot be read, and for what is not a regular file: reading a pipe or device may never end.
    """
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file")
    with path.open("rb") as file:
        return file.read() if found.st_size <= MAX_BYTES else file.read(MAX_BYTES + 1)


@contextlib.contextmanager
def opened(encoded: bytes) -> Iterator[Image.Image]:
    """The first frame of an image file, loaded and upright, in the mode that the file has.

    Raises `BrokenImage` if it cannot be decoded or is too large, and for all that fails inside the `with` but for
    `UserError`.
    """
    if not encoded:
        raise BrokenImage("it is empty")
    if len(encoded) > MAX_BYTES:
        raise BrokenImage(f"its file has more than {MAX_BYTES:,} bytes")
    Image.init()
    formats = [name for name in FORMATS if name in Image.OPEN]
    try:
        with _silence, Image.open(io.BytesIO(encoded), formats=formats) as picture:
            _check_extent(picture, encoded)
            with _large if picture.width * picture.height > LARGE else contextlib.nullcontext():
                picture.load()
                yield _upright(picture)
    except (BrokenImage, UserError):
        raise
    except UnidentifiedImageError as error:
        raise BrokenImage("it is in no image format that Pillow knows and auxar reads") from error
    except Image.DecompressionBombError as error:
        raise BrokenImage(f"it has more than {MAX_PIXELS:,} pixels") from error
    except MemoryError as error:
        raise BrokenImage("it needs more memory than there is") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them into.
        reason = textwrap.shorten(str(error), 200) or type(error).__name__
        raise BrokenImage(f"decoding failed: {reason}") from error


def _check_extent(picture: ImageFile.ImageFile, encoded: bytes) -> None:
    """Raises `BrokenImage` for a picture that, by its header, would take too much memory or time."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise BrokenImage(f"it has more than {MAX_PIXELS:,} pixels")
    if max(width, height) > MAX_SIDE:
        raise BrokenImage(f"it has more than {MAX_SIDE:,} pixels in a row or column")
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        # Tiles may be larger than the picture, and are decoded whole; libtiff refuses sides that are no integers.
        across, down = map(picture.tag_v2.get, (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
        if isinstance(across, int) and isinstance(down, int) and across * down > MAX_PIXELS:
            raise BrokenImage(f"its tiles have more than {MAX_PIXELS:,} pixels")
    if picture.format in ("JPEG", "MPO") and encoded.count(b"\xff\xda") > MAX_SCANS:
        raise BrokenImage(f"it is stored in more than {MAX_SCANS:,} scans")


def _upright(picture: Image.Image) -> Image.Image:
    """`picture` turned as its EXIF data say; as it is if they cannot be read."""
    try:
        turn = _TURNS.get(picture.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # They fail in as many ways as pixels do. The pixels are whole.
        return picture
    return picture if turn is None else picture.transpose(turn)


def decode(encoded: bytes, mode: str) -> Image.Image:
    """The first frame of an image file, upright, in `mode` "L" or "RGB", transparency laid onto white.

    Raises `BrokenImage` if it cannot be decoded or is too large.
    """
    with opened(encoded) as picture:
        return eight_bit(picture).convert(mode)


def eight_bit(picture: Image.Image) -> Image.Image:
    """`picture` in a mode of 8 bits a channel without transparency, which is laid onto white.

    Raises `BrokenImage` for values that have no place in 8 bits.
    """
    if _has_deep_key(picture):
        raise BrokenImage("it makes one color of 16 bits transparent, which is not read")
    if picture.mode.startswith("I"):
        # Sixteen bits of gray, which Pillow's own conversion would clip at 255.
        values = np.asarray(picture)
        if values.min() < 0 or values.max() > 65535:
            raise BrokenImage("its gray values need more than 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise BrokenImage("its values are floats of unknown range")
    if picture.mode == "LAB":
        raise BrokenImage("its colors are L*a*b*, which are not converted")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture


def _has_deep_key(picture: Image.Image) -> bool:
    """Whether transparency is marked by a color of 16 bits a channel, of which Pillow's pixels keep only 8."""
    key = picture.info.get("transparency")
    if picture.mode.startswith("I"):
        return key is not None
    return isinstance(key, tuple) and max(key) > 255
