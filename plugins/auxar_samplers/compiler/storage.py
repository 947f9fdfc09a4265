"""The storage of a cached program's values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from auxar_samplers.compiler.plan import Plan
from auxar_samplers.compiler.program import Layout, Ring, Scratch, Table, Window
from auxar_samplers.compiler.trace import Value


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
