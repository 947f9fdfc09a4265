"""Pictures of a model's images and of its data, which FID and KID compare."""

from __future__ import annotations

from collections.abc import Sized

import torch
from torch import Tensor

from auxar.draw.image_model import ImageModel
from auxar.draw.recipe_images import load_images
from auxar.draw.sheets import can_be_shown, to_uint8
from auxar.errors import UserError
from auxar.model import ImageSpec

BATCH = 64
"""Number of images of the data that are read at once."""
MOST_REFERENCE = 50_000
"""Maximum number of images of the data. If there are more, evenly spaced ones are taken, or the first ones of a
stream."""


def reference_pictures(model: ImageModel, which: str) -> Tensor:
    """The held-out or training images of the model's data as pictures, uint8 (n, 3, h, w).

    Raises `UserError` if images of the model cannot be shown, or if there are fewer than 2.
    """
    if not can_be_shown(model.image):
        raise UserError(f"FID and KID need images with 1 or 3 channels; this model has {model.image}")
    data = load_images(model)
    images = data.heldout if which == "heldout" else data.train
    if isinstance(images, Sized):
        numbers = torch.linspace(0, len(images) - 1, min(MOST_REFERENCE, len(images))).round().long().tolist()
        found = torch.stack([images[number] for number in numbers])
    else:
        found = torch.cat(list(images.in_order(BATCH, limit=MOST_REFERENCE)))
    if len(found) < 2:
        raise UserError(f"FID and KID need at least 2 {which} images; the data have {len(found)}")
    return as_pictures(found, model.image)


def as_pictures(images: Tensor, spec: ImageSpec) -> Tensor:
    """Images (n, c, h, w) with c = 1 or 3 as uint8 (n, 3, h, w) with 256 levels."""
    return torch.from_numpy(to_uint8(images, spec)).permute(0, 3, 1, 2)
