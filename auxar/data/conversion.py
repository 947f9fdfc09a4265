"""Converts an encoded image file to the integers that an `ImageSpec` describes."""

from __future__ import annotations

import contextlib
import io
import logging
import struct
import textwrap
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import ExifTags, Image, ImageOps, TiffImagePlugin, UnidentifiedImageError

from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.numerics.levels import LEVELS, SCALED
from auxar.recipe import Crop, DataConfig
from auxar.recipe.schema import check_image

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
KEEPING = ("BMP", "GIF", "PNG", "TIFF", "WEBP")
"""The formats whose values of pixels can be taken as levels. JPEG and AVIF change values, and Pillow scales PPM's."""
LARGE = MAX_PIXELS // 8
"""Images with more pixels than this are converted one at a time, to limit the memory that several threads need."""

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


class BrokenImage(Exception):
    """The error for an image that cannot be read or that exceeds a limit. The message gives the reason."""


class WrongSize(UserError):
    """The error for an image that has another size than expected and is not resized."""

    def __init__(self, message: str, found: str) -> None:
        super().__init__(message)
        self.found = found
        """The size of the image as text, such as "480×640 pixels"."""


def _from_files(instance: object, attribute: attrs.Attribute[Any], image: ImageSpec) -> None:
    check_image(image)


