"""Sampling from a categorical distribution by inverting its cumulative distribution function."""

from __future__ import annotations

from torch import Tensor


def draw(uniform: Tensor, logits: Tensor) -> Tensor:
    """Draws one category for each value of `uniform`: int64, shape (…,).

    `uniform` has values in (0, 1) and shape (…,), and `logits` has shape (…, k).

    Examples:
        >>> import torch
        >>> draw(torch.tensor([0.3, 0.7]), logits=torch.zeros(2, 2))
        tensor([0, 1])
    """
    cumulative = logits.softmax(-1).cumsum(-1)
    # Rounding can leave the last sum different from 1. Scaling by it keeps a uniform near 1 from selecting a last
    # category without probability.
    threshold = uniform.unsqueeze(-1) * cumulative[..., -1:]
    return (cumulative[..., :-1] <= threshold).sum(-1)
