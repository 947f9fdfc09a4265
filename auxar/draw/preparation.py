"""Preparation of pictures of any size and color for a model, as [data] of its recipe does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.arguments import as_integer, described
from auxar.data.conversion import BrokenImage, Preparation, WrongSize
from auxar.draw.arrays import Array, integers
from auxar.draw.inputs import gathered, is_pictured
from auxar.errors import UserError, did_you_mean
from auxar.model import ImageSpec
from auxar.recipe import Crop, Recipe
from auxar.recipe.schema import RESIZES


def usual_preparation(image: ImageSpec, recipe: Recipe | None) -> Preparation | None:
    """The conversion of pictures that the recipe of a model describes. Without a recipe, other sizes are refused.

    None if pictures cannot be converted to images with these channels or levels.
    """
    if not is_pictured(image):
        return None
    if recipe is None:
        return Preparation(image, Crop(), "none")
    return Preparation.of(image, recipe.data)


def prepared(images: Any, usual: Preparation | None, resize: Any, crop: Any) -> Tensor:
    """Converts pictures to the size, channels and levels of a model: uint8, shape (n, *image.shape).

    See `ImageModel.prepare`. Raises `UserError` if `usual` is None.
    """
    if usual is None:
        raise UserError("images: this model cannot be used with pictures, because they have 1 or 3 channels of 8 bits")
    if resize is not None and not (isinstance(resize, str) and resize in RESIZES):
        raise UserError(f"resize: expected 'none', 'cover' or 'stretch', got {described(resize)}")
    preparation = attrs.evolve(
        usual, crop=usual.crop if crop is None else _crop(crop), resize=usual.resize if resize is None else resize
    )

    def from_picture(source: bytes | Image.Image, label: str, name: str) -> np.ndarray:
        try:
            return preparation(source, name)
        except BrokenImage as error:
            raise UserError(f"{label} cannot be read: {error}") from None
        except WrongSize as error:
            expected = f"{usual.image.height}×{usual.image.width}"
            advice = "set resize to 'cover' (cuts off margins) or 'stretch'"
            raise UserError(f"{label} has {error.found}; expected {expected}: {advice}") from None

    def from_array(array: Array, label: str) -> Tensor:
        pictures = [
            from_picture(picture, f"{label}: picture {number}", f"picture {number}")
            for number, picture in enumerate(_pictures(array, label))
        ]
        return torch.from_numpy(np.stack(pictures))

    return gathered(images, from_array, from_picture, "images")


def _crop(crop: Any) -> Crop:
    names = [field.name for field in attrs.fields(Crop)]
    if isinstance(crop, Crop):
        return crop
    if not isinstance(crop, Mapping):
        raise UserError(f"crop: expected margins in pixels, such as {{'top': 20}}, got {described(crop)}")
    for name, margin in crop.items():
        if name not in names:
            raise UserError(f"crop: unknown side {described(name)}{did_you_mean(str(name), names)}")
        as_integer(margin, f"crop: {name}", 0)
    return Crop(**crop)


def _pictures(array: Array, label: str) -> list[Image.Image]:
    """The pictures in an array of 8-bit values, with the channels first, or also last in a NumPy array."""
    values = integers(array, 256, label)
    if values.numel() and (int(values.min()) < 0 or int(values.max()) > 255):
        found = f"{int(values.min())} … {int(values.max())}"
        raise UserError(f"{label}: expected 8-bit values, 0 … 255, got {found}")
    shape = tuple(values.shape)
    first, last = len(shape) > 2 and shape[-3] in (1, 3, 4), len(shape) > 2 and shape[-1] in (1, 3, 4)
    if len(shape) not in (2, 3, 4) or 0 in shape or (len(shape) == 4 and not (first or last)):
        raise UserError(f"{label}: expected pictures of shape (n, channels, height, width), got {shape}")
    if last and not first:
        if isinstance(array, Tensor):
            order = "2, 0, 1" if len(shape) == 3 else "0, 3, 1, 2"
            raise UserError(f"{label}: the channels of {shape} are last; use x.permute({order})")
        values = values.movedim(-1, -3)
    if not (first or last):
        values = values.unsqueeze(-3)  # Gray pictures without a dimension of channels.
    batch = (values if values.dim() == 4 else values[None]).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()
    return [Image.fromarray(picture.squeeze(-1) if picture.shape[-1] == 1 else picture) for picture in batch]
