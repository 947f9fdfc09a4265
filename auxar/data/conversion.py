"""Converts an encoded image file to the integers that an `ImageSpec` describes."""

from __future__ import annotations

import attrs
import numpy as np
from PIL import Image, ImageOps, TiffImagePlugin

from auxar.data.crops import Crops
from auxar.data.decoding import BrokenImage, eight_bit, is_deep, opened, upright_picture
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.numerics.levels import LEVELS, SCALED
from auxar.recipe import Crop, DataConfig
from auxar.recipe.schema import check_image

KEEPING = ("BMP", "GIF", "PNG", "TIFF", "WEBP")
"""The formats whose values of pixels can be taken as levels. JPEG and AVIF change values, and Pillow scales PPM's."""


class WrongSize(UserError):
    """The error for an image that has another size than expected and is not resized."""

    def __init__(self, message: str, found: str) -> None:
        super().__init__(message)
        self.found = found
        """The size of the image as text, such as "480×640 pixels"."""


@attrs.frozen
class Preparation:
    """The conversion of image files to the size, channels and levels of `image`.

    Raises `UserError` unless `image` has 1 or 3 channels and at most 256 levels.
    """

    image: ImageSpec = attrs.field(validator=lambda _, field, image: check_image(image))
    crop: Crop
    """Margins that are cut off before an image is resized."""
    resize: str
    """How an image of another size is resized: "none" (an error), "cover" or "stretch"."""
    values: str = attrs.field(default=SCALED, repr=False)
    """The meaning of pixels: "scaled" values 0 … 255, which are converted to levels, or "levels"."""
    crops: Crops | None = attrs.field(default=None, repr=False)
    """The crops of images that keep their own sizes, at least that of a crop; None if all get the size of `image`."""

    @classmethod
    def of(cls, image: ImageSpec, data: DataConfig, crops: Crops | None = None) -> Preparation:
        """The conversion that [data] of a recipe describes, to images of one size unless there are `crops`."""
        return cls(image, data.crop, data.resize, data.values, crops)

    @property
    def identity(self) -> str:
        """A text that differs between conversions with different results."""
        values = "" if self.values == SCALED else f" of {self.values}"
        return repr(self) + values + ("" if self.crops is None else " or larger")

    @property
    def as_levels(self) -> bool:
        """Whether pixels are taken as levels, with all their bits."""
        return self.values == LEVELS and self.image.levels < 256

    def reduces(self, source: bytes | Image.Image) -> bool:
        """Whether a picture has 16 bits per channel, of which only the upper 8 are used."""
        return not self.as_levels and is_deep(source)

    def __call__(self, source: bytes | Image.Image, name: str) -> np.ndarray:
        """Converts a picture to uint8 of shape (channels, height, width), with values in [0, levels).

        `source` is the content of an image file or a Pillow image. Raises `BrokenImage` if it cannot be decoded. Raises
        `UserError`, with `name` in the message, if the crop leaves no pixels or if pixels should be levels and are not,
        and `WrongSize` if the size differs from that of `image` and `resize` is "none" or, with `crops`, is smaller.
        """
        with opened(source, upright=not self.as_levels) as picture:
            if self.as_levels:
                upright = upright_picture(level_picture(picture, source, self.image, name), picture)
            else:
                upright = eight_bit(picture).convert("L" if self.image.channels == 1 else "RGB")
            pixels = np.asarray(self._fitted(upright, name))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)
        if self.as_levels:
            pixels = pixels.clip(max=self.image.levels - 1)  # Resizing can exceed the values between which it averages.
        elif self.image.levels < 256:
            pixels = (pixels.astype(np.uint16) * self.image.levels // 256).astype(np.uint8)
        return np.ascontiguousarray(pixels)

    def _fitted(self, picture: Image.Image, name: str) -> Image.Image:
        size = (self.image.width, self.image.height)
        if self.crops is None:
            return fitted(picture, size, self.crop, self.resize, name, Image.Resampling.LANCZOS)
        found = without_margins(picture, self.crop, name)
        if found.width < size[0] or found.height < size[1]:
            has = _sizes(picture, found)
            raise WrongSize(
                f"data.crop: {name} has {has}, which is smaller than the crops of [image], {size[1]}×{size[0]} "
                "(height×width); remove it from the data set, or make image.height and image.width smaller",
                has,
            )
        return found


def level_picture(picture: Image.Image, source: bytes | Image.Image, image: ImageSpec, name: str) -> Image.Image:
    """A picture whose pixels are levels, in the mode "L" or "RGB", with the values that `source` stores.

    `picture` is `source` as Pillow decodes it. Values of 1, 2 or 4 bits, which Pillow scales to 8, and gray values of
    16 bits are also taken as they are stored. Raises `UserError`, with `name` in the message, if a value is not a level
    of `image`, if the file does not keep values, or if it has colors and the images are gray.
    """

    def refuse(reason: str) -> UserError:
        advice = "change image.levels, or set data.values = 'scaled' if pixels have values 0 … 255"
        if is_deep(source):
            advice = "convert it to 8 bits: it has 16 bits per channel, of which 'scaled' uses only the upper 8"
        return UserError(
            f"data.values: {name} {reason}; with 'levels', pixels are expected to have levels 0 … {image.levels - 1}; "
            f"{advice}"
        )

    bits = stored_bits(picture, source)
    is_gray = picture.mode.startswith("I")
    if isinstance(source, bytes) and picture.format not in KEEPING:
        raise refuse(f"is a {picture.format} file, which does not keep values; expected PNG")
    if (bits > 8 and not is_gray) or picture.mode in ("CMYK", "YCbCr", "LAB", "F"):
        raise refuse(f"has {picture.mode} pixels of {bits} bits, which are not kept; expected gray or RGB of 8 bits")
    if picture.has_transparency_data and np.asarray(picture.convert("RGBA").getchannel("A")).min() < 255:
        raise refuse("is partly transparent")
    values = np.asarray(picture if is_gray else picture.convert("RGB"))
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
    `BrokenImage` if a PNG file does not begin with its header.
    """
    if picture.mode in ("P", "PA"):
        return 8
    if isinstance(source, bytes) and picture.format == "PNG":
        # The chunk IHDR, which has the number of bits, is the first one of a valid file. Pillow also reads others.
        if source[12:16] != b"IHDR":
            raise BrokenImage("the PNG file does not begin with its header (IHDR)")
        return source[24]
    if isinstance(picture, TiffImagePlugin.TiffImageFile):
        return int(max(picture.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, (1,))))
    return 1 if picture.mode == "1" else 8


def fitted(
    picture: Image.Image, size: tuple[int, int], crop: Crop, resize: str, name: str, resampling: Image.Resampling
) -> Image.Image:
    """Crops a picture and resizes it to `size`, (width, height), as `Preparation` describes.

    Raises `UserError`, with `name` in the message, if the crop leaves no pixels, and `WrongSize` if `resize` is "none"
    and the size differs.
    """
    found = without_margins(picture, crop, name)
    if found.size == size:
        return found
    if resize == "none":
        has = _sizes(picture, found)
        raise WrongSize(
            f"data.resize: {name} has {has}; expected {size[1]}×{size[0]} (height×width); set data.resize "
            "to 'cover' or 'stretch', set data.crop, or change image.height and image.width",
            has,
        )
    return found.resize(size, resampling) if resize == "stretch" else ImageOps.fit(found, size, resampling)


def without_margins(picture: Image.Image, crop: Crop, name: str) -> Image.Image:
    """A picture without margins. Raises `UserError`, with `name` in the message, if the crop leaves no pixels."""
    box = (crop.left, crop.top, picture.width - crop.right, picture.height - crop.bottom)
    if box[0] >= box[2] or box[1] >= box[3]:
        full = f"{picture.height}×{picture.width}"
        raise UserError(f"data.crop: the margins leave nothing of {name}, which has {full} pixels")
    return picture if box == (0, 0, *picture.size) else picture.crop(box)


def _sizes(picture: Image.Image, cropped: Image.Image) -> str:
    """The size of a picture and, if its margins were cut off, the size of the rest, for messages."""
    rest = "" if cropped is picture else f" ({cropped.height}×{cropped.width} after data.crop)"
    return f"{picture.height}×{picture.width} pixels{rest}"
