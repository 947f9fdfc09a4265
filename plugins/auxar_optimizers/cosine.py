"""The schedule `cosine`."""

from __future__ import annotations

import math
from collections.abc import Iterator

import attrs
from attrs.validators import ge, le

from auxar import Schedule


@attrs.frozen
class Cosine(Schedule):
    """A learning rate that decreases along half a period of a cosine until the end of training."""

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
