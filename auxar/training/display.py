"""The display of a factor's training: pictures of images that the unfinished factor draws, and the time left."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from auxar.model import Chain, Factor
from auxar.training.averaging import WeightAverage, averaged
from auxar.training.progress import Meter
from auxar.work.team import Team

Preview = Callable[[Chain, Factor, int, Team], None]
"""A function that draws images with the current weights of a factor after a step. All processes of the team call it."""


@attrs.frozen
class Display:
    """The display of one factor's training. It has no effect on the weights."""

    sample_every: int | None = None
    """Number of steps between pictures. None for no pictures."""
    preview: Preview | None = None
    """The function that draws the pictures. None for no pictures."""
    count_later_steps: Callable[[], float] | None = None
    """A function for `StepBar.count_later_steps`. None if no other factor is trained after this one."""

    def begin(self, meter: Meter) -> None:
        """Shows the time left in the progress bar of `meter`, which has begun."""
        meter.bar.count_later_steps = self.count_later_steps

    def after_step(self, model: Chain, factor: Factor, meter: Meter, average: WeightAverage, team: Team) -> None:
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
