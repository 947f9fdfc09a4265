"""Integer frequencies of a categorical distribution."""

import ctypes
import math
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from auxar import PARAMETER_BITS, Adjustments, Frequencies
from auxar.numerics.range_coder import TOTAL
from auxar_heads.fixed_point import POWER_BITS, FixedPoint, native, natural_to_base_2, power
from auxar_heads.native_coding import NativeIntegerHead
from auxar_samplers.engines import NativeForm

SUM_BITS = 38
"""Bits of sums over values, so that products with `TOTAL` stay below 2⁶³."""


class _Constants(ctypes.Structure):
    _fields_ = [("fixed", FixedPoint), ("spare", ctypes.c_int64), ("temperature", ctypes.c_int64)]


class IntegerSoftmaxHead(NativeIntegerHead):
    """The counterpart of `head`, a `SoftmaxHead`, for integer parameters with `PARAMETER_BITS` bits."""

    understands = ("temperature",)

    def __init__(self, head: Any) -> None:
        self.levels = head.levels
        self.channels = head.channels
        self.parameter_count = head.parameter_count
        self.spare = max(0, POWER_BITS + math.ceil(math.log2(head.levels)) - SUM_BITS)
        self.uniform_count = self.restricted_uniform_count = self.channels

    def frequencies(self, parameters: Tensor, adjustments: Adjustments) -> Frequencies:
        given = rearrange(parameters.to(torch.int64), "n (c l) -> n c l", c=self.channels)
        logits = natural_to_base_2(given, PARAMETER_BITS)
        # The temperature is applied last, because `natural_to_base_2` accepts no larger numbers than parameters.
        if adjustments.temperature != 1.0:
            logits = (logits << 16) // rounded_temperature(adjustments)
        return _SoftmaxFrequencies(logits, self.spare)

    def native_form(self, adjustments: Adjustments) -> NativeForm:
        temperature = 0 if adjustments.temperature == 1.0 else rounded_temperature(adjustments)
        return NativeForm(Path(__file__).with_suffix(".cpp"), _Constants(native()[0], self.spare, temperature))


def rounded_temperature(adjustments: Adjustments) -> int:
    """The temperature of a rule as a positive multiple of 2⁻¹⁶."""
    return max(1, round(min(adjustments.temperature, 2.0**30) * 2**16))


class _SoftmaxFrequencies(Frequencies):
    def __init__(self, logits: Tensor, spare: int) -> None:
        self.logits = logits
        self.channel = 0
        self.spare = spare

    def below(self, value: Tensor, low: Tensor, high: Tensor) -> Tensor:
        logits = self.logits[:, self.channel]
        values = torch.arange(logits.shape[1], device=logits.device)
        inside = (values >= low[:, None]) & (values <= high[:, None])
        highest = logits.masked_fill(~inside, -(2**60)).amax(1, keepdim=True)
        weights = power((highest - logits).clamp(min=0)).masked_fill(~inside, 0) >> self.spare
        sums = torch.nn.functional.pad(weights.cumsum(1), (1, 0))
        many = value if value.dim() > 1 else value[:, None]
        low, high = low[:, None], high[:, None]
        found = sums.gather(1, many) * (TOTAL - (high - low + 1)) // sums[:, -1:] + many - low
        return torch.where(many > high, TOTAL, torch.where(many <= low, 0, found)).view_as(value)

    def take(self, value: Tensor) -> None:
        self.channel += 1
