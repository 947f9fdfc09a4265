"""The discretized logistic distribution over the integers 0 … levels - 1.

The integers are scaled to [-1, 1]. Each one gets the mass of a logistic distribution between the mid-points to its
neighbors, and the first and the last one also get the tails (Salimans et al. 2017, equation 2). The masses therefore
add up to 1. They are computed in log space.
"""

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
    trained = torch.is_grad_enabled() and (mean.requires_grad or log_scale.requires_grad)
    if not trained or mean.dtype != log_scale.dtype or torch.compiler.is_compiling():
        return _log_interval_mass(low, high, mean, log_scale, levels)
    shape = torch.broadcast_shapes(low.shape, high.shape, mean.shape, log_scale.shape)
    apply: Any = _LogIntervalMass.apply
    result: Tensor = apply(low, high, mean.expand(shape), log_scale.expand(shape), levels)[0]
    return result


def _log_interval_mass(low: Tensor, high: Tensor, mean: Tensor, log_scale: Tensor, levels: int) -> Tensor:
    """Computes the log-mass, with the same bits as `_LogIntervalMass`, by operations that PyTorch differentiates."""
    upper, lower, width, _ = _standardized(low, high, mean, log_scale, levels)
    first, last = low == 0, high == levels - 1
    value = torch.log(-torch.expm1(-width)).masked_fill(first | last, 0.0)
    for end, infinite in ((upper, last), (lower, first)):
        # Unlike that of `clamp`, the derivative of `minimum` at 0 is a half.
        log_sigmoid = torch.minimum(end, torch.zeros_like(end)) - torch.log1p(torch.exp(-_near(end).abs()))
        value = value + log_sigmoid.masked_fill(infinite, 0.0)
    return value


class _LogIntervalMass(torch.autograd.Function):
    """The log-mass and its derivatives by the mean and the log-scale, faster than `_log_interval_mass`.

    Value and derivatives need the same exponentials. With the upper end p, the mirrored lower end -m and their distance
    w, all standardized, the derivatives by p, -m and w are σ(-p), σ(m) and 1 / (e^w - 1).
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(
        low: Tensor, high: Tensor, mean: Tensor, log_scale: Tensor, levels: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        upper, lower, width, inverse_scale = _standardized(low, high, mean, log_scale, levels)
        first, last = low == 0, high == levels - 1
        inside = torch.expm1(-width)
        value = torch.log(-inside).masked_fill_(first | last, 0.0)
        by_scale = ((1 + inside) / inside * width).masked_fill_(first | last, 0.0)
        slopes = []
        for end, infinite in ((upper, last), (lower, first)):
            near = _near(end)
            log_sigmoid = end.clamp(max=0).sub_(near.abs().neg_().exp_().log1p_())
            value += log_sigmoid.masked_fill_(infinite, 0.0)
            slope = near.neg_().sigmoid_().masked_fill_(infinite, 0.0)
            # Beyond the bound, the slope is 0 up to rounding, even if the end is huge.
            by_scale -= slope * end.clamp_(max=_bound(end))
            slopes.append(slope)
        return value, (slopes[1] - slopes[0]).mul_(inverse_scale), by_scale

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor, Tensor]) -> None:
        low, high, mean, log_scale, ctx.levels = inputs
        ctx.mark_non_differentiable(*output[1:])
        ctx.save_for_backward(low, high, mean, log_scale, *output[1:])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        low, high, mean, log_scale, by_mean, by_scale = ctx.saved_tensors
        gradient = gradients[0]
        if torch.is_grad_enabled():  # The derivatives are differentiated, too.
            with torch.enable_grad():
                value = _log_interval_mass(low, high, mean, log_scale, ctx.levels)
                of_mean, of_scale = torch.autograd.grad(value, (mean, log_scale), gradient, create_graph=True)
            return None, None, of_mean, of_scale, None
        return None, None, gradient * by_mean, gradient * by_scale, None


def _standardized(
    low: Tensor, high: Tensor, mean: Tensor, log_scale: Tensor, levels: int
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The standardized upper end, mirrored lower end and width of intervals, and the inverse scale."""
    half = 1 / (levels - 1)
    inverse_scale = torch.exp(-log_scale)
    upper = (high.to(mean.dtype) * (2 * half) - 1 + half - mean) * inverse_scale
    lower = (mean - (low.to(mean.dtype) * (2 * half) - 1 - half)) * inverse_scale
    width = (high - low + 1).to(mean.dtype) * (2 * half) * inverse_scale
    return upper, lower, width, inverse_scale


def _bound(x: Tensor) -> float:
    """The number beyond which log σ(x) is min(x, 0), up to 1e-17 in float32 and 1e-138 in float64.

    Farther from 0, functions of x have subnormal results or intermediate results, for which a CPU takes many times as
    long.
    """
    return -0.45 * math.log(torch.finfo(torch.promote_types(x.dtype, torch.float32)).tiny)


def _near(x: Tensor) -> Tensor:
    return x.clamp(-_bound(x), _bound(x))


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
