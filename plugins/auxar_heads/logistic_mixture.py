"""A mixture of discretized logistics (Salimans et al. 2017, section 2.2)."""

import copy
import ctypes
import itertools
import math
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Self

import attrs
import torch
from einops import rearrange
from torch import Tensor

from auxar import (
    CENTER_BITS,
    REFERENCES,
    Adjustments,
    DrawnPixels,
    ImageSpec,
    Interval,
    RestrictableHead,
    UserError,
    at_most,
    positive,
    scale,
)
from auxar.numerics import categorical, logistic
from auxar_heads.fixed_point import MOST_LEVELS
from auxar_heads.likelihoods import at_least_single
from auxar_heads.logistic_mixture_frequencies import IntegerLogisticMixtureHead, grouped, references
from auxar_samplers.engines import NativeForm

MOST_COMPONENTS = 1024
# The lower bound of log-scales. Narrower components gain nothing, because at a scale of e⁻⁷ nearly all mass can lie in
# one of 256 values, and they reduce stability.
SMALLEST_LOG_SCALE = -7.0
# The number of components above which initial components do not become narrower. With narrower ones, few pixels would
# have all their channels near one component.
NARROWING_COMPONENTS = 10
# The upper bound of log-scales. Wider components are flat over [-1, 1]. The bound keeps all results finite.
LARGEST_LOG_SCALE = 20.0
LOG_SCALES = "log_scales"
LIMITS: Mapping[str, Sequence[float]] = {LOG_SCALES: [step / 2 for step in range(2, -11, -1)]}
"""Upper limits of log-scales, from 1 to -5 in steps of 0.5."""


@attrs.frozen
class LogisticMixtureConfig:
    """A mixture of discretized logistics, for 1 or 3 channels and any number of levels."""

    components: int = attrs.field(default=10, validator=[positive, at_most(MOST_COMPONENTS)])
    """Number of components of the mixture, 1 … 1024."""
    centered: bool = True
    """Whether predicted means are relative to the center of a value. This is the value that is expected given the view
    and the earlier pixels or, without a view, given the neighbors. Otherwise, they are relative to the middle of the
    range."""
    neighbors: bool = False
    """Whether components take turns: the first one is relative to the center, the next ones to the value to the left,
    the value above, and the value above-left, and so on. Drawings, with areas of one color, then need far fewer bits.
    Only if `centered`."""


class _Constants(ctypes.Structure):
    _numbers = "min_weight smallest_log_scale largest_log_scale reduction smallest_reduced_log_scale"
    _fields_ = [
        *((name, ctypes.c_int64) for name in ("components", "references", "centers")),
        *((name, ctypes.c_double) for name in _numbers.split()),
    ]


