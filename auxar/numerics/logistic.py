"""The discretized logistic distribution over the integers 0 … levels - 1.

The integers are scaled to [-1, 1]. Each one gets the mass of a logistic distribution between the mid-points to its
neighbors, and the first and the last one also get the tails (Salimans et al. 2017, equation 2). The masses therefore
add up to 1. They are computed in log space.
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

SMALLEST_REDUCED_LOG_SCALE = -600.0
"""Lower bound of log-scales that a draw has reduced. It keeps 1 / scale finite in float64."""


def log_interval_mass(low: Tensor, high: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Computes log P(low ≤ value ≤ high) in nats. The arguments are broadcast.

    `low` and `high` are integers in [0, levels) with low ≤ high. `mean` and `log_scale` refer to values scaled to
    [-1, 1]. The mass between the standardized ends m < p is σ(p) - σ(m) = σ(p) σ(-m) (1 - e^(m - p)). The right side
    avoids cancellation, even far in the tails.
    """
    shape = torch.broadcast_shapes(low.shape, high.shape, mean.shape, log_scale.shape)
    # The shapes of the ends stay as they are, so that they are converted before they are broadcast.
    apply: Any = _LogIntervalMass.apply
    result: Tensor = apply(low, high, mean.expand(shape), log_scale.expand(shape), levels)
    return result


