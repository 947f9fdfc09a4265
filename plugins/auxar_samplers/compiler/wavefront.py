"""The schedule of the wavefront sampler, the lag between rows and the lead of each layer, and its program.

Row r of the image runs `lag` columns behind row r - 1, so that one step computes values of many rows. A layer whose
output is needed to the right of the current pixel is computed `lead` columns ahead of that pixel. Lag and leads are
derived from the layers' kernels. When a row is at column c, a value with lead l is computed for column c + l. A reader
at row r, column c, reads its source at row r - up, column c + right. That value of the source was computed `delay`
steps earlier, where 0 means in the same step:

    delay = lag · up + lead(source) - lead(reader) - right
"""

from collections.abc import Callable, Iterator
from functools import partial

import attrs
import numpy as np
import torch
from torch import Tensor, fx

from auxar import CausalNetwork
from auxar_samplers.compiler import program as ir
from auxar_samplers.compiler.side_inputs import SideInputs
from auxar_samplers.compiler.trace import NOT_CAUSAL, NoScheduleError, Trace, Value, trace

BAND = 8
"""The number of image rows for which side inputs are computed at a time."""


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


def wavefront_program(network: CausalNetwork, schedule: Schedule, features: Tensor | None, count: int) -> ir.Program:
    """Compiles a program that draws `count` images from features (count, features_channels, h, w) or None."""
    return _Compiler(network, schedule, features, count).program()


