"""Conversion of images to tensors that are indexed by place, as samplers and pixel sources use them."""

from __future__ import annotations

import torch
from torch import Tensor


def by_place(values: Tensor) -> Tensor:
    """Converts (b, c, h, w) to (h · w + 1, b, c), indexed by place: row · width + column.

    The last entry, which is zero, stands for the place outside of the image.
    """
    rows = values.permute(2, 3, 0, 1).flatten(0, 1)
    return torch.cat([rows, rows.new_zeros((1, *rows.shape[1:]))])