@attrs.frozen
class Preparation:
    """The conversion of image files to the size, channels and levels of `image`.

    Raises `UserError` unless `image` has 1 or 3 channels and at most 256 levels.
    """

    image: ImageSpec = attrs.field(validator=_from_files)
    crop: Crop
    """Margins that are cut off before an image is resized."""
    resize: str
    """How an image of another size is resized: "none" (an error), "cover" or "stretch"."""
    values: str = attrs.field(default=SCALED, repr=False)
    """The meaning of pixels: "scaled" values 0 … 255, which are converted to levels, or "levels"."""

    @classmethod
    def of(cls, image: ImageSpec, data: DataConfig) -> Preparation:
        """The conversion that [data] of a recipe describes."""
        return cls(image, data.crop, data.resize, data.values)

    @property
    def identity(self) -> str:
        """A text that differs between conversions with different results."""
        return repr(self) if self.values == SCALED else f"{self!r} of {self.values}"

    def __call__(self, source: bytes | Image.Image, name: str) -> np.ndarray:
        """Converts a picture to uint8 of shape (channels, height, width), with values in [0, levels).

        `source` is the content of an image file or a Pillow image. Raises `BrokenImage` if it cannot be decoded. Raises
        `UserError`, with `name` in the message, if the crop leaves no pixels or if pixels should be levels and are not,
        and `WrongSize` if `resize` is "none" and the size differs from that of `image`.
        """
        as_levels = self.values == LEVELS and self.image.levels < 256
        with opened(source, upright=not as_levels) as picture:
            if as_levels:
                upright = _upright(level_picture(picture, source, self.image, name), picture)
            else:
                upright = eight_bit(picture).convert("L" if self.image.channels == 1 else "RGB")
            size = (self.image.width, self.image.height)
            pixels = np.asarray(fitted(upright, size, self.crop, self.resize, name, Image.Resampling.LANCZOS))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if as_levels:
            pixels = pixels.clip(max=self.image.levels - 1)  # Resizing can exceed the values between which it averages.
        elif self.image.levels < 256:
            pixels = (pixels.astype(np.uint16) * self.image.levels // 256).astype(np.uint8)
        return np.ascontiguousarray(pixels)


def level_picture(picture: Image.Image, source: bytes | Image.Image, image: ImageSpec, name: str) -> Image.Image:
    """A picture whose pixels are levels, in the mode "L" or "RGB", with the values that `source` stores.

    `picture` is `source` as Pillow decodes it. Values of 1, 2 or 4 bits, which Pillow scales to 8, and gray values of
    16 bits are also taken as they are stored. Raises `UserError`, with `name` in the message, if a value is not a level
    of `image`, if the file does not keep values, or if it has colors and the images are gray.
    """

    def refuse(reason: str) -> UserError:
        return UserError(
            f"data.values: {name} {reason}; with 'levels', pixels are expected to have levels 0 … {image.levels - 1}; "
            "change image.levels, or set data.values = 'scaled' if pixels have values 0 … 255"
        )

    bits = stored_bits(picture, source)
    is_deep = picture.mode.startswith("I")
    if isinstance(source, bytes) and picture.format not in KEEPING:
        raise refuse(f"is a {picture.format} file, which does not keep values; expected PNG")
    if (bits > 8 and not is_deep) or picture.mode in ("CMYK", "YCbCr", "LAB", "F"):
        raise refuse(f"has {picture.mode} pixels of {bits} bits, which are not kept; expected gray or RGB of 8 bits")
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA").getchannel("A")).min() < 255:
        raise refuse("is partly transparent")
    values = np.asarray(picture if is_deep else picture.convert("RGB"))
    if bits < 8:
        values = values.astype(np.uint16) * (2**bits - 1) // 255
    if values.ndim == 3 and image.channels == 1:
        if (values != values[..., :1]).any():
            raise refuse("is in color, but the images are gray")
        values = values[..., 0]
    low, high = int(values.min()), int(values.max())
    if low < 0 or high >= image.levels:
        raise refuse(f"has the value {low if low < 0 else high}")
    return Image.fromarray(values.astype(np.uint8)).convert("L" if image.channels == 1 else "RGB")


def stored_bits(picture: Image.Image, source: bytes | Image.Image) -> int:
    """The number of bits in which the values of pixels, or of the colors of a palette, are stored.

    `picture` is `source` as Pillow decodes it, which reduces colors of 16 bits to 8, and scales fewer bits to 8. Raises
    `BrokenImage` as `png_bits` does.
    """
    if picture.mode in ("P", "PA"):
        return 8
    if isinstance(source, bytes) and picture.format == "PNG":
        return png_bits(source)
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(max(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))
    return 1 if picture.mode == "1" else 8


def png_bits(content: bytes) -> int:
    """The number of bits of each value in a PNG file, from the chunk IHDR before its pixels.

    Pillow also reads files in which IHDR is not the first chunk. Raises `BrokenImage` unless there is one such chunk,
    or if the file is of a variant of Apple, with other pixels.
    """
    headers, place = [], 8
    while place + 8 <= len(content):
        length, kind = struct.unpack_from(">I4s", content, place)
        if kind == b"CgBI":
            raise BrokenImage("the file is of Apple's variant of PNG (CgBI), which is not supported")
        if kind == b"IHDR":
            headers.append(content[place + 8 : place + 8 + length])
        if kind == b"IDAT":
            break
        place += 12 + length
    if len(headers) != 1 or len(headers[0]) != 13:
        raise BrokenImage(f"the PNG file has {len(headers)} headers (IHDR), expected one of 13 bytes")
    return headers[0][8]


def fitted(
    picture: Image.Image, size: tuple[int, int], crop: Crop, resize: str, name: str, resampling: Image.Resampling
) -> Image.Image:
    """Crops a picture and resizes it to `size`, (width, height), as `Preparation` describes.

    Raises `UserError`, with `name` in the message, if the crop leaves no pixels, and `WrongSize` if `resize` is "none"
    and the size differs.
    """
    full = f"{picture.height}×{picture.width}"
    box = (crop.left, crop.top, picture.width - crop.right, picture.height - crop.bottom)
    if box[0] >= box[2] or box[1] >= box[3]:
        raise UserError(f"data.crop: the margins leave nothing of {name}, which has {full} pixels")
    if crop != Crop():
        picture = picture.crop(box)
    if picture.size == size:
        return picture
    if resize == "none":
        cropped = f" ({picture.height}×{picture.width} after data.crop)" if crop != Crop() else ""
        found = f"{full} pixels{cropped}"
        raise WrongSize(
            f"data.resize: {name} has {found}, but [image] has {size[1]}×{size[0]} (height×width); set data.resize "
            "to 'cover' or 'stretch', set data.crop, or change image.height and image.width",
            found,
        )
    if resize == "stretch":
        return picture.resize(size, resampling)
    return ImageOps.fit(picture, size, resampling)


class _Silence:
    """A context that hides Pillow's warnings and log messages while any thread is inside it.

    Warning filters are global. If each thread used `warnings.catch_warnings`, overlapping threads would restore the
    filters in the wrong order. Here the first thread that enters changes the filters, and the last one that leaves
    restores them.
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
    """Returns the content of a file. If it is larger than `MAX_BYTES`, only `MAX_BYTES + 1` bytes are read.

    Raises `OSError` if the file cannot be read.
    """
    size = path.stat().st_size  # Reading a given number of bytes would reserve memory for all of them.
    with path.open("rb") as file:
        return file.read() if size <= MAX_BYTES else file.read(MAX_BYTES + 1)


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
        with _silence, _picture(source, formats) as picture:
            _check_extent(picture, source)
            with _large if picture.width * picture.height > LARGE else contextlib.nullcontext():
                picture.load()
                yield _upright(picture, picture) if upright else picture
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


def _picture(source: bytes | Image.Image, formats: list[str]) -> contextlib.AbstractContextManager[Image.Image]:
    """A context that gives the picture of an image file and closes it, or a Pillow image, which is left open."""
    if isinstance(source, Image.Image):
        return contextlib.nullcontext(source)
    return Image.open(io.BytesIO(source), formats=formats)


def _check_extent(picture: Image.Image, source: bytes | Image.Image) -> None:
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
    if isinstance(source, bytes) and picture.format == "PNG":
        png_bits(source)


def _upright(picture: Image.Image, original: Image.Image) -> Image.Image:
    """A picture turned by the EXIF orientation of its original, or unchanged if the EXIF data cannot be read."""
    try:
        turn = _TURNS.get(original.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # Damaged EXIF data can raise any exception, but the pixels are still usable.
        return picture
    return picture if turn is None else picture.transpose(turn)


def decode(source: bytes | Image.Image, mode: str) -> Image.Image:
    """Decodes a picture, turned upright and converted to `mode` ("L" or "RGB").

    `source` is the content of an image file, of which the first frame is read, or a Pillow image. Transparent pixels
    are blended onto white. Raises `BrokenImage` if the image cannot be decoded or is too large.
    """
    with opened(source) as picture:
        return eight_bit(picture).convert(mode)


def eight_bit(picture: Image.Image) -> Image.Image:
    """Converts an image to a Pillow mode with at most 8 bits per channel and without transparency.

    Transparent pixels are blended onto white. Raises `BrokenImage` if the values cannot be converted to 8 bits: gray
    values of more than 16 bits, floats, L*a*b* colors, and 16-bit colors that are marked as transparent.
    """
    if _has_deep_key(picture):
        raise BrokenImage("a 16-bit color is marked as transparent, which is not supported")
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
    if picture.mode.startswith("I"):
        return key is not None
    return isinstance(key, tuple) and max(key) > 255
