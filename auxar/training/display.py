"""What a run shows while its factors are trained: pictures drawn by the unfinished factor, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from auxar.distributed.group import Team
from auxar.interfaces import Factor, Prior
from auxar.training.averaging import WeightAverage, averaged
from auxar.training.progress import Meter

Preview = Callable[[Prior, Factor, int, Team], None]
"""A function that draws images with the current weights of a factor after a step. All processes of the team call it."""


@attrs.frozen
class Display:
    """The display of one factor's training. It has no effect on the weights."""

    sample_every: int | None = None
    """Number of steps between pictures. None for no pictures."""
    preview: Preview | None = None
    later: Callable[[], float] | None = None
    """The number of steps of this factor that take as long as the training of all later factors; see `StepBar`."""

    def begin(self, meter: Meter) -> None:
        """Shows the time left in the progress bar of `meter`, which has begun."""
        meter.bar.later = self.later

    def after_step(self, model: Prior, factor: Factor, meter: Meter, average: WeightAverage, team: Team) -> None:
        """Draws pictures if they are due after the last step of `meter`, with the weights that evaluation would use.

        The time that this takes counts neither as training time nor for the speed of training.
        """
        if self.preview is None or self.sample_every is None:
            return
        if meter.step % self.sample_every and meter.step != meter.total:
            return
        started = time.perf_counter()
        with averaged(factor, average):
            self.preview(model, factor, meter.step, team)
        meter.last += time.perf_counter() - started
