"""Conversion of images to the pixels of pictures."""

import numpy as np
from torch import Tensor

from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.numerics.levels import SCALED, to_pixels
from auxar.recipe.schema import CHANNELS


def pixels(images: Tensor, spec: ImageSpec, values: str = SCALED) -> np.ndarray:
    """Converts integers (b, *spec.shape) in [0, levels) to pixels: uint8, (b, h, w, 3), or (b, h, w) for one channel.

    `values` says what pixels hold, as `to_pixels` describes. Pictures of these pixels are read as the same integers by
    a recipe with `values` as its `data.values`. Raises `UserError` if the tensor does not match `spec`, or if the
    number of channels is not 1 or 3.
    """
    spec.check(images)
    spec.check_range(images)
    if spec.channels not in CHANNELS:
        raise UserError(f"only images with 1 or 3 channels can be shown; this one has {spec.channels}: {spec}")
    found = to_pixels(images.detach().cpu().numpy().transpose(0, 2, 3, 1), spec.levels, values)
    return found[..., 0] if spec.channels == 1 else found
