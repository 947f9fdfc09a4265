"""The schedule `constant`."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import attrs

from auxar import Schedule


@attrs.frozen
class Constant(Schedule):
    """A constant learning rate."""

    def rates(self, rate: float, steps: int) -> Iterator[float]:
        """Yields `rate` for every step."""
        return itertools.repeat(rate)
