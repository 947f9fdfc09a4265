"""One encoded image file to the integers of an `ImageSpec`."""

from __future__ import annotations

import io

import attrs
import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from auxar.errors import UserError
from auxar.interfaces import ImageSpec
from auxar.recipe import Crop


class BrokenImage(Exception):
    """An image that cannot be read; the text says why."""


def _suppliable(instance: object, attribute: attrs.Attribute, image: ImageSpec) -> None:
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
        picture = self._fit(decode(encoded, "L" if self.image.channels == 1 else "RGB"), name)
        pixels = np.asarray(picture)
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


def decode(encoded: bytes, mode: str) -> Image.Image:
    """The first frame of an image file, upright, in `mode` "L" or "RGB", transparency laid onto white.

    Raises `BrokenImage` if it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            return _eight_bit(ImageOps.exif_transpose(picture)).convert(mode)
    except BrokenImage:
        raise
    except UnidentifiedImageError as error:
        raise BrokenImage("it is in no image format that Pillow knows") from error
    except Exception as error:  # Pillow's decoders raise whatever a damaged file leads them into.
        raise BrokenImage(str(error) or type(error).__name__) from error


def _eight_bit(picture: Image.Image) -> Image.Image:
    """`picture` in a mode of 8 bits a channel without transparency."""
    if picture.mode.startswith("I"):
        # Sixteen bits of gray, which Pillow's own conversion would clip at 255.
        values = np.asarray(picture).astype(np.int64)
        if values.min() < 0 or values.max() > 65535:
            raise BrokenImage("its gray values need more than 16 bits")
        return Image.fromarray((values >> 8).astype(np.uint8))
    if picture.mode == "F":
        raise BrokenImage("its values are floats of unknown range")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture
