"""Integer frequencies of a mixture of discretized logistics.

All numbers are integers with a fixed number of bits after the binary point, and all divisions round down, so results
are the same on every machine. With F(z) = 1 / (1 + 2⁻ᶻ), a component with mean μ and scale s gives values low … high
the probability F(z(high + ½)) − F(z(low − ½)), where z(x) = (x − μ) log₂ e / s. If the interval is far from the mean,
both terms are tiny or nearly 1. Then the same tiny factor is taken out of both and added to the logarithm of the
component's weight, so that probabilities given an interval keep their precision.
"""

import ctypes
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs
import torch
from einops import rearrange
from torch import Tensor

from auxar import CENTER_BITS, PARAMETER_BITS, REFERENCES, Adjustments, Frequencies
from auxar.numerics.range_coder import TOTAL
from auxar_heads import fixed_point as fixed
from auxar_heads.native_coding import NativeIntegerHead
from auxar_samplers.engines import NativeForm

assert PARAMETER_BITS == CENTER_BITS
WIDEST_MEAN = 16
"""Bound of the means, which lie in [−1, 1] if images are predicted well."""
SCALE_BITS = 20
"""Bits after the binary point of the mantissa of 1 / scale."""
FARTHEST = 2**17
"""Bound of z."""
WIDEST = 17
"""Base-2 logarithm of the largest scale, in units of half a level and divided by log₂ e. See `_inverse_scales`."""
LARGEST_REDUCTION = 512
"""Largest reduction of log-scales. With it, no scale is larger than 1e-200."""
WEIGHT_BITS = 22
"""Bits of component weights."""
SUM_BITS = 38
"""Bits of sums over components, so that products with `TOTAL` stay below 2⁶³."""


class _Constants(ctypes.Structure):
    _numbers = "components references centers spare exact min_weight"
    _logarithms = "smallest_log_scale largest_log_scale reduction log_of_unit"
    _fields_ = [("fixed", fixed.FixedPoint), *((name, ctypes.c_int64) for name in f"{_numbers} {_logarithms}".split())]


class IntegerLogisticMixtureHead(NativeIntegerHead):
    """The counterpart of `head`, a `LogisticMixtureHead`, for integer parameters with `PARAMETER_BITS` bits."""

    def __init__(self, head: Any, smallest_log_scale: float, largest_log_scale: float) -> None:
        self.levels = head.levels
        self.channels = head.channels
        self.components = head.components
        self.centered = head.centered
        self.neighbors = head.neighbors
        self.couplings = head.couplings
        self.parameter_count = head.parameter_count
        self.uniform_count = self.restricted_uniform_count = self.channels
        self.understands = head.understands
        self.spare = max(0, fixed.POWER_BITS + WEIGHT_BITS + math.ceil(math.log2(self.components)) - SUM_BITS)
        self.log_of_unit = _log_of_unit(self.levels)
        self.limitable, self.limits = head.limitable, head.limits
        self.range = smallest_log_scale, largest_log_scale
        """The range of log-scales without limits."""

    @property
    def log_scales(self) -> tuple[int, int]:
        """The range of log-scales, with `PARAMETER_BITS` bits."""
        smallest, largest = self.range
        return int(smallest * 2**PARAMETER_BITS), int(self.limits.get("log_scales", largest) * 2**PARAMETER_BITS)

    def around(self, parameters: Tensor, centers: Tensor) -> Tensor:
        # Narrower types than float64 cannot hold all integers.
        found = parameters.to(torch.float64, copy=True)
        _, means, _, couplings = grouped(found, self)
        # Means and centers have the same unit, because `PARAMETER_BITS` equals `CENTER_BITS`.
        around, weights = references(centers, self), fixed.tanh(couplings.to(torch.int64), PARAMETER_BITS)
        for channel in range(self.channels):
            first = channel * (channel - 1) // 2
            # A coupling multiplies an earlier channel's distance from its center. Products are rounded down once.
            own = (weights[:, first : first + channel] * around[:, :channel]).sum(1) >> fixed.TANH_BITS
            means[:, channel] += around[:, channel] - own
        return found

    def frequencies(self, parameters: Tensor, adjustments: Adjustments) -> Frequencies:
        return _MixtureFrequencies(self, parameters.to(torch.int64), self._understood(adjustments))

    def native_form(self, adjustments: Adjustments) -> NativeForm:
        smallest, largest = self.log_scales
        adjustments = self._understood(adjustments)
        constants = _Constants(
            fixed=fixed.native()[0],
            components=self.components,
            references=REFERENCES if self.neighbors else 1,
            centers=adjustments.centers,
            spare=self.spare,
            exact=is_exact(adjustments),
            min_weight=round(adjustments.min_weight * 2**fixed.POWER_BITS),
            smallest_log_scale=smallest,
            largest_log_scale=largest,
            reduction=rounded_reduction(adjustments),
            log_of_unit=self.log_of_unit,
        )
        return NativeForm(Path(__file__).with_suffix(".cpp"), constants)

    def _understood(self, adjustments: Adjustments) -> Adjustments:
        # A single component is always drawn, so its exact samples stay exact.
        return attrs.evolve(adjustments, min_weight=0.0) if self.components == 1 else adjustments


