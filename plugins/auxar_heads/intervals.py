"""A helper for likelihoods that are restricted to intervals of values."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar import Interval


def only_inside(nats: Tensor, image: Tensor, interval: Interval) -> Tensor:
    """The log-likelihoods `nats`, with -∞ where a value of the image lies outside its interval."""
    inside = (image >= interval.low) & (image <= interval.high)
    return torch.where(inside, nats, torch.full((), -torch.inf, dtype=nats.dtype, device=nats.device))
