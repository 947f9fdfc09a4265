"""Sampling from a categorical distribution by inverting its cumulative distribution function."""

import math

import torch
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


def without_light(logits: Tensor, min_weight: float) -> Tensor:
    """Replaces the logits of light categories by -∞, so that `draw` never draws them. Logits have shape (…, k).

    A category is light if its probability is less than `min_weight` times that of the most probable category.
    `min_weight` lies in [0, 1), so the most probable category is kept. With 0, the logits are returned unchanged. Heads
    apply the adjustment `min_weight` with this function.

    Examples:
        >>> import torch
        >>> without_light(torch.tensor([0.0, -2.0, -4.0]), min_weight=0.05)
        tensor([ 0., -2., -inf])
    """
    if not min_weight:
        return logits
    return logits.masked_fill(logits < logits.amax(-1, keepdim=True) + math.log(min_weight), -torch.inf)