def grouped(parameters: Tensor, head: Any) -> Sequence[Tensor]:
    """Splits parameters (b, parameter_count, …) of a mixture of k components, in either form, into four parts.

    These are logits (b, 1, k, …), means (b, c, k, …), log-scales (b, c, k, …) and couplings (b, couplings, k, …).
    """
    parts: Tensor = rearrange(parameters, "b (p k) ... -> b p k ...", k=head.components)
    found: Sequence[Tensor] = parts.split([1, head.channels, head.channels, head.couplings], dim=1)
    return found


def references(centers: Tensor, head: Any) -> Tensor:
    """The value to which the mean of each component is relative, from centers (b, c or 4 · c, …): (b, c, k or 1, …)."""
    if not head.neighbors:
        return centers[:, :, None]
    several = rearrange(centers, "b (r c) ... -> b c r ...", c=head.channels)
    return several[:, :, torch.arange(head.components, device=centers.device) % REFERENCES]


def is_exact(adjustments: Adjustments) -> bool:
    """Whether a rule draws exact samples, so that every possible value has a frequency of at least one."""
    return not adjustments.centers and not adjustments.reduction and not adjustments.min_weight


def rounded_reduction(adjustments: Adjustments) -> int:
    """The reduction of a rule with `PARAMETER_BITS` bits. All reductions above `LARGEST_REDUCTION` draw the centers."""
    found: int = round(min(adjustments.reduction, LARGEST_REDUCTION) * 2**PARAMETER_BITS)
    return found


@attrs.frozen(eq=False)
class _Parts:
    """The distributions of components within an interval: a weight for each, and the end at which they are anchored."""

    weights: Tensor
    """Weights given the interval with `WEIGHT_BITS` bits, of which the heaviest is the largest number: (n, k)."""
    mode: Tensor
    """−1 if the mean lies to the right of the interval, 1 if it lies to the left, and 0 if it is inside: (n, k)."""
    anchor: Tensor
    """Base-2 logarithm of the number that both ends are multiplied by, for intervals far from the mean: (n, k)."""
    start: Tensor
    """The distribution function at the lower end, multiplied by this number: (n, k)."""
    total: Tensor
    """The weighted sum of probabilities of the interval: (n,)."""


