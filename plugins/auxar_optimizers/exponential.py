"""The schedule `exponential`."""

from __future__ import annotations

from collections.abc import Iterator

import attrs
from attrs.validators import le

from auxar import Schedule, positive


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
