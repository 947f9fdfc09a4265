"""Draws from a categorical distribution, by the inverse of its distribution function."""

from __future__ import annotations

from torch import Tensor, searchsorted


def draw(uniform: Tensor, logits: Tensor) -> Tensor:
    """The category that each of `uniform`, shape (…,) in (0, 1), falls in; logits (…, k) to int64 (…,)."""
    cumulative = logits.softmax(-1).cumsum(-1)
    # Scaling by the last sum keeps a uniform near 1 inside the categories, whatever the sums' rounding.
    threshold = (uniform * cumulative[..., -1]).unsqueeze(-1)
    return (
        searchsorted(cumulative.contiguous(), threshold.contiguous(), right=True)
        .squeeze(-1)
        .clamp_(max=logits.shape[-1] - 1)
    )