class _MixtureFrequencies(Frequencies):
    def __init__(self, head: IntegerLogisticMixtureHead, parameters: Tensor, adjustments: Adjustments) -> None:
        self.adjustments = adjustments
        logits, means, log_scales, couplings = grouped(parameters, head)
        self.levels = head.levels
        self.channel = 0
        self.logits = fixed.natural_to_base_2(logits[:, 0], PARAMETER_BITS)
        # Means in units of half a level, from the middle of the range, with `PARAMETER_BITS` bits.
        bound = WIDEST_MEAN << PARAMETER_BITS
        self.means = means.clamp(-bound, bound) * (self.levels - 1)
        self.couplings = fixed.tanh(couplings, PARAMETER_BITS)
        self.mantissas, self.shifts, self.excess = _inverse_scales(
            log_scales.clamp(*head.log_scales) - rounded_reduction(adjustments), head.log_of_unit
        )
        self.values: list[Tensor] = []
        self.spare = head.spare
        self.exact = is_exact(adjustments)

    def below(self, value: Tensor, low: Tensor, high: Tensor) -> Tensor:
        parts = self._parts(low, high)
        many = value if value.dim() > 1 else value[:, None]
        low, high = low[:, None], high[:, None]
        if self.adjustments.centers:
            sums = self._centers_below(many, low, high, parts)
            total = (parts.weights.sum(1) << fixed.POWER_BITS >> self.spare)[:, None]
            found = sums * TOTAL // total
        else:
            sums = self._sum_below(many, parts)
            count = high - low + 1
            least = count if self.exact else torch.zeros_like(count)
            offset = many - low if self.exact else torch.zeros_like(many)
            empty = (parts.total == 0)[:, None]
            sums = torch.where(empty, many - low, sums)
            total = torch.where(empty, count, parts.total[:, None])
            found = sums.clamp(min=0) * (TOTAL - least) // total + offset
        return torch.where(many > high, TOTAL, torch.where(many <= low, 0, found)).view_as(value)

    def take(self, value: Tensor) -> None:
        self.logits = self._logits(value, value)
        self.logits = self.logits - self.logits.amax(1, keepdim=True)
        self.values.append(value)
        self.channel += 1

    def _mean(self) -> Tensor:
        """Means of the current channel in units of half a level, from the middle of the range: (n, k)."""
        mean: Tensor = self.means[:, self.channel]
        first = self.channel * (self.channel - 1) // 2
        for number, value in enumerate(self.values):
            mean = mean + self.couplings[:, first + number] * (2 * value - (self.levels - 1))[:, None]
        return mean

    def _position(self, edge: Tensor) -> Tensor:
        """z at the lower edge of values (n, …), for each component: (n, k, …)."""
        doubled = 2 * edge - self.levels
        shape = (*edge.shape[:1], -1, *(1 for _ in edge.shape[1:]))
        mean, mantissa, shift = (
            x.reshape(shape) for x in (self._mean(), self.mantissas[:, self.channel], self.shifts[:, self.channel])
        )
        found = ((doubled[:, None] << PARAMETER_BITS) - mean) * mantissa >> shift
        return found.clamp(-FARTHEST << fixed.LOG_BITS, FARTHEST << fixed.LOG_BITS)

    def _anchored(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The mode, anchor and start of `_Parts` for an interval, and the probability of the interval, multiplied like
        the start: (n, k) each."""
        lower, upper = self._position(low), self._position(high + 1)
        first, last = (low == 0)[:, None], (high == self.levels - 1)[:, None]
        right = (upper <= 0) & ~last
        left = (lower >= 0) & ~first & ~right
        mode = left.long() - right.long()
        anchor = torch.where(right, fixed.softplus(upper), torch.where(left, fixed.softplus(-lower), 0))
        start = torch.where(first, 0, _distribution(lower, mode, anchor))
        full = torch.where(left, 0, 2**fixed.POWER_BITS)
        end = torch.where(last, full, _distribution(upper, mode, anchor))
        return mode, anchor, start, end - start

    def _logits(self, low: Tensor, high: Tensor) -> Tensor:
        """Base-2 logarithms of the components' weights given the interval, up to a common term: (n, k)."""
        _, anchor, _, mass = self._anchored(low, high)
        return self._without(anchor, low, high) + fixed.logarithm(mass.clamp(min=1))

    def _without(self, anchor: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Base-2 logarithms of the weights of components, divided by the numbers by which probabilities are multiplied:
        (n, k).

        These are the anchor's number and, for a scale that was limited to `WIDEST`, the quotient of the scales. The
        probability of an interval that contains neither end of the range is inversely proportional to such a scale.
        """
        inner = ((low > 0) & (high < self.levels - 1))[:, None]
        return self.logits - anchor - torch.where(inner, self.excess[:, self.channel], 0)

    def _parts(self, low: Tensor, high: Tensor) -> _Parts:
        mode, anchor, start, mass = self._anchored(low, high)
        logits = self._without(anchor, low, high)
        given = logits + fixed.logarithm(mass.clamp(min=1))
        heaviest = given.amax(1, keepdim=True)
        if self.adjustments.min_weight:
            light = fixed.power(heaviest - given) < torch.tensor(
                round(self.adjustments.min_weight * 2**fixed.POWER_BITS)
            )
        else:
            light = torch.zeros_like(given, dtype=torch.bool)
        if self.adjustments.centers:
            logits = given
        weights = fixed.power(logits.masked_fill(light, -(2**60)).amax(1, keepdim=True) - logits)
        weights = (weights >> (fixed.POWER_BITS - WEIGHT_BITS)).masked_fill(light, 0)
        return _Parts(weights, mode, anchor, start, (weights * mass).sum(1) >> self.spare)

    def _sum_below(self, value: Tensor, parts: _Parts) -> Tensor:
        """The weighted sum of the probabilities of low … value − 1, with `SUM_BITS` bits: (n, m)."""
        mode, anchor = parts.mode[..., None], parts.anchor[..., None]
        found = _distribution(self._position(value), mode, anchor) - parts.start[..., None]
        return (parts.weights[..., None] * found.clamp(min=0)).sum(1) >> self.spare

    def _centers_below(self, value: Tensor, low: Tensor, high: Tensor, parts: _Parts) -> Tensor:
        """The sum of the weights of components whose centers lie below `value`: (n, m)."""
        doubled = self._mean() + ((self.levels - 1) << PARAMETER_BITS)
        center = (doubled + (1 << PARAMETER_BITS)) >> (PARAMETER_BITS + 1)
        center = torch.minimum(torch.maximum(center, low), high)
        below = center[..., None] < value[:, None]
        return ((parts.weights[..., None] * below).sum(1) << fixed.POWER_BITS) >> self.spare


def _distribution(position: Tensor, mode: Tensor, anchor: Tensor) -> Tensor:
    """The distribution function at z, times two to the power of the anchor, with `POWER_BITS` bits. It never decreases.

    If the mode is 1, it is minus the probability above z.
    """
    above = (mode > 0) | ((mode == 0) & (position >= 0))
    bits = fixed.softplus(torch.where(above, -position, position)) - anchor
    found = fixed.power(bits.clamp(min=0))
    found = torch.where(above, -found, found)
    return torch.where((mode == 0) & above, found + 2**fixed.POWER_BITS, found)


def _inverse_scales(log_scales: Tensor, log_of_unit: int) -> tuple[Tensor, Tensor, Tensor]:
    """1 / scale for distances in units of half a level with `PARAMETER_BITS` bits: mantissas and shifts to the right.

    A distance times the mantissa, shifted, is z with `LOG_BITS` bits. A distribution of a larger scale than `WIDEST` is
    flat, but its z would be rounded to few bits. It gets the scale `WIDEST`, and the third result is the base-2
    logarithm of the quotient of the scales.
    """
    bits = fixed.natural_to_base_2(log_scales, PARAMETER_BITS) + log_of_unit
    excess = (bits - (WIDEST << fixed.LOG_BITS)).clamp(min=0)
    bits = bits - excess
    # 2⁻ᵇⁱᵗˢ = 2⁻ʷʰᵒˡᵉ · 2⁻ʳᵉˢᵗ with 0 ≤ rest < 1.
    whole, rest = bits >> fixed.LOG_BITS, bits & (2**fixed.LOG_BITS - 1)
    mantissa = fixed.power(rest) >> (fixed.POWER_BITS - SCALE_BITS)
    return mantissa, (whole + PARAMETER_BITS + SCALE_BITS - fixed.LOG_BITS).clamp(2, 62), excess


def _log_of_unit(levels: int) -> int:
    """log₂((levels − 1) / log₂ e) with `LOG_BITS` bits, rounded down."""
    digits = 192
    ratio = ((levels - 1) << (2 * digits)) // fixed.LOG2_E
    whole = ratio.bit_length() - 1 - digits
    inner = ratio >> whole if whole >= 0 else ratio << -whole
    return (whole << fixed.LOG_BITS) + (fixed.exact_logarithm(inner) >> (digits - fixed.LOG_BITS))
