"""The schedule of the wavefront sampler: the lag between rows, and the lead of each layer.

Row r of the image runs `lag` columns behind row r - 1, so that one step computes values of many rows. A layer whose
output is needed to the right of the current pixel is computed `lead` columns ahead of that pixel. Lag and leads are
derived from the layers' kernels. When a row is at column c, a value with lead l is computed for column c + l. A reader
at row r, column c, reads its source at row r - up, column c + right. That value of the source was computed `delay`
steps earlier, where 0 means in the same step:

    delay = lag · up + lead(source) - lead(reader) - right
"""

from __future__ import annotations

import attrs

from auxar import CausalNetwork
from auxar_samplers.compiler.trace import NOT_CAUSAL, NoScheduleError, Trace, Value, trace


@attrs.frozen
class Schedule:
    """The traced values of a network, with their leads and the lag between rows."""

    trace: Trace
    leads: dict[Value, int]
    """The number of columns that each value is computed ahead of the pixel. The lead of the image is -1."""
    lag: int
    """The number of columns that each row runs behind the row above."""
    width: int
    """The width of the image."""

    def delay(self, reader: Value, source: Value, up: int = 0, right: int = 0) -> int:
        """The number of steps from the computation of a value of `source` to its use by `reader`.

        The value lies `up` rows above the reader's place and `right` columns to the right of it.
        """
        return self.lag * up + self.leads[source] - self.leads[reader] - right

    @property
    def reach(self) -> int:
        """The largest distance in columns at which a value is read. Rows are padded with at least this many zeros."""
        return max(max(-first, last) for value in self.trace.values for _, _, first, last in value.reads)


def make_schedule(network: CausalNetwork) -> Schedule:
    """Makes the schedule of a network. Raises `NoScheduleError` if the wavefront sampler does not support it."""
    traced = trace(network)
    for value in traced.values:
        if value.kind == "growth" or any(term.stride != 1 for term in value.terms):
            raise NoScheduleError(
                f"the layer {value.name} changes the resolution, which the wavefront sampler does not support"
            )
    leads = _leads(traced)
    lag = 1
    for value in traced.values:
        for source, up, _, last in value.reads:
            if up:
                lag = max(lag, -((leads[source] - leads[value] - last) // up))
    return Schedule(traced, leads, lag, network.image.width)


def delayed(schedule: Schedule, reach: int) -> Schedule:
    """The schedule with a lag of at least `reach` + 1, for a pixel source with this `reach`.

    Before a pixel in column c is drawn, the rows above are then drawn up to column c + `reach`. A reach beyond the
    width of the image has no further effect.
    """
    return attrs.evolve(schedule, lag=max(schedule.lag, min(reach, schedule.width) + 1))


def _leads(traced: Trace) -> dict[Value, int]:
    leads = {traced.output: 0}
    for value in reversed(traced.values):
        for source, up, _, last in value.reads:
            # A value that is read in rows above may have any lead, because the lag is chosen afterwards. It gets at
            # least the lead of the image, -1.
            needed = leads[value] + last if up == 0 else -1
            leads[source] = max(leads.get(source, needed), needed)
    if leads[traced.image] >= 0:
        raise NoScheduleError(NOT_CAUSAL)
    # A pixel is drawn at the end of a step. In the next step it is one column behind the current pixel.
    leads[traced.image] = -1
    return leads
