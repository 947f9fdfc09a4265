"""The schedules `constant`, `exponential` and `cosine` of learning rates."""

import itertools
import math
from collections.abc import Iterator

import attrs
from attrs.validators import ge, le

from auxar import Schedule, positive


@attrs.frozen
class Constant(Schedule):
    """A constant learning rate."""

    def rates(self, rate: float, steps: int) -> Iterator[float]:
        """Yields `rate` for every step."""
        return itertools.repeat(rate)


@attrs.frozen
class Exponential(Schedule):
    """A learning rate that decreases by the same factor in every step, as in the paper."""

    decay: float = attrs.field(validator=[positive, le(1.0)])
    """Number that the learning rate is multiplied by after every step, greater than 0 and at most 1."""

    def rates(self, rate: float, steps: int) -> Iterator[float]:
        """Yields the rates of any number of steps."""
        while True:
            yield rate
            rate *= self.decay


@attrs.frozen
class Cosine(Schedule):
    """A learning rate that decreases along half a period of a cosine, as PyTorch's `CosineAnnealingLR`."""

    final_fraction: float = attrs.field(default=0.0, validator=[ge(0.0), le(1.0)])
    """Learning rate at the end of training, as a fraction of the rate after the warmup, 0 … 1."""

    def rates(self, rate: float, steps: int) -> Iterator[float]:
        """Yields the rates of `steps` steps."""
        lowest = rate * self.final_fraction
        # Each rate is computed from the previous rate, so it has the same bits as in PyTorch's CosineAnnealingLR.
        yield rate
        for step in range(1, steps):
            fall = (1 + math.cos(math.pi * step / steps)) / (1 + math.cos(math.pi * (step - 1) / steps))
            rate = fall * (rate - lowest) + lowest
            yield rate
