"""Draws from a categorical distribution, by the inverse of its distribution function."""

from __future__ import annotations

from torch import Tensor


def draw(uniform: Tensor, logits: Tensor) -> Tensor:
    """The category that each of `uniform`, shape (…,) in (0, 1), falls in; logits (…, k) to int64 (…,).

    Examples:
        >>> import torch
        >>> draw(torch.tensor([0.3, 0.7]), logits=torch.zeros(2, 2))
        tensor([0, 1])
    """
    cumulative = logits.softmax(-1).cumsum(-1)
    # Scaling by the last sum keeps a uniform near 1 inside the categories, whatever the sums' rounding.
    threshold = uniform.unsqueeze(-1) * cumulative[..., -1:]
    return (cumulative[..., :-1] <= threshold).sum(-1)
