"""The timing of a network's wavefront: how far each row runs behind the one above, and each layer ahead of the pixel.

Row r of the image runs `lag` columns behind row r - 1, so that one step works on many rows at once. A layer whose
output is needed to the right of the current pixel runs ahead of it by its `lead`. Both follow from what the layers
read; nothing is configured. At time t the row in a slot stands at column c, and a value of lead l is that of column
c + l. A value of row r - up, column c + right, was computed `delay` steps ago (0 is this step):

    delay = lag · up + lead(source) - lead(reader) - right
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from auxar import CausalNetwork
from auxar_samplers.compiler.trace import NoScheduleError, Trace, Value, trace


@attrs.frozen
class Schedule:
    """A network's values with their timing."""

    trace: Trace
    leads: dict[Value, int]
    lag: int

    def delay(self, reader: Value, source: Value, up: int = 0, right: int = 0) -> int:
        """Steps since the value was computed that `reader` reads of `source`."""
        return self.lag * up + self.leads[source] - self.leads[reader] - right

    @property
    def reach(self) -> int:
        """Columns to either side that any value reads: so many must be kept zero beyond the image's edge."""
        return max(abs(right) for value in self.trace.values for _, _, right in _reads(value))


def make_schedule(network: CausalNetwork) -> Schedule:
    """The schedule of a network. Raises `NoScheduleError` for one that cannot run as a wavefront."""
    traced = trace(network)
    for value in traced.values:
        if value.kind == "growth" or any(term.stride != 1 for term in value.terms):
            raise NoScheduleError(f"the layer {value.name} changes the resolution, which has no wavefront form")
    leads = _leads(traced)
    lag = 1
    for value in traced.values:
        for source, up, right in _reads(value):
            if up:
                lag = max(lag, -((leads[source] - leads[value] - right) // up))
    return Schedule(traced, leads, lag)


def delayed(schedule: Schedule, reach: int) -> Schedule:
    """The schedule with a lag at which rows above are drawn as far to the right as a source's `reach`."""
    return attrs.evolve(schedule, lag=max(schedule.lag, reach + 1))


def _leads(traced: Trace) -> dict[Value, int]:
    leads = {traced.output: 0}
    for value in reversed(traced.values):
        for source, up, right in _reads(value):
            # With enough lag, any lead works for rows above, so require no more than the pixel's own.
            needed = leads[value] + right if up == 0 else -1
            leads[source] = max(leads.get(source, needed), needed)
    if leads[traced.image] >= 0:
        raise NoScheduleError("a prediction depends on the pixel itself or on one to its right")
    # A pixel is drawn at the end of a step: the next one finds it one column behind.
    leads[traced.image] = -1
    return leads


def _reads(value: Value) -> Iterator[tuple[Value, int, int]]:
    """(source, rows above, columns to the right) of everything that a value reads."""
    for term in value.terms:
        if isinstance(term.source, Value):
            for up, weight in term.rows:
                for column in range(weight.shape[2]):
                    yield term.source, up, term.columns[0] + column
    for argument in value.arguments:
        if isinstance(argument, Value):
            yield argument, 0, 0