class _Places:
    """The pixel of each slot at each time. Slots are reused: image row r is computed in slot r mod `rows`.

    A slot takes up a new row every `rows · lag` steps. The columns beyond the image's width are the zero padding.
    An image of fewer rows has slots for these alone, and for the empty rows that the first ones read above.
    Tables of side inputs hold `table_rows` image rows and are reused too, so memory does not grow with the height.
    """

    def __init__(self, schedule: Schedule, height: int, width: int) -> None:
        lead, least = max(schedule.leads.values()), min(schedule.leads.values())
        self.lag = schedule.lag
        self.lead = lead
        rows = -(-(width + max(1, schedule.reach)) // schedule.lag)
        self.slots = min(rows, height + max(up for value in schedule.trace.values for _, up, _, _ in value.reads))
        self.start = -lead
        self.stop = schedule.lag * (height - 1) + width
        in_work = -(-(width + lead - least) // schedule.lag) + 1
        self.table_rows = min((-(-in_work // BAND) + 1) * BAND, height)
        self.origin = self.start + least
        position = np.arange(self.origin, self.stop + lead)[:, None] - schedule.lag * np.arange(self.slots)
        row = np.arange(self.slots) + rows * np.floor_divide(position, rows * schedule.lag)
        column = np.mod(position, rows * schedule.lag)
        self.valid = (row >= 0) & (row < height) & (column < width)
        self.places = np.where(self.valid, row * width + column, height * width)
        self.table_places = np.where(self.valid, row % self.table_rows * width + column, self.table_rows * width)


class _Compiler:
    """Allocates the storage and generates the instructions of one program."""

    def __init__(self, network: CausalNetwork, schedule: Schedule, features: Tensor | None, count: int) -> None:
        self.network = network
        self.schedule = schedule
        _, self.height, self.width = network.image.shape
        self.places = _Places(schedule, self.height, self.width)
        self.layout = ir.Layout(count, next(network.parameters()).detach())
        static = None if features is None else features.contiguous(memory_format=torch.channels_last)
        self.sides = SideInputs(schedule.trace.statics(static), count)
        self.fillers: list[tuple[ir.Table, Callable[[slice, tuple[int, int]], Tensor]]] = []
        self.pixels = self.layout.scratch(self.places.slots, schedule.trace.image.channels)
        self.rings = dict(self._rings())
        self.scratch: dict[Value, ir.Scratch] = {}
        self.statics: dict[fx.Node, ir.Table] = {}

    def program(self) -> ir.Program:
        places, layout, last = self.places, self.layout, self.schedule.trace.output
        instructions = [each for value in self.schedule.trace.values for each in self._instructions(value)]
        output = layout.scratch(places.slots, last.channels)
        window = self._window(last, 0, 0, 1)
        instructions.append(ir.Pointwise(output, ir.identity, (window,), self.schedule.leads[last]))
        table_places = torch.from_numpy(places.table_places).to(layout.like.device)
        times = np.arange(places.start, places.stop)
        return ir.Program(
            self.network,
            layout,
            (ir.Clock(places.valid, table_places, places.origin),),
            (tuple(instructions),),
            steps=np.stack([np.zeros_like(times), times], axis=1),
            # At negative times, only values with a positive lead are computed, and no pixel is drawn.
            draws=np.where(times >= 0, times - places.origin, -1),
            places=places.places,
            output=output,
            pixels=self.pixels,
            fills=tuple(self._fills()),
        )

    def _fills(self) -> Iterator[tuple[int, Callable[[], None]]]:
        """Yields pairs (step, function). The function fills a band of table rows; `step` is the first that needs it."""
        filled = 0
        for step, time in enumerate(range(self.places.start, self.places.stop)):
            # The number of rows of which at least one value has been computed after this step.
            begun = (time + self.places.lead) // self.places.lag + 1
            while filled < min(self.height, begun):
                yield step, partial(self._fill, filled)
                filled += BAND

    def _fill(self, first: int) -> None:
        last = min(first + BAND, self.height)
        # The tables hold a whole number of bands, so no band wraps around the end of a table.
        start = first % self.places.table_rows * self.width
        for table, fill in self.fillers:
            found = fill(slice(first, last), (self.height, self.width))
            table.values[start : start + (last - first) * self.width] = found

    def _rings(self) -> Iterator[tuple[Value, ir.Ring]]:
        """Yields (value, ring) for each value that is read at a later step, from a row below, or at several columns."""
        capacity: dict[Value, int] = {self.schedule.trace.image: 1}
        above: dict[Value, int] = {self.schedule.trace.image: 0}
        for value in self.schedule.trace.values:
            for source, up, first, last in value.reads:
                delay = self.schedule.delay(value, source, up, first)
                if delay or up or first or last > first:
                    capacity[source] = max(capacity.get(source, 1), delay + 1)
                    above[source] = max(above.get(source, 0), up)
        for value, kept in capacity.items():
            up = above[value]
            yield value, self.layout.ring(self.places.slots, kept, value.channels, before=up, wraps=True)

    def _instructions(self, value: Value) -> Iterator[ir.Instruction]:
        lead = self.schedule.leads[value]
        if value.kind == "image":
            yield ir.Pointwise(self.rings[value], ir.identity, (self.pixels,), lead)
            return
        ring = self.rings.get(value)
        if value.kind == "function":
            output = ring or self._new_scratch(value)
            yield ir.Pointwise(output, value.function, tuple(self._operand(value, a) for a in value.arguments), lead)
            return
        statics = self._static_terms(value)
        table = self._side(value.channels, partial(self.sides.total, value)) if value.varies and not statics else None
        terms = (*self._terms(value), *statics)
        product = ir.Product(self._new_scratch(value), terms, value.bias, table, lead)
        yield product
        if ring is not None:
            yield ir.Pointwise(ring, ir.identity, (product.output,), lead)

    def _terms(self, value: Value) -> Iterator[tuple[ir.Window | ir.Scratch, Tensor]]:
        for term in value.terms:
            if isinstance(term.source, fx.Node):
                continue
            for up, weight in term.rows:
                # Each kernel row reads one window, with its columns concatenated along the channels.
                delay = self.schedule.delay(value, term.source, up, term.columns[0])
                yield self._window(term.source, delay, up, weight.shape[2]), weight.permute(2, 1, 0).flatten(0, 1)

    def _static_terms(self, value: Value) -> tuple[tuple[ir.Table, Tensor], ...]:
        """The static terms of a sum of integers, if a product computes them like other terms.

        They take less memory and time than sums that are computed beforehand, which sums of floats need.
        """
        if not self.network.encodes_integers or any(term.bias is not None or term.activated for term in value.terms):
            return ()
        statics = [(term.source, term.weight) for term in value.terms if isinstance(term.source, fx.Node)]
        return tuple((self._static(source), weight[:, :, 0, 0].t()) for source, weight in statics)

    def _operand(self, reader: Value, argument: Value | fx.Node | float) -> ir.Operand:
        if isinstance(argument, Value):
            return self._window(argument, self.schedule.delay(reader, argument), 0, 1)
        if isinstance(argument, fx.Node):
            return self._static(argument)
        return argument

    def _window(self, source: Value, delay: int, up: int, length: int) -> ir.Window | ir.Scratch:
        ring = self.rings.get(source)
        return self.scratch[source] if ring is None else ir.Window(ring, delay, -up, length)

    def _new_scratch(self, value: Value) -> ir.Scratch:
        self.scratch[value] = self.layout.scratch(self.places.slots, value.channels)
        return self.scratch[value]

    def _static(self, static: fx.Node) -> ir.Table:
        if static not in self.statics:
            self.statics[static] = self._side(self.sides.channels(static), partial(self.sides.values, static))
        return self.statics[static]

    def _side(self, channels: int, fill: Callable[[slice, tuple[int, int]], Tensor]) -> ir.Table:
        table = self.layout.table(self.places.table_rows * self.width, channels)
        self.fillers.append((table, fill))
        return table
