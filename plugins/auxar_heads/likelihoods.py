"""Helpers for the likelihoods of heads: their precision, and their restriction to intervals of values."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar import Interval


def at_least_single(parameters: Tensor) -> Tensor:
    """The parameters in float32 or float64."""
    return parameters if parameters.dtype in (torch.float32, torch.float64) else parameters.float()


def only_inside(nats: Tensor, image: Tensor, interval: Interval) -> Tensor:
    """The log-likelihoods `nats`, with -∞ where a value of the image lies outside its interval."""
    inside = (image >= interval.low) & (image <= interval.high)
    return torch.where(inside, nats, torch.full((), -torch.inf, dtype=nats.dtype, device=nats.device))
