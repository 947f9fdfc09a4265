"""The softmax head: a categorical distribution over the values of each channel (paper, section 3.3)."""

import copy
import ctypes
from collections.abc import Collection
from pathlib import Path
from typing import Self

import attrs
import torch
from einops import rearrange
from torch import Tensor

from auxar import Adjustments, DrawnPixels, ImageSpec, Interval, RestrictableHead
from auxar.numerics import categorical
from auxar_heads.fixed_point import MOST_LEVELS
from auxar_heads.likelihoods import at_least_single
from auxar_heads.softmax_frequencies import IntegerSoftmaxHead
from auxar_samplers.engines import NativeForm


@attrs.frozen
class SoftmaxConfig:
    """A categorical distribution over the values of each channel. Channels are independent given the earlier pixels."""


class _Constants(ctypes.Structure):
    _fields_ = [("temperature", ctypes.c_double)]


class SoftmaxHead(RestrictableHead):
    """A head with a categorical distribution over the values of each channel (paper, section 3.3).

    The channels of a pixel are independent given the earlier pixels.
    """

    understands: Collection[str] | None = ("temperature",)
    temperature = 1.0
    """The temperature of likelihoods, which `adjusted` sets."""

    def __init__(self, image: ImageSpec) -> None:
        self.levels = image.levels
        self.channels = image.channels
        self.parameter_count = self.channels * self.levels
        self.uniform_count = self.restricted_uniform_count = self.channels

    def log_prob(self, parameters: Tensor, image: Tensor) -> Tensor:
        return self.channel_log_prob(parameters, image).sum(1)

    def channel_log_prob(self, parameters: Tensor, image: Tensor) -> Tensor:
        return _of_values(self._logits(parameters).log_softmax(2), image)

    def channel_log_mass(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        # Logits are normalized before they are summed. A difference of two logsumexps is imprecise if logits are large.
        return self._masked(self._logits(parameters).log_softmax(2), interval).logsumexp(2)

    def restricted_log_prob(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        inside = self._masked(self._logits(parameters), interval).log_softmax(2)
        return _of_values(inside, image).masked_fill(interval.outside(image), -torch.inf)

    def initial_parameters(self, image: Tensor, centers: Tensor | None = None) -> Tensor:
        # Logarithms of the frequencies of all values. One is added to each count, so that no frequency is 0.
        values = rearrange(image.to(torch.int64), "b c h w -> c (b h w)")
        return torch.cat([channel.bincount(minlength=self.levels).double().add(1).log() for channel in values])

    def integer_head(self) -> IntegerSoftmaxHead | None:
        return None if self.levels > MOST_LEVELS else IntegerSoftmaxHead(self)

    def native_form(self, adjustments: Adjustments) -> NativeForm:
        return NativeForm(Path(__file__).with_suffix(".cpp"), _Constants(adjustments.temperature))

    def adjusted(self, adjustments: Adjustments) -> Self:
        head = copy.copy(self)
        head.temperature = adjustments.temperature
        return head

    def draw(self, parameters: Tensor, uniforms: Tensor, adjustments: Adjustments) -> Tensor:
        logits = rearrange(parameters.double(), "n (c l) -> n c l", c=self.channels)
        return categorical.draw(uniforms, logits / adjustments.temperature)

    def draw_restricted(
        self, parameters: Tensor, uniforms: Tensor, adjustments: Adjustments, pixels: DrawnPixels
    ) -> Tensor:
        logits = rearrange(parameters.double(), "n (c l) -> n c l", c=self.channels) / adjustments.temperature
        values = torch.arange(self.levels, device=logits.device)
        drawn = []
        for channel in range(self.channels):
            interval = pixels.interval(channel)
            outside = (values < interval.low[:, None]) | (values > interval.high[:, None])
            value = categorical.draw(uniforms[:, channel], logits[:, channel].masked_fill(outside, -torch.inf))
            # Rounding may select a value outside the interval, so the value is clamped.
            drawn.append(value.clamp(interval.low, interval.high))
            pixels.take(channel, drawn[-1])
        return torch.stack(drawn, dim=1)

    def _logits(self, parameters: Tensor) -> Tensor:
        """Logits (b, c, levels, h, w) of likelihoods, float32 or float64. Parameters are (b, parameter_count, h, w)."""
        logits = rearrange(at_least_single(parameters), "b (c l) h w -> b c l h w", c=self.channels)
        return logits if self.temperature == 1 else logits / self.temperature

    def _masked(self, logits: Tensor, interval: Interval) -> Tensor:
        """Logits (b, c, levels, h, w), with -∞ for values outside the interval of their channel.

        An empty interval is replaced by its lower end, clamped to [0, levels).
        """
        values = torch.arange(self.levels, device=logits.device).view(-1, 1, 1)
        low = interval.low.clamp(0, self.levels - 1)
        high = torch.maximum(interval.high.clamp(max=self.levels - 1), low)
        return logits.masked_fill((values < low[:, :, None]) | (values > high[:, :, None]), -torch.inf)


def _of_values(logits: Tensor, image: Tensor) -> Tensor:
    """Selects the entries of logits (b, c, levels, h, w) at the values of the image: (b, c, h, w)."""
    return logits.gather(2, image.to(torch.int64)[:, :, None]).squeeze(2)
