"""The plan of the cached sampler: which values are computed for a whole row and which pixel by pixel, and when.

A value at stride s has one place for each s × s pixels, and is computed at rows and columns that are multiples of s.
Values that depend only on rows above are computed for a whole row at once, and all others pixel by pixel. A value with
lead 0 is computed when its column is reached. A value that depends on its own pixel has lead -1 and is computed one
column later.

`CachedStorage` has the storage of the values.
"""

import math
from collections.abc import Iterator, Mapping

import attrs

from auxar import CausalNetwork
from auxar_samplers.compiler.program import Layout, Ring, Scratch, Table, Window
from auxar_samplers.compiler.trace import NOT_CAUSAL, NoScheduleError, Term, Trace, Value, trace


@attrs.frozen
class Plan:
    """The traced values of a network, with their strides and leads."""

    trace: Trace
    height: int
    width: int
    strides: dict[Value, int]
    """The stride of each value, in pixels. It is 1 at the resolution of the image."""
    leads: dict[Value, int]
    """The lead of each value that is computed pixel by pixel: 0, or -1 if it is computed one column later."""

    def by_pixel(self, value: object) -> bool:
        """Whether a value is computed pixel by pixel."""
        return value in self.leads

    def size(self, stride: int) -> tuple[int, int]:
        """The size (height, width) of values at a stride."""
        return -(-self.height // stride), -(-self.width // stride)

    @property
    def period(self) -> int:
        """The least common multiple of the strides. Instructions repeat with this period along rows and columns."""
        return math.lcm(*self.strides.values())

    def rows_at_once(self, term: Term) -> list[int]:
        """The kernel rows of a term, as numbers of rows above, that are complete before the current row begins."""
        return [up for up, _ in term.rows if up or not self.by_pixel(term.source)]


def make_plan(network: CausalNetwork) -> Plan:
    """Makes the plan of a network. Raises `NoScheduleError` if the cached sampler does not support the network."""
    traced = trace(network)
    plan = Plan(traced, *network.image.shape[1:], {traced.image: 1}, {traced.image: -1})
    for value in traced.values[1:]:
        plan.strides[value] = _stride(plan, value)
        sources = [source for source in value.arguments if isinstance(source, Value) and plan.by_pixel(source)]
        leads = [plan.leads[source] for source in sources]
        for term in value.terms:
            if isinstance(term.source, Value) and len(plan.rows_at_once(term)) < len(term.rows):
                last = term.columns[0] + term.weight.shape[3] - 1
                leads.append(min(0, plan.leads[term.source] - last))
        if leads:  # Otherwise, the value depends only on rows above.
            lead = min(leads)
            if lead < -1 or (lead and plan.strides[value] > 1):
                raise NoScheduleError(
                    f"{value.name} depends on a pixel to its right or, at a lower resolution, on its own pixel"
                )
            plan.leads[value] = lead
    if plan.strides[traced.output] != 1:
        raise NoScheduleError("the network's prediction has a lower resolution than the image")
    if plan.leads.get(traced.output, 0) < 0:
        raise NoScheduleError(NOT_CAUSAL)
    return plan


def _stride(plan: Plan, value: Value) -> int:
    if value.kind == "growth":
        stride, rest = divmod(plan.strides[value.sources[0]], value.factor)
        if not rest and value.arguments[1:] != plan.size(stride):
            raise NoScheduleError(
                f"the layer {value.name} upsamples to the size {value.arguments[1:]}, expected {plan.size(stride)}"
            )
        if rest or (any(value.layer.overlap) and plan.by_pixel(value.sources[0])):
            raise NoScheduleError(
                f"the factor of the layer {value.name} must divide the stride of its input, "
                "and its overlap must be (0, 0) unless its input depends only on rows above"
            )
        return stride
    found = {plan.strides[source] for source in value.arguments if isinstance(source, Value)}
    found.update(plan.strides[term.source] * term.stride for term in value.terms if isinstance(term.source, Value))
    if len(found) > 1:
        raise NoScheduleError(f"{value.name} combines values of different resolutions (strides {sorted(found)})")
    return found.pop()


def growth_taps(value: Value, phase: int) -> list[tuple[int, int]]:
    """The parts of an upsampling layer's kernel that contribute to the output columns c with c mod factor = phase.

    Each part is a pair: the offset of a source column from column c // factor, and the kernel column applied to it.
    """
    left, right = value.layer.overlap
    factor = value.factor
    kernel = range((left + phase) % factor, factor + left + right, factor)
    return [((left + phase - column) // factor, column) for column in kernel]


class CachedStorage:
    """The storage of each value: a ring if the value is read at other places than its own, otherwise a scratch."""

    def __init__(self, plan: Plan, layout: Layout) -> None:
        self.plan = plan
        self.layout = layout
        self.strides = sorted(set(plan.strides.values()))
        self.by_row: dict[Value, Ring] = {}
        """Rings over rows. They hold values that rows below read, and values of whole rows that other columns read."""
        self.by_pixel: dict[Value, Ring] = {}
        """Rings over columns of the row being drawn. They hold pixel-by-pixel values that are read at other places."""
        self._scratch: dict[Value, Scratch] = {}
        self._make_rings()

    def row_clock(self, value: Value) -> int:
        """The index of the row clock for the stride of a value."""
        return self.strides.index(self.plan.strides[value])

    def pixel_clock(self, value: Value) -> int:
        """The index of the pixel clock for the stride of a value."""
        return len(self.strides) + self.row_clock(value)

    def width(self, value: Value) -> int:
        """The number of columns of a value at its stride."""
        return self.plan.size(self.plan.strides[value])[1]

    def scratch(self, value: Value) -> Scratch:
        """The scratch of a value, with one slot if the value is computed pixel by pixel.

        Otherwise it has a slot for each column and a spare slot, which `table` needs for places outside the image. A
        growth has `factor` spare slots, because it may write beyond the last column.
        """
        if value not in self._scratch:
            slots = 1
            if not self.plan.by_pixel(value):
                slots = self.width(value) + (value.factor if value.kind == "growth" else 1)
            self._scratch[value] = self.layout.scratch(slots, value.channels)
        return self._scratch[value]

    def read(self, rings: Mapping[Value, Ring], value: Value, *place: int) -> Window | Scratch:
        """The operand that reads a value: a window of its ring, or its scratch if it has no ring.

        `place` has the arguments of `Window` after the ring.
        """
        ring = rings.get(value)
        return self.scratch(value) if ring is None else Window(ring, *place)

    def table(self, scratch: Scratch) -> Table:
        """A table that is indexed by column and shares the memory of a scratch with a slot for each column."""
        return Table(scratch.values.view(-1, self.layout.batch, scratch.values.shape[1]))

    def _make_rings(self) -> None:
        above: dict[Value, int] = {}
        columns: dict[Value, tuple[int, int]] = {}
        along: dict[Value, int] = {self.plan.trace.image: 1}
        for value in self.plan.trace.values:
            for source, up, first, last in self._reads(value):
                if up or not self.plan.by_pixel(source):
                    above[source] = max(above.get(source, 0), up)
                    left, right = columns.get(source, (0, 0))
                    columns[source] = min(left, first), max(right, last)
                if self.plan.by_pixel(source):
                    along[source] = max(along.get(source, 1), -first + 2)
        for value, up in above.items():
            left, right = columns[value]
            self.by_row[value] = self.layout.ring(
                self.width(value),
                up + 1,
                value.channels,
                before=-left,
                after=right,
                copies=1,
                clock=self.row_clock(value),
            )
        for value, reach in along.items():
            # The capacity exceeds the number of positions in a row by `reach`, so entries before the first column are
            # never written and stay zero.
            capacity = self.width(value) + 1 + reach
            self.by_pixel[value] = self.layout.ring(1, capacity, value.channels, clock=self.pixel_clock(value))

    def _reads(self, value: Value) -> Iterator[tuple[Value, int, int, int]]:
        """Yields (source, rows above, first column, last column) for every read at a place other than the value's own.

        Columns are relative to the column of the value.
        """
        for term in value.terms:
            if isinstance(term.source, Value):
                for up, weight in term.rows:
                    last = term.columns[0] + weight.shape[2] - 1
                    if up or term.columns[0] or last or term.stride > 1:
                        yield term.source, up, term.columns[0], last
        if value.kind == "growth":
            shifts = [shift for phase in range(value.factor) for shift, _ in growth_taps(value, phase)]
            yield value.sources[0], 0, min(0, *shifts), max(0, *shifts)
        for source in value.sources:
            late = self.plan.leads.get(source, 0) - self.plan.leads.get(value, 0)
            if self.plan.by_pixel(source) and late:
                yield source, 0, -late, 0
