"""Images by place: the order in which samplers address pixels."""

from __future__ import annotations

import torch
from torch import Tensor


def by_place(values: Tensor) -> Tensor:
    """(b, c, h, w) to (h · w + 1, b, c): a row for each place row · width + column, and zeros for places outside."""
    rows = values.permute(2, 3, 0, 1).flatten(0, 1)
    return torch.cat([rows, rows.new_zeros((1, *rows.shape[1:]))])
