"""The discretized logistic distribution over the integers 0 … levels - 1, exactly normalized, in log space.

A logistic distribution on [-1, 1] is cut at the mid-points between the scaled values; the first and the last value
take the tails (Salimans et al. 2017, equation 2).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def log_interval_mass(low: Tensor, high: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """log P(low ≤ value ≤ high), in nats, broadcast over all arguments.

    `low` and `high` are integers in [0, levels), low ≤ high; `mean` and `log_scale` are in units of [-1, 1]. With
    p and m the standardized upper and lower ends, σ(p) - σ(m) = σ(p) σ(-m) (1 - e^(m - p)), in which no difference of
    nearly equal numbers is taken, however far out the interval lies.
    """
    half = 1 / (levels - 1)
    inverse_scale = torch.exp(-log_scale)
    upper = (high.to(mean.dtype) * (2 * half) - 1 + half - mean) * inverse_scale
    lower = (low.to(mean.dtype) * (2 * half) - 1 - half - mean) * inverse_scale
    width = (high - low + 1).to(mean.dtype) * (2 * half) * inverse_scale
    zero = torch.zeros((), dtype=mean.dtype, device=mean.device)
    below_upper = torch.where(high == levels - 1, zero, logsigmoid(upper))
    above_lower = torch.where(low == 0, zero, logsigmoid(-lower))
    finite = torch.where((low == 0) | (high == levels - 1), zero, torch.log(-torch.expm1(-width)))
    return below_upper + above_lower + finite


def log_mass(value: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """log P(value), in nats, for integers `value` in [0, levels); see `log_interval_mass`.

    Examples:
        >>> masses = log_mass(torch.arange(4), torch.tensor(0.3), torch.tensor(-1.0), levels=4).exp()
        >>> round(masses.sum().item(), 5)
        1.0
    """
    return log_interval_mass(value, value, mean, log_scale, levels)


def draw(uniform: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """The point that the inverse of the logistic distribution function gives for `uniform` in (0, 1)."""
    return torch.addcmul(mean, torch.exp(log_scale), torch.logit(uniform))


def draw_between(uniform: Tensor, mean: Tensor, log_scale: Tensor, low: Tensor, high: Tensor, levels: int) -> Tensor:
    """The value in [low, high] that the inverse of the distribution function, given that interval, has for `uniform`.

    `low` and `high` are integers in [0, levels), the result has the dtype of `mean`. With σ(l) and σ(u) of the
    standardized ends, the t sought has σ(t) = (1 - uniform) σ(l) + uniform σ(u). It is counted from zero if that is
    well inside of [l, u], and else from the end that is nearer to zero, in which no difference of nearly equal numbers
    is taken: an interval far out, with next to no mass, or a flat one is drawn from as well as any other.

    Examples:
        >>> low, high, far, wide = (torch.tensor(x).double() for x in (3, 200, 1e3, 0.0))
        >>> [draw_between(torch.tensor(u).double(), far, wide, low, high, 256).item() for u in (0.1, 0.5)]
        [43.0, 137.0]
    """
    half = 1 / (levels - 1)
    inverse_scale = torch.exp(-log_scale)
    infinite = torch.full((), torch.inf, dtype=mean.dtype, device=mean.device)
    lower = torch.where(low == 0, -infinite, ((2 * low - 1).to(mean.dtype) * half - 1 - mean) * inverse_scale)
    upper = torch.where(high == levels - 1, infinite, ((2 * high + 1).to(mean.dtype) * half - 1 - mean) * inverse_scale)
    mirrored = lower + upper > 0
    left, right = torch.where(mirrored, -upper, lower), torch.where(mirrored, -lower, upper)
    rest, share = torch.where(mirrored, uniform, 1 - uniform), torch.where(mirrored, 1 - uniform, uniform)
    signed_scale = torch.where(mirrored, -1.0, 1.0).to(mean.dtype) / inverse_scale
    from_mean = mean + signed_scale * _between_from_zero(rest, share, left, right)
    width = torch.where(left.isinf(), infinite, (high - low + 1).to(mean.dtype) * (2 * half) * inverse_scale)
    end = torch.where(mirrored, 2 * low - 1, 2 * high + 1).to(mean.dtype) * half - 1
    from_end = end - signed_scale * _distance_from_right(rest, share, right, width)
    # Rounding may lead a hair outside.
    return nearest_between(torch.where(right > 1, from_mean, from_end), low, high, levels)


def _between_from_zero(rest: Tensor, share: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """The t of σ(t) = rest σ(left) + share σ(right), rest + share = 1, for left < 0 < right."""
    left, right = torch.exp(left), torch.exp(-right)
    by_left, by_right = rest * (1 + right), share * (1 + left)
    return torch.log((by_left * left + by_right) / (by_left + by_right * right))


def _distance_from_right(rest: Tensor, share: Tensor, right: Tensor, width: Tensor) -> Tensor:
    """How far it is from there to `right`, not far above zero, with left = right - width."""
    above, inside = 1 + torch.exp(right), -torch.expm1(-width)
    return torch.log1p(rest * inside * above / (above * torch.exp(-width) + share * inside))


def nearest_between(point: Tensor, low: Tensor, high: Tensor, levels: int) -> Tensor:
    """The value in [low, high] nearest to a point in units of [-1, 1], half up, of its dtype; `low` for what is none.

    Examples:
        >>> nearest_between(torch.tensor([-1.2, 0.0, 0.9, torch.nan]), torch.tensor(1), torch.tensor(2), levels=4)
        tensor([1., 2., 2., 1.])
    """
    found = nearest_value(position(point, levels), levels)
    low, high = low.to(found.dtype), high.to(found.dtype)
    return torch.minimum(torch.where(found > low, found, low), high)


def position(point: Tensor, levels: int) -> Tensor:
    """A point in units of [-1, 1] in units of levels: 0 … levels - 1."""
    half = (levels - 1) / 2
    return point * half + half


def nearest_value(position: Tensor, levels: int) -> Tensor:
    """A position in units of levels to the nearest whole number in [0, levels), half up, of the same dtype.

    Examples:
        >>> nearest_value(position(torch.tensor([-1.2, 0.0, 0.9]), levels=4), levels=4)
        tensor([0., 2., 3.])
    """
    return torch.floor(position + 0.5).clamp_(0, levels - 1)
