"""Runs a program with PyTorch's own operations, on any device and without a compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auxar_samplers.compiler.program import (
    Clock,
    Instruction,
    Layout,
    Operand,
    Pointwise,
    Product,
    Ring,
    Scratch,
    Table,
    Window,
)


class PlainEngine:
    """Each list of instructions as a list of calls."""

    def __init__(self, layout: Layout, clocks: Sequence[Clock], lists: Sequence[Sequence[Instruction]]) -> None:
        self.batch = layout.batch
        self.clocks = clocks
        self.invalid = [[_runs(~valid) for valid in clock.valid] for clock in clocks]
        self.positions: Sequence[int] = ()
        made: dict[Instruction, Callable[[], None]] = {}
        self.lists = [[made.setdefault(i, self._call(i)) for i in instructions] for instructions in lists]

    def run(self, number: int, positions: Sequence[int]) -> None:
        """Runs one list, every clock at its position."""
        self.positions = positions
        for call in self.lists[number]:
            call()

    def _call(self, instruction: Instruction) -> Callable[[], None]:
        return self._product(instruction) if isinstance(instruction, Product) else self._pointwise(instruction)

    def _product(self, instruction: Product) -> Callable[[], None]:
        reads = [self._reader(operand, instruction) for operand in instruction.operands]
        terms = list(zip(reads, instruction.matrices, strict=True))
        initial = None if instruction.initial is None else self._reader(instruction.initial, instruction)
        slots = self.clocks[instruction.clock].slots
        by_slot = instruction.output.values.view(-1, self.batch, instruction.output.values.shape[1])
        output = by_slot[instruction.phase :: instruction.stride][:slots]

        def product() -> None:
            total = instruction.bias if initial is None else initial()
            for read, matrix in terms:
                total = torch.addmm(total, read(), matrix)
            output.copy_(total.view(-1, self.batch, total.shape[1])[: len(output)])

        return product

    def _pointwise(self, instruction: Pointwise) -> Callable[[], None]:
        reads = [self._reader(operand, instruction) for operand in instruction.operands]
        function = instruction.function
        if isinstance(instruction.output, Ring):
            write = self._writer(instruction.output, instruction)
        else:
            write = instruction.output.values[: self.clocks[instruction.clock].slots * self.batch].copy_

        def pointwise() -> None:
            write(function(*[read() for read in reads]))

        return pointwise

    def _reader(self, operand: Operand, reader: Instruction) -> Callable[[], Any]:
        clock = self.clocks[reader.clock]
        rows = clock.slots * self.batch
        if isinstance(operand, Scratch):
            values = operand.values[:rows]
            return lambda: values
        if isinstance(operand, Table):
            table, offset = operand.values, reader.lead - clock.origin

            def look_up() -> Tensor:
                return table.index_select(0, clock.places[self.positions[reader.clock] + offset]).view(rows, -1)

            return look_up
        if isinstance(operand, Window):
            return self._window(operand, clock.slots)
        return lambda: operand

    def _window(self, window: Window, slots: int) -> Callable[[], Tensor]:
        ring = window.ring
        by_slot = ring.values.unflatten(0, (-1, self.batch))[ring.before + window.shift :: window.stride][:slots]
        # One view for each place in the ring, made when it is first needed.
        views: dict[int, Tensor] = {}

        def read() -> Tensor:
            first = (self.positions[ring.clock] - window.delay) % ring.depth
            if first not in views:
                views[first] = by_slot[:, :, first : first + window.length]
            return views[first].reshape(slots * self.batch, -1)

        return read

    def _writer(self, ring: Ring, writer: Pointwise) -> Callable[[Tensor], object]:
        clock = self.clocks[writer.clock]
        slots = clock.slots
        invalid = self.invalid[writer.clock]
        by_slot = ring.values.unflatten(0, (-1, self.batch))
        wrapped = range(1, ring.before + 1 if ring.wraps else 1)
        twice = ring.values.shape[1] > ring.depth

        def write(value: Tensor) -> None:
            position = self.positions[writer.clock]
            at = position % ring.depth
            column = by_slot[:, :, at]
            own = column[ring.before : ring.before + slots]
            own.copy_(value.view(slots, self.batch, -1))
            for first, last in invalid[position + writer.lead - clock.origin]:
                own[first:last] = 0
            for up in wrapped:
                column[ring.before - up] = own[-up % slots]
            if twice:
                by_slot[:, :, at + ring.depth] = column

        return write


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """[first, last) of every run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
