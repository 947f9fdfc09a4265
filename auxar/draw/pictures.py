"""Strict conversion of pictures to a model's integers: colors and transparency are neither added nor dropped."""

from __future__ import annotations

import attrs
import numpy as np
from PIL import Image

from auxar.data.conversion import BrokenImage, Preparation, decode, eight_bit, opened
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.recipe import Crop


class WrongColors(UserError):
    """The error for a picture with other channels than the model: color, gray or transparency."""


def picture_values(source: bytes | Image.Image, preparation: Preparation, label: str, name: str) -> np.ndarray:
    """Converts a picture to integers in [0, levels) of shape (channels, height, width), as `preparation` describes.

    `source` is the content of an image file or a Pillow image. A picture that already has the size of the model is not
    cropped. Errors of the picture begin with `label`, and errors of the crop quote `name`. Raises `UserError` if the
    picture cannot be read, `WrongColors` if it has other channels than the model, and `WrongSize` if it has another
    size and `preparation` does not resize.
    """
    image = preparation.image
    if checked_picture(source, image, label).size == (image.width, image.height):
        preparation = attrs.evolve(preparation, crop=Crop())
    return preparation(source, name)


def view_values(source: bytes | Image.Image, view: ImageSpec, values: str, label: str) -> np.ndarray:
    """Converts the picture of a view, as auxar writes it, back to the view: uint8, (channels, height, width).

    `values` says what its pixels hold, as `Preparation.values`. Raises `UserError`, beginning with `label`, if the
    picture cannot be read, or has another size or other channels.
    """
    _check_size(checked_picture(source, view, label), view, label, "view")
    return Preparation(view, Crop(), "none", values)(source, label)


def mask_values(source: bytes | Image.Image, image: ImageSpec, label: str) -> np.ndarray:
    """Converts the picture of a mask to booleans (height, width): True where it is white (gray values of at least 128).

    Raises `UserError`, beginning with `label`, if the picture cannot be read or has another size than `image`.
    """
    try:
        picture = decode(source, "L")
    except BrokenImage as error:
        raise UserError(f"{label} cannot be read: {error}") from None
    _check_size(picture, image, label, "mask")
    return np.asarray(picture) >= 128


def _check_size(picture: Image.Image, expected: ImageSpec, label: str, what: str) -> None:
    if picture.size != (expected.width, expected.height):
        size = f"{picture.height}×{picture.width}"
        raise UserError(f"{label} has {size} pixels; a {what} of {expected.height}×{expected.width} is expected")


def checked_picture(source: bytes | Image.Image, image: ImageSpec, label: str) -> Image.Image:
    """Decodes a picture: gray (mode "L") if `image` has one channel, RGB if it has three.

    Raises `UserError`, beginning with `label`, if the picture cannot be read, and `WrongColors` if it is transparent or
    has other channels than `image`.
    """
    try:
        with opened(source) as picture:
            gray = picture.mode in ("1", "L", "LA", "La", "F") or picture.mode.startswith("I")
            decoded = eight_bit(picture).convert("RGB")
            alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    except BrokenImage as error:
        raise UserError(f"{label} cannot be read: {error}") from None
    if alpha is not None and np.asarray(alpha).min() < 255:
        raise WrongColors(
            f"{label} is partly transparent, and models have no alpha channel; save it without transparency"
        )
    if image.channels == 1:
        # A gray image may be stored in color, with equal red, green and blue.
        red, green, blue = decoded.split()
        if not red.tobytes() == green.tobytes() == blue.tobytes():
            raise WrongColors(f"{label} is in color; a grayscale image is expected")
        return red
    if gray:
        raise WrongColors(f"{label} is grayscale; an RGB image is expected")
    return decoded
