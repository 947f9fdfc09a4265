"""The cached sampler: every value is computed once, what depends on rows above for a whole row at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar.interfaces import CausalNetwork
from auxar_samplers.base import ProgramSampler
from auxar_samplers.canvas import Canvas
from auxar_samplers.compiler.plan import Plan, make_plan
from auxar_samplers.compiler.program import (
    Clock,
    Instruction,
    Layout,
    Operand,
    Pointwise,
    Product,
    Scratch,
    Table,
    Window,
    identity,
)
from auxar_samplers.compiler.sides import Sides
from auxar_samplers.compiler.storage import Storage, growth_taps
from auxar_samplers.compiler.trace import Static, Value
from auxar_samplers.engines.choice import engine_field, make_engine


@attrs.frozen
class CachedConfig:
    """Every value once, coarse ones where row and column divide: exact, for networks of several resolutions."""

    engine: str = engine_field()
    """How a step is run: native (compiled on this machine), plain (PyTorch's operations), auto (native if it works)."""


class CachedSampler(ProgramSampler):
    """For networks of one or several resolutions."""

    name = "cached"

    def prepare(self, network: CausalNetwork) -> Plan:
        return make_plan(network)

    def run(self, prepared: Plan, features: Tensor | None, canvas: Canvas) -> Tensor:
        return _Cached(prepared, features, canvas, self.engine).run()


class _Cached:
    """One run: the programs of a row and of a pixel, the tables they read, and the loops over rows and columns."""

    def __init__(self, plan: Plan, features: Tensor | None, canvas: Canvas, engine: str) -> None:
        self.plan = plan
        self.canvas = canvas
        self.layout = Layout(canvas.batch, next(canvas.network.parameters()).detach())
        self.storage = Storage(plan, self.layout)
        self.sides = Sides(plan.trace.statics(features), canvas.batch)
        self.fillers: list[tuple[int, Table, Callable[[slice, tuple[int, int]], Tensor]]] = []
        self.initial: dict[Value, Table] = {}
        arguments = [plan.trace.output, *(a for value in plan.leads for a in value.arguments)]
        # What the pixel's program takes of a row's as it is.
        self.handed = {value for value in arguments if isinstance(value, Value) and not plan.by_pixel(value)}
        self.pixels = self.layout.scratch(1, plan.trace.image.channels)
        self.output = self.layout.scratch(1, plan.trace.output.channels)
        period = plan.period
        rows: list[list[Instruction]] = [[] for _ in range(period)]
        # One list for each remainder of row and column, and one for what is late, after the last column.
        pixels: list[list[Instruction]] = [[] for _ in range(period * period + 1)]
        for value in plan.trace.values:
            stride = plan.strides[value]
            phases = range(value.factor if value.kind == "growth" else 1)
            by_row = [list(self._of_row(value, phase)) for phase in phases]
            by_pixel = [[list(self._of_pixel(value, row, column)) for column in phases] for row in phases]
            for row in range(0, period, stride):
                across = row // stride % len(phases)
                rows[row] += by_row[across]
                for column in range(0, period, stride):
                    pixels[row * period + column] += by_pixel[across][column // stride % len(phases)]
            if plan.leads.get(value, 0):
                pixels[-1] += by_pixel[0][0]
        last = Pointwise(self.output, identity, (self._pixel_operand(plan.trace.output, plan.trace.output),), 0)
        for instructions in pixels[:-1]:
            instructions.append(last)
        self.row_engine = make_engine(engine, self.layout, [self._row_clock(s) for s in self.storage.strides], rows)
        self.engine = make_engine(engine, self.layout, [self._pixel_clock(s) for s in self.storage.strides], pixels)

    def run(self) -> Tensor:
        """Draws the images: int64, (b, c, h, w)."""
        strides, period = self.storage.strides, self.plan.period
        width = self.plan.width
        for row in range(self.plan.height):
            self._fill(row)
            self.row_engine.run(row % period, [row // stride for stride in strides])
            for column in range(width):
                self.engine.run(row % period * period + column % period, [column // stride for stride in strides])
                drawn = self.canvas.draw(self.canvas.place(row * width + column), self.output.values)
                self.pixels.values.copy_(drawn)
            self.engine.run(period * period, [width // stride for stride in strides])
            self._keep(row)
        return self.canvas.image

    def _fill(self, row: int) -> None:
        """Tables of side inputs for the next row."""
        for stride, table, fill in self.fillers:
            if row % stride == 0:
                table.values[:-1] = fill(slice(row // stride, row // stride + 1), self.plan.size(stride))

    def _keep(self, row: int) -> None:
        """The row's values, for the rows below."""
        for value, ring in self.storage.by_row.items():
            stride = self.plan.strides[value]
            if self.plan.by_pixel(value) and row % stride == 0:
                width = self.storage.width(value)
                start = -self.plan.leads[value]
                by_column = ring.values.unflatten(0, (-1, self.layout.batch))[ring.before : ring.before + width]
                found = self.storage.by_pixel[value].values[:, start : start + width]
                by_column[:, :, row // stride % ring.depth] = found.transpose(0, 1)

    # The row's program ------------------------------------------------------------------------------------------------

    def _of_row(self, value: Value, phase: int) -> Iterator[Instruction]:
        """What is computed of a value for a row at once; of a growth, for rows of one phase."""
        if self.plan.by_pixel(value):
            if value.kind == "linear":
                yield from self._row_part(value)
            return
        clock = self.storage.clock(value)
        ring = self.storage.by_row.get(value)
        if value.kind == "function":
            assert value.function is not None
            operands = tuple(self._row_operand(value, argument) for argument in value.arguments)
            yield Pointwise(ring or self.storage.scratch(value), value.function, operands, 0, clock)
            if ring is not None and value in self.handed:
                yield Pointwise(self.storage.scratch(value), identity, (Window(ring),), 0, clock)
            return
        if value.kind == "growth":
            yield from self._row_growth(value, phase)
        else:
            side = self._side(value)
            operands, matrices = self._row_terms(value)
            output = self.storage.scratch(value)
            assert value.bias is not None
            yield Product(output, operands, matrices, value.bias, side, 0, clock)
        if ring is not None:
            yield Pointwise(ring, identity, (self.storage.scratch(value),), 0, clock)

    def _row_part(self, value: Value) -> Iterator[Instruction]:
        """Of a value that is computed pixel by pixel: the side inputs and all that rows above contribute."""
        side = self._side(value)
        operands, matrices = self._row_terms(value)
        assert value.bias is not None
        if operands:
            output = self.storage.row_scratch(value)
            self.initial[value] = self.storage.table(output)
            yield Product(output, operands, matrices, value.bias, side, 0, self.storage.clock(value))
        elif side is not None:
            self.initial[value] = side

    def _row_terms(self, value: Value) -> tuple[tuple[Window | Scratch, ...], tuple[Tensor, ...]]:
        operands: list[Window | Scratch] = []
        matrices = []
        for term in value.terms:
            if not isinstance(term.source, Value):
                continue
            complete = self.plan.rows_at_once(term)
            ring = self.storage.by_row.get(term.source)
            for up, weight in term.rows:
                for column in range(weight.shape[2] if up in complete else 0):
                    shift = term.columns[0] + column
                    if ring is None:
                        operands.append(self.storage.scratch(term.source))
                    else:
                        operands.append(Window(ring, up, shift, stride=term.stride))
                    matrices.append(weight[:, :, column].t().contiguous())
        return tuple(operands), tuple(matrices)

    def _row_growth(self, value: Value, phase: int) -> Iterator[Instruction]:
        """One product for each phase of the columns, over the columns of the source."""
        source = value.sources[0]
        assert value.layer is not None
        assert value.bias is not None
        weight = value.layer.weight()[:, :, phase]
        for across in range(value.factor):
            taps = growth_taps(value, across)
            operands = tuple(Window(self.storage.by_row[source], 0, shift) for shift, _ in taps)
            matrices = tuple(weight[:, :, column].contiguous() for _, column in taps)
            yield Product(
                self.storage.scratch(value),
                operands,
                matrices,
                value.bias,
                None,
                0,
                self.storage.clock(source),
                across,
                value.factor,
            )

    def _row_operand(self, reader: Value, argument: Value | Static | float) -> Operand:
        if isinstance(argument, Value):
            ring = self.storage.by_row.get(argument)
            return self.storage.scratch(argument) if ring is None else Window(ring)
        return self._static_operand(reader, argument)

    def _static_operand(self, reader: Value, argument: Static | float) -> Operand:
        if isinstance(argument, Static):
            return self._side_of(reader, self.sides.channels(argument), partial(self.sides.values, argument))
        return argument

    # The pixel's program ----------------------------------------------------------------------------------------------

    def _of_pixel(self, value: Value, row: int, column: int) -> Iterator[Instruction]:
        """What is computed of a value for one pixel; of a growth, for rows and columns of one phase."""
        if not self.plan.by_pixel(value):
            return
        lead, clock = self.plan.leads[value], self.storage.clock(value)
        ring = self.storage.by_pixel.get(value)
        output = ring or self.storage.scratch(value)
        if value.kind == "image":
            yield Pointwise(output, identity, (self.pixels,), lead, clock)
            return
        if value.kind == "function":
            assert value.function is not None
            operands = tuple(self._pixel_operand(value, argument) for argument in value.arguments)
            yield Pointwise(output, value.function, operands, lead, clock)
            return
        if value.kind == "growth":
            assert value.layer is not None
            source = Window(self.storage.by_pixel[value.sources[0]])
            terms: list[tuple[Window | Scratch, Tensor]] = [(source, value.layer.weight()[:, :, row, column])]
        else:
            terms = list(self._pixel_terms(value))
        assert value.bias is not None
        product = Product(
            self.storage.scratch(value),
            tuple(operand for operand, _ in terms),
            tuple(matrix.contiguous() for _, matrix in terms),
            value.bias,
            self.initial.get(value),
            lead,
            clock,
        )
        yield product
        if ring is not None:
            yield Pointwise(ring, identity, (product.output,), lead, clock)

    def _pixel_terms(self, value: Value) -> Iterator[tuple[Window | Scratch, Tensor]]:
        for term in value.terms:
            if isinstance(term.source, Value) and len(self.plan.rows_at_once(term)) < len(term.rows):
                _, weight = term.rows[-1]
                late = self.plan.leads[term.source] - term.stride * self.plan.leads[value]
                ring = self.storage.by_pixel.get(term.source)
                matrix = weight.permute(2, 1, 0).flatten(0, 1)
                if ring is None:
                    yield self.storage.scratch(term.source), matrix
                else:
                    yield Window(ring, late - term.columns[0], length=weight.shape[2]), matrix

    def _pixel_operand(self, reader: Value, argument: Value | Static | float) -> Operand:
        if not isinstance(argument, Value):
            return self._static_operand(reader, argument)
        if not self.plan.by_pixel(argument):
            return self.storage.table(self.storage.scratch(argument))
        ring = self.storage.by_pixel.get(argument)
        if ring is None:
            return self.storage.scratch(argument)
        return Window(ring, self.plan.leads[argument] - self.plan.leads.get(reader, 0))

    # Side inputs and clocks -------------------------------------------------------------------------------------------

    def _side(self, value: Value) -> Table | None:
        """The table of a linear value's static terms, if it has any."""
        static = [term for term in value.terms if isinstance(term.source, Static)]
        assert value.bias is not None
        return self._side_of(value, value.channels, partial(self.sides.total, static, value.bias)) if static else None

    def _side_of(self, value: Value, channels: int, fill: Callable[[slice, tuple[int, int]], Tensor]) -> Table:
        table = self.layout.table(self.storage.width(value), channels)
        self.fillers.append((self.plan.strides[value], table, fill))
        return table

    def _row_clock(self, stride: int) -> Clock:
        height, width = self.plan.size(stride)
        places = torch.arange(width, device=self.layout.like.device).expand(height, -1)
        return Clock(np.ones((height, width), dtype=bool), places.contiguous(), 0)

    def _pixel_clock(self, stride: int) -> Clock:
        width = self.plan.size(stride)[1]
        column = np.arange(-1, width + 1)[:, None]
        valid = (column >= 0) & (column < width)
        return Clock(valid, torch.from_numpy(np.where(valid, column, width)).to(self.layout.like.device), -1)