class LogisticMixtureHead(RestrictableHead):
    """A mixture of discretized logistics over one channel, or over three that are linearly coupled.

    Within a component, the mean of green depends linearly on red, and the mean of blue depends linearly on red and
    green (Salimans et al. 2017, section 2.2). Any number of levels is supported. If `centered`, the means, and the
    values of earlier channels in these dependences, are relative to the centers of the channels; with `neighbors`, for
    components 1, 2, 3, 5, 6, 7, …, to the values of neighbors in place of centers. Raises `UserError` if
    the image does not have 1 or 3 channels.
    """

    understands: Collection[str] | None = ("reduction", "centers", "min_weight")
    limitable = LIMITS
    adjustments = Adjustments()
    """The adjustments of likelihoods, which `adjusted` sets."""

    def __init__(self, image: ImageSpec, components: int, *, centered: bool = False, neighbors: bool = False) -> None:
        if image.channels not in (1, 3):
            raise UserError(f"needs an image of 1 or 3 channels, got {image}; head 'softmax' accepts any number")
        self.levels = image.levels
        self.channels = image.channels
        self.components = components
        self.centered = centered
        self.neighbors = centered and neighbors
        if components == 1 and self.understands is not None:  # A single component is always drawn.
            self.understands = [name for name in self.understands if name != "min_weight"]
        self.couplings = self.channels * (self.channels - 1) // 2
        self.parameter_count = components * (1 + 2 * self.channels + self.couplings)
        self.uniform_count = 1 + self.channels
        # A restricted draw takes two uniform numbers for each channel, because the component is drawn again for each.
        self.restricted_uniform_count = 2 * self.channels

    @property
    def largest_log_scale(self) -> float:
        """The upper bound of log-scales."""
        return self.limits.get(LOG_SCALES, LARGEST_LOG_SCALE)

    def log_prob(self, parameters: Tensor, image: Tensor) -> Tensor:
        logits, value, *_ = self._given_earlier(parameters, image)
        return (self._drawn(logits).log_softmax(1) + value.sum(1)).logsumexp(1)

    def channel_log_prob(self, parameters: Tensor, image: Tensor) -> Tensor:
        # `first` holds log p(x_1 … x_n) for n = 1, 2, …. Differences of neighbors are the log-likelihoods of channels
        # given the earlier channels.
        logits, value, *_ = self._given_earlier(parameters, image)
        first = self._added(self._drawn(logits).log_softmax(1), value)[:, 1:].logsumexp(2)
        return first.diff(dim=1, prepend=torch.zeros_like(first[:, :1]))

    def initial_parameters(self, image: Tensor, centers: Tensor | None = None) -> Tensor:
        # Each channel has one component at each of k evenly spaced quantiles of its values, or of their differences
        # from the centers. Components have equal weights and no couplings. They are so wide that neighbors overlap, and
        # cover at least one value.
        values = scale(image, self.levels, torch.float64)
        if centers is not None:
            values = values - centers[:, : self.channels] * 2.0**-CENTER_BITS
        values = rearrange(values, "b c h w -> c (b h w)").sort(dim=1).values
        count = values.shape[1]
        places = (torch.arange(self.components, device=values.device) + 0.5) * count / self.components
        means = values[:, places.long().clamp(max=count - 1)]
        widths = values.std(dim=1, correction=0) / min(self.components, NARROWING_COMPONENTS)
        narrowest = 1 / (self.levels - 1)
        log_scales = widths.clamp_min(narrowest).log()[:, None].repeat(1, self.components)
        if self.neighbors:  # One component for each reference begins as a copy of it.
            means[:, :REFERENCES] = 0
            log_scales[:, :REFERENCES] = math.log(narrowest)
        log_scales = log_scales.clamp_min(SMALLEST_LOG_SCALE)
        logits, couplings = means.new_zeros(1, self.components), means.new_zeros(self.couplings, self.components)
        return torch.cat([logits, means, log_scales, couplings]).flatten()

    def around(self, parameters: Tensor, centers: Tensor) -> Tensor:
        parameters = at_least_single(parameters)
        logits, means, log_scales, couplings = grouped(parameters, self)
        weights = torch.tanh(couplings).unbind(1)
        around = (references(centers, self).to(parameters.dtype) * 2.0**-CENTER_BITS).unbind(1)
        moved = []
        for channel, mean in enumerate(means.unbind(1)):
            first = channel * (channel - 1) // 2
            # A coupling multiplies an earlier channel's distance from its center.
            own = [weights[first + earlier] * around[earlier] for earlier in range(channel)]
            moved.append(mean + (around[channel] - sum(own) if own else around[channel]))
        return torch.cat([logits, torch.stack(moved, dim=1), log_scales, couplings], dim=1).flatten(1, 2)

    def integer_head(self) -> IntegerLogisticMixtureHead | None:
        if self.levels > MOST_LEVELS:
            return None
        return IntegerLogisticMixtureHead(self, SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE)

    def native_form(self, adjustments: Adjustments) -> NativeForm:
        constants = _Constants(
            components=self.components,
            references=REFERENCES if self.neighbors else 1,
            centers=adjustments.centers,
            min_weight=adjustments.min_weight,
            smallest_log_scale=SMALLEST_LOG_SCALE,
            largest_log_scale=self.largest_log_scale,
            reduction=adjustments.reduction,
            smallest_reduced_log_scale=logistic.SMALLEST_REDUCED_LOG_SCALE,
        )
        return NativeForm(Path(__file__).with_suffix(".cpp"), constants)

    def adjusted(self, adjustments: Adjustments) -> Self:
        if adjustments.centers:
            raise UserError("only the centers of components are drawn, so most images have the probability 0")
        head = copy.copy(self)
        head.adjustments = adjustments
        return head

    def draw(self, parameters: Tensor, uniforms: Tensor, adjustments: Adjustments) -> Tensor:
        # Few pixels are drawn at a time, so the run time depends on the number of tensor operations.
        values = parameters.view(len(parameters), -1, self.components)
        logits = categorical.without_light(values[:, 0].double(), adjustments.min_weight)
        component = categorical.draw(uniforms[:, 0], logits)
        chosen = values.gather(2, component.view(-1, 1, 1).expand(-1, values.shape[1], 1)).squeeze(2).double()
        _, points, log_scales, couplings = chosen.split([1, self.channels, self.channels, self.couplings], dim=1)
        if not adjustments.centers:
            log_scales = log_scales.clamp(SMALLEST_LOG_SCALE, self.largest_log_scale)
            if adjustments.reduction:
                log_scales = logistic.reduced(log_scales, adjustments.reduction)
            points = logistic.draw(uniforms[:, 1:], points, log_scales)
        # Positions are in units of levels, so a coupling multiplies the distance of an earlier channel's value from the
        # middle of the range.
        positions = logistic.position(points, self.levels).unbind(1)
        weights = torch.tanh(couplings).unbind(1)
        middle = (self.levels - 1) / 2
        drawn: list[Tensor] = []
        offsets: list[Tensor] = []
        for channel, position in enumerate(positions):
            first = channel * (channel - 1) // 2
            for earlier in range(channel):
                position = torch.addcmul(position, weights[first + earlier], offsets[earlier])
            # NaN is drawn as 0, so that every drawn value is valid.
            drawn.append(logistic.nearest_value(position, self.levels).nan_to_num_(0))
            if channel + 1 < self.channels:
                offsets.append(drawn[-1] - middle)
        return torch.stack(drawn, dim=1).to(torch.int64)

    def channel_log_mass(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        known, _, mass = self._restricted(parameters, image, interval)
        if self.adjustments.min_weight:
            known = known.masked_fill(self._drawn(known[:, :1], 2).isneginf(), -torch.inf)
        return (known + mass).logsumexp(2) - known.logsumexp(2)

    def restricted_log_prob(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        known, value, mass = self._restricted(parameters, image, interval)
        weights = known + mass
        if self.adjustments.min_weight:  # A restricted draw compares weights that are conditional on the interval.
            weights = self._drawn(weights, 2)
            known = known.masked_fill(weights.isneginf(), -torch.inf)
        nats = (known + value).logsumexp(2) - weights.logsumexp(2)
        return nats.masked_fill(interval.outside(image), -torch.inf)

    def draw_restricted(
        self, parameters: Tensor, uniforms: Tensor, adjustments: Adjustments, pixels: DrawnPixels
    ) -> Tensor:
        known, means, log_scales, couplings = self._split(parameters.double())
        if adjustments.reduction:
            log_scales = logistic.reduced(log_scales, adjustments.reduction)
        scaled = means.new_zeros(len(means), self.channels)
        drawn = []
        for channel in range(self.channels):
            interval = pixels.interval(channel)
            mean, log_scale = self._coupled_mean(means, couplings, scaled, channel), log_scales[:, channel]
            low, high = interval.low[:, None], interval.high[:, None]
            mass = logistic.log_interval_mass(low, high, mean, log_scale, self.levels)
            logits = categorical.without_light(known + mass, adjustments.min_weight)
            component = categorical.draw(uniforms[:, 2 * channel], logits)[:, None]
            point, width = mean.gather(1, component), log_scale.gather(1, component)
            if adjustments.centers:
                value = logistic.nearest_between(point, low, high, self.levels)
            else:
                value = logistic.draw_between(uniforms[:, 2 * channel + 1, None], point, width, low, high, self.levels)
            drawn.append(value.squeeze(1).to(torch.int64))
            pixels.take(channel, drawn[-1])
            if channel + 1 < self.channels:
                known = known + logistic.log_mass(drawn[-1][:, None], mean, log_scale, self.levels)
                scaled[:, channel] = scale(drawn[-1], self.levels, scaled.dtype)
        return torch.stack(drawn, dim=1)

    def _restricted(self, parameters: Tensor, image: Tensor, interval: Interval) -> tuple[Tensor, Tensor, Tensor]:
        """Three log-likelihoods of each component and channel, (b, c, k, h, w) each.

        The first is the joint log-likelihood of the component and the earlier channels, up to a term that is equal for
        all components. The second and the third are the log-likelihoods of the channel's value and of its interval,
        given the component and the earlier channels.
        """
        logits, value, means, log_scales = self._given_earlier(parameters, image)
        low, high = (end.to(torch.int64)[:, :, None] for end in (interval.low, interval.high))
        low = low.clamp(0, self.levels - 1)
        high = torch.maximum(high.clamp(max=self.levels - 1), low)
        mass = logistic.log_interval_mass(low, high, means, log_scales, self.levels)
        return self._added(logits, value)[:, :-1], value, mass

    def _given_earlier(self, parameters: Tensor, image: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Logits (b, k, h, w), and, for each channel given the earlier ones, (b, c, k, h, w): the log-likelihoods of
        the values, the means and the log-scales."""
        logits, means, log_scales, couplings = self._split(parameters)
        if self.adjustments.reduction:
            logits, means, log_scales, couplings = (part.double() for part in (logits, means, log_scales, couplings))
            log_scales = logistic.reduced(log_scales, self.adjustments.reduction)
        scaled = scale(image, self.levels, logits.dtype)
        means = torch.stack(
            [self._coupled_mean(means, couplings, scaled, channel) for channel in range(self.channels)], dim=1
        )
        value = logistic.log_mass(image.to(torch.int64)[:, :, None], means, log_scales, self.levels)
        return logits, value, means, log_scales

    def _drawn(self, logits: Tensor, axis: int = 1) -> Tensor:
        """Logits of the components along an axis, with -∞ for light components, which a rule does not draw."""
        if not self.adjustments.min_weight:
            return logits
        return categorical.without_light(logits.movedim(axis, -1), self.adjustments.min_weight).movedim(-1, axis)

    @staticmethod
    def _added(logits: Tensor, value: Tensor) -> Tensor:
        """The logits plus the first 0 … c of `value` (b, c, k, h, w): (b, c + 1, k, h, w)."""
        return torch.stack(list(itertools.accumulate(value.unbind(1), initial=logits)), dim=1)

    def _split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Splits parameters (b, parameter_count, …) into four parts, in float32 or float64.

        These are logits (b, k, …), means (b, c, k, …), clamped log-scales (b, c, k, …) and the tanh of the couplings
        (b, couplings, k, …), for k components and c channels.
        """
        logits, means, log_scales, couplings = grouped(at_least_single(parameters), self)
        return (
            logits.squeeze(1),
            means,
            log_scales.clamp(SMALLEST_LOG_SCALE, self.largest_log_scale),
            torch.tanh(couplings),
        )

    @staticmethod
    def _coupled_mean(means: Tensor, couplings: Tensor, scaled: Tensor, channel: int) -> Tensor:
        """The means of a channel, (b, k, …), shifted by the earlier channels.

        `scaled` contains the values of the image in [-1, 1]: (b, c, …).
        """
        mean = means[:, channel]
        first = channel * (channel - 1) // 2
        for earlier in range(channel):
            mean = mean + couplings[:, first + earlier] * scaled[:, None, earlier]
        return mean
