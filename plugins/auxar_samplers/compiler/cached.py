"""Compiles a plan to a program of the cached sampler.

The program has two clocks for each stride: a row clock, whose slots are the columns of a row, and a pixel clock, whose
only slot is the pixel being drawn. Each image row takes one step for values that depend only on rows above, one step
for each pixel, and one step after the last column. The step after the last column computes values with lead -1 and
copies the row into rings, from which the rows below read it. `auxar_samplers.compiler.plan` explains strides and leads,
and `auxar_samplers.compiler.program` explains clocks, slots and rings.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from torch import Tensor, fx

from auxar import CausalNetwork
from auxar_samplers.compiler import program as ir
from auxar_samplers.compiler.plan import CachedStorage, Plan, growth_taps
from auxar_samplers.compiler.side_inputs import SideInputs
from auxar_samplers.compiler.trace import Value


def cached_program(network: CausalNetwork, plan: Plan, features: Tensor | None, count: int) -> ir.Program:
    """Compiles a program that draws `count` images from features (count, features_channels, h, w) or None."""
    return _Compiler(network, plan, features, count).program()


class _Compiler:
    """Allocates the storage and generates the instructions of one program."""

    def __init__(self, network: CausalNetwork, plan: Plan, features: Tensor | None, count: int) -> None:
        self.network = network
        self.plan = plan
        self.layout = ir.Layout(count, next(network.parameters()).detach())
        self.storage = CachedStorage(plan, self.layout)
        self.sides = SideInputs(plan.trace.statics(features), count)
        self.fillers: list[tuple[int, ir.Table, Callable[[slice, tuple[int, int]], Tensor]]] = []
        self.initial: dict[Value, ir.Table] = {}
        arguments = [plan.trace.output, *(a for value in plan.leads for a in value.arguments)]
        # Values of whole rows that instructions for single pixels read unchanged.
        self.handed = {value for value in arguments if isinstance(value, Value) and not plan.by_pixel(value)}
        self.pixels = self.layout.scratch(1, plan.trace.image.channels)
        self.output = self.layout.scratch(1, plan.trace.output.channels)

    def program(self) -> ir.Program:
        plan, period = self.plan, self.plan.period
        rows, pixels, ends = self._lists()
        operand = self._pixel_operand(plan.trace.output, plan.trace.output)
        last = ir.Pointwise(self.output, ir.identity, (operand,), 0, self.storage.pixel_clock(plan.trace.output))
        for instructions in pixels:
            instructions.append(last)
        strides = self.storage.strides
        steps: list[list[int]] = []
        draws: list[int] = []
        fills: list[tuple[int, Callable[[], None]]] = []
        for row in range(plan.height):
            fills.append((len(steps), partial(self._fill, row)))
            down = [row // stride for stride in strides]
            phase = row % period
            steps.append([phase, *down, *(0 for _ in strides)])
            for column in range(plan.width):
                across = [column // stride for stride in strides]
                steps.append([period + phase * period + column % period, *down, *across])
            steps.append([period + period * period + phase, *down, *(plan.width // stride for stride in strides)])
            draws += [-1, *range(row * plan.width, (row + 1) * plan.width), -1]
        return ir.Program(
            self.network,
            self.layout,
            (*(self._row_clock(stride) for stride in strides), *(self._pixel_clock(stride) for stride in strides)),
            tuple(map(tuple, (*rows, *pixels, *ends))),
            steps=np.array(steps, dtype=np.int64),
            draws=np.array(draws, dtype=np.int64),
            places=np.arange(plan.height * plan.width, dtype=np.int64)[:, None],
            output=self.output,
            pixels=self.pixels,
            fills=tuple(fills),
        )

    def _lists(self) -> tuple[list[list[ir.Instruction]], list[list[ir.Instruction]], list[list[ir.Instruction]]]:
        """Three groups of instruction lists: for whole rows, for pixels, and for the step after the last column.

        The index of a list is the phase of the row or, for pixels, row phase · period + column phase. A phase is the
        row or column modulo the plan's period.
        """
        plan, period = self.plan, self.plan.period
        rows: list[list[ir.Instruction]] = [[] for _ in range(period)]
        pixels: list[list[ir.Instruction]] = [[] for _ in range(period * period)]
        late: list[ir.Instruction] = []
        for value in plan.trace.values:
            stride = plan.strides[value]
            phases = range(value.factor if value.kind == "growth" else 1)
            by_row = [list(self._of_row(value, phase)) for phase in phases]
            by_pixel = [[list(self._of_pixel(value, row, column)) for column in phases] for row in phases]
            for row in range(0, period, stride):
                down = row // stride % len(phases)
                rows[row] += by_row[down]
                for column in range(0, period, stride):
                    pixels[row * period + column] += by_pixel[down][column // stride % len(phases)]
            if plan.leads.get(value, 0):
                late += by_pixel[0][0]
        return rows, pixels, [[*late, *self._keeps(row)] for row in range(period)]

    def _keeps(self, row: int) -> Iterator[ir.Keep]:
        """Instructions that copy pixel-by-pixel values into rings, for the rows below. `row` is the row's phase."""
        for value, ring in self.storage.by_row.items():
            if self.plan.by_pixel(value) and row % self.plan.strides[value] == 0:
                yield ir.Keep(
                    ring, self.storage.by_pixel[value], -self.plan.leads[value], self.storage.row_clock(value)
                )

    def _fill(self, row: int) -> None:
        """Fills the tables of side inputs for an image row, at every stride that divides the row's index."""
        for stride, table, fill in self.fillers:
            if row % stride == 0:
                table.values[:-1] = fill(slice(row // stride, row // stride + 1), self.plan.size(stride))

    # Instructions for whole rows --------------------------------------------------------------------------------------

    def _of_row(self, value: Value, phase: int) -> Iterator[ir.Instruction]:
        """Instructions that compute a value for a whole row. For a growth, `phase` is its row modulo the factor."""
        if self.plan.by_pixel(value):
            if value.kind == "linear":
                yield from self._row_part(value)
            return
        clock = self.storage.row_clock(value)
        ring = self.storage.by_row.get(value)
        if value.kind == "function":
            operands = tuple(self._row_operand(value, argument) for argument in value.arguments)
            yield ir.Pointwise(ring or self.storage.scratch(value), value.function, operands, 0, clock)
            if ring is not None and value in self.handed:
                yield ir.Pointwise(self.storage.scratch(value), ir.identity, (ir.Window(ring),), 0, clock)
            return
        if value.kind == "growth":
            yield from self._row_growth(value, phase)
        else:
            terms = tuple(self._row_terms(value))
            yield ir.Product(self.storage.scratch(value), terms, value.bias, self._side(value), 0, clock)
        if ring is not None:
            yield ir.Pointwise(ring, ir.identity, (self.storage.scratch(value),), 0, clock)

    def _row_part(self, value: Value) -> Iterator[ir.Instruction]:
        """Instructions that compute terms of a pixel-by-pixel value for a whole row: side inputs and rows above."""
        side, terms = self._side(value), tuple(self._row_terms(value))
        if terms:
            output = self.layout.scratch(self.storage.width(value) + 1, value.channels)
            self.initial[value] = self.storage.table(output)
            yield ir.Product(output, terms, value.bias, side, 0, self.storage.row_clock(value))
        elif side is not None:
            self.initial[value] = side

    def _row_terms(self, value: Value) -> Iterator[tuple[ir.Window | ir.Scratch, Tensor]]:
        for term in value.terms:
            if not isinstance(term.source, Value):
                continue
            complete = self.plan.rows_at_once(term)
            for up, weight in term.rows:
                for column in range(weight.shape[2] if up in complete else 0):
                    place = up, term.columns[0] + column, 1, term.stride
                    yield self.storage.read(self.storage.by_row, term.source, *place), weight[:, :, column].t()

    def _row_growth(self, value: Value, phase: int) -> Iterator[ir.Instruction]:
        """Instructions that compute a growth for a whole row: one product for each column modulo the factor.

        Each product has a slot for every column of the source.
        """
        source, output, weight = value.sources[0], self.storage.scratch(value), value.layer.weight()[:, :, phase]
        clock = self.storage.row_clock(source)
        for across in range(value.factor):
            taps = growth_taps(value, across)
            terms = [(ir.Window(self.storage.by_row[source], 0, shift), weight[:, :, column]) for shift, column in taps]
            yield ir.Product(output, tuple(terms), value.bias, None, 0, clock, across, value.factor)

    def _row_operand(self, reader: Value, argument: Value | fx.Node | float) -> ir.Operand:
        if isinstance(argument, Value):
            return self.storage.read(self.storage.by_row, argument)
        if isinstance(argument, fx.Node):
            return self._side_of(reader, self.sides.channels(argument), partial(self.sides.values, argument))
        return argument

    # Instructions for single pixels -----------------------------------------------------------------------------------

    def _of_pixel(self, value: Value, row: int, column: int) -> Iterator[ir.Instruction]:
        """Instructions that compute a value for one pixel. For a growth, `row` and `column` are modulo the factor."""
        if not self.plan.by_pixel(value):
            return
        lead, clock = self.plan.leads[value], self.storage.pixel_clock(value)
        ring = self.storage.by_pixel.get(value)
        output = ring or self.storage.scratch(value)
        if value.kind == "image":
            yield ir.Pointwise(output, ir.identity, (self.pixels,), lead, clock)
            return
        if value.kind == "function":
            arguments = tuple(self._pixel_operand(value, argument) for argument in value.arguments)
            yield ir.Pointwise(output, value.function, arguments, lead, clock)
            return
        if value.kind == "growth":
            source = ir.Window(self.storage.by_pixel[value.sources[0]])
            terms: list[tuple[ir.Window | ir.Scratch, Tensor]] = [(source, value.layer.weight()[:, :, row, column])]
        else:
            terms = list(self._pixel_terms(value))
        scratch = self.storage.scratch(value)
        yield ir.Product(scratch, tuple(terms), value.bias, self.initial.get(value), lead, clock)
        if ring is not None:
            yield ir.Pointwise(ring, ir.identity, (scratch,), lead, clock)

    def _pixel_terms(self, value: Value) -> Iterator[tuple[ir.Window | ir.Scratch, Tensor]]:
        for term in value.terms:
            if isinstance(term.source, Value) and len(self.plan.rows_at_once(term)) < len(term.rows):
                _, weight = term.rows[-1]
                late = self.plan.leads[term.source] - term.stride * self.plan.leads[value]
                place = late - term.columns[0], 0, weight.shape[2]
                matrix = weight.permute(2, 1, 0).flatten(0, 1)
                yield self.storage.read(self.storage.by_pixel, term.source, *place), matrix

    def _pixel_operand(self, reader: Value, argument: Value | fx.Node | float) -> ir.Operand:
        if not isinstance(argument, Value):
            return self._row_operand(reader, argument)
        if not self.plan.by_pixel(argument):
            return self.storage.table(self.storage.scratch(argument))
        late = self.plan.leads[argument] - self.plan.leads.get(reader, 0)
        return self.storage.read(self.storage.by_pixel, argument, late)

    # Side inputs and clocks -------------------------------------------------------------------------------------------

    def _side(self, value: Value) -> ir.Table | None:
        """A table for the part of a linear value that does not depend on pixels; None if it is the same everywhere."""
        return self._side_of(value, value.channels, partial(self.sides.total, value)) if value.varies else None

    def _side_of(self, value: Value, channels: int, fill: Callable[[slice, tuple[int, int]], Tensor]) -> ir.Table:
        table = self.layout.table(self.storage.width(value), channels)
        self.fillers.append((self.plan.strides[value], table, fill))
        return table

    def _row_clock(self, stride: int) -> ir.Clock:
        height, width = self.plan.size(stride)
        places = torch.arange(width, device=self.layout.like.device).expand(height, -1)
        return ir.Clock(np.ones((height, width), dtype=bool), places.contiguous(), 0)

    def _pixel_clock(self, stride: int) -> ir.Clock:
        width = self.plan.size(stride)[1]
        column = np.arange(-1, width + 1)[:, None]
        valid = (column >= 0) & (column < width)
        return ir.Clock(valid, torch.from_numpy(np.where(valid, column, width)).to(self.layout.like.device), -1)