class _LogIntervalMass(torch.autograd.Function):
    """The log-mass, whose derivatives need the same exponentials as its value and are computed with it.

    With the standardized ends m < p and their distance w, the derivatives by p, -m and w are σ(-p), σ(m) and
    1 / (e^w - 1). The ends of the range count as infinite.
    """

    @staticmethod
    def forward(ctx: Any, low: Tensor, high: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
        half = 1 / (levels - 1)
        inverse_scale = torch.exp(-log_scale)
        first, last = low == 0, high == levels - 1
        upper = (high.to(mean.dtype) * (2 * half) - 1 + half - mean).mul_(inverse_scale)
        # The lower end, mirrored.
        lower = (mean - (low.to(mean.dtype) * (2 * half) - 1 - half)).mul_(inverse_scale)
        width = (high - low + 1).to(mean.dtype) * (2 * half) * inverse_scale
        below_upper, of_upper = _log_sigmoid(upper)
        above_lower, of_lower = _log_sigmoid(lower)
        inside = torch.expm1(-width)
        finite = torch.log(-inside)
        for part, none in ((below_upper, last), (above_lower, first), (finite, first | last)):
            part.masked_fill_(none, 0.0)
        if any(ctx.needs_input_grad):
            of_upper.masked_fill_(last, 0.0)
            of_lower.masked_fill_(first, 0.0)
            of_width = ((1 + inside) / inside).masked_fill_(first | last, 0.0)
            by_scale = (of_width * width).sub_(of_upper * upper).sub_(of_lower * lower)
            ctx.save_for_backward((of_lower - of_upper).mul_(inverse_scale), by_scale)
        return below_upper.add_(above_lower).add_(finite)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        by_mean, by_scale = ctx.saved_tensors
        return None, None, gradients[0] * by_mean, gradients[0] * by_scale, None


def _log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """Computes log σ(x) and its derivative σ(-x)."""
    # Beyond the bound, squares of exponentials would be subnormal numbers, with which a CPU computes many times slower.
    # The bound changes the results by at most 1e-17 in float32 and 1e-138 in float64.
    bound = -0.45 * math.log(torch.finfo(x.dtype).tiny)
    near = x.clamp(-bound, bound)
    return x.clamp(max=0).sub_(near.abs().neg_().exp_().log1p_()), near.neg_().sigmoid_()


def log_mass(value: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Computes log P(value) in nats for integers in [0, levels). The arguments are broadcast.

    `mean` and `log_scale` refer to values scaled to [-1, 1].

    Examples:
        >>> masses = log_mass(torch.arange(4), torch.tensor(0.3), torch.tensor(-1.0), levels=4).exp()
        >>> round(masses.sum().item(), 5)
        1.0
    """
    return log_interval_mass(value, value, mean, log_scale, levels)


def reduced(log_scale: Tensor, reduction: float) -> Tensor:
    """Subtracts `reduction` from log-scales for a draw with lower variance. The result is at least -600.

    The bound keeps 1 / scale finite in float64. It does not change draws: at such a scale, the distribution is a point.

    Examples:
        >>> reduced(torch.tensor([-7.0, 0.5]), 0.5), reduced(torch.tensor(-7.0), 1e9)
        (tensor([-7.5000,  0.0000]), tensor(-600.))
    """
    return (log_scale - reduction).clamp(min=SMALLEST_REDUCED_LOG_SCALE)


def draw(uniform: Tensor, mean: Tensor, log_scale: Tensor) -> Tensor:
    """Draws from the continuous logistic distribution: its quantile at `uniform`, which is in (0, 1)."""
    return torch.addcmul(mean, torch.exp(log_scale), torch.logit(uniform))


def draw_between(uniform: Tensor, mean: Tensor, log_scale: Tensor, low: Tensor, high: Tensor, levels: int) -> Tensor:
    """Draws from the discretized distribution restricted to [low, high]: its quantile at `uniform`, which is in (0, 1).

    `low` and `high` are integers in [0, levels). The result has the dtype of `mean`. `mean` and `log_scale` refer to
    values scaled to [-1, 1].

    Let l and u be the standardized ends of the interval. The standardized quantile t satisfies
    σ(t) = (1 - uniform) σ(l) + uniform σ(u). If 0 is well inside [l, u], t is computed directly, and otherwise its
    distance from the end nearer to 0 is computed. Both avoid cancellation, so draws are accurate for intervals with
    almost no mass and for very wide distributions.

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
    # Rounding errors may put the point slightly outside of [low, high].
    return nearest_between(torch.where(right > 1, from_mean, from_end), low, high, levels)


def _between_from_zero(rest: Tensor, share: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """Solves σ(t) = rest · σ(left) + share · σ(right) for t, where rest + share = 1 and left < 0 < right."""
    left, right = torch.exp(left), torch.exp(-right)
    by_left, by_right = rest * (1 + right), share * (1 + left)
    return torch.log((by_left * left + by_right) / (by_left + by_right * right))


def _distance_from_right(rest: Tensor, share: Tensor, right: Tensor, width: Tensor) -> Tensor:
    """Computes right - t, where t solves σ(t) = rest · σ(right - width) + share · σ(right) and rest + share = 1.

    It is accurate for `right` ≤ 1.
    """
    above, inside = 1 + torch.exp(right), -torch.expm1(-width)
    return torch.log1p(rest * inside * above / (above * torch.exp(-width) + share * inside))


def nearest_between(point: Tensor, low: Tensor, high: Tensor, levels: int) -> Tensor:
    """Converts a point from the scale [-1, 1] to the nearest integer in [low, high].

    Halves are rounded up, NaN gives `low`, and the result has the dtype of `point`.

    Examples:
        >>> nearest_between(torch.tensor([-1.2, 0.0, 0.9, torch.nan]), torch.tensor(1), torch.tensor(2), levels=4)
        tensor([1., 2., 2., 1.])
    """
    found = nearest_value(position(point, levels), levels)
    low, high = low.to(found.dtype), high.to(found.dtype)
    return torch.minimum(torch.where(found > low, found, low), high)


def position(point: Tensor, levels: int) -> Tensor:
    """Converts a point from the scale [-1, 1] to the scale [0, levels - 1], without rounding or clamping."""
    half = (levels - 1) / 2
    return point * half + half


def nearest_value(position: Tensor, levels: int) -> Tensor:
    """Rounds a position on the scale [0, levels - 1] to the nearest integer in [0, levels).

    Halves are rounded up, and the result has the dtype of `position`.

    Examples:
        >>> nearest_value(position(torch.tensor([-1.2, 0.0, 0.9]), levels=4), levels=4)
        tensor([0., 2., 3.])
    """
    return torch.floor(position + 0.5).clamp_(0, levels - 1)
