"""Runs a program with PyTorch's own operations, on any device and without a compiler."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auxar_pixelcnn.samplers.program import (
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
        pairs = list(zip(instruction.operands, instruction.matrices, strict=True))
        slots = self.clocks[instruction.clock].slots
        output = instruction.output.values
        strided = output.view(-1, self.batch, output.shape[1])[instruction.phase :: instruction.stride][:slots]

        def product() -> None:
            total = instruction.bias
            if instruction.initial is not None:
                total = self._read(instruction.initial, instruction)
            for operand, matrix in pairs:
                total = torch.addmm(total, self._read(operand, instruction), matrix)
            strided.copy_(total.view(-1, self.batch, total.shape[1])[: len(strided)])

        return product

    def _pointwise(self, instruction: Pointwise) -> Callable[[], None]:
        output = instruction.output

        def pointwise() -> None:
            value = instruction.function(*[self._read(operand, instruction) for operand in instruction.operands])
            if isinstance(output, Scratch):
                output.values[: len(value)] = value
            else:
                self._write(output, value, instruction)

        return pointwise

    def _read(self, operand: Operand, reader: Instruction) -> Any:
        clock = self.clocks[reader.clock]
        rows = clock.slots * self.batch
        if isinstance(operand, Scratch):
            return operand.values[:rows]
        if isinstance(operand, Table):
            places = clock.places[self.positions[reader.clock] + reader.lead - clock.origin]
            return operand.values.index_select(0, places).view(rows, -1)
        if isinstance(operand, Window):
            ring = operand.ring
            first = (self.positions[ring.clock] - operand.delay) % ring.depth
            by_slot = ring.values.unflatten(0, (-1, self.batch))[ring.before + operand.shift :: operand.stride]
            window = by_slot[: clock.slots, :, first : first + operand.length]
            return window.reshape(rows, -1)
        return operand

    def _write(self, ring: Ring, value: Tensor, writer: Pointwise) -> None:
        clock = self.clocks[writer.clock]
        position = self.positions[writer.clock]
        at = position % ring.depth
        by_slot = ring.values.unflatten(0, (-1, self.batch))
        own = by_slot[ring.before : ring.before + clock.slots]
        own[:, :, at] = value.view(clock.slots, self.batch, -1)
        for first, last in self.invalid[writer.clock][position + writer.lead - clock.origin]:
            own[first:last, :, at] = 0
        for up in range(1, ring.before + 1 if ring.wraps else 1):
            by_slot[ring.before - up, :, at] = own[-up % clock.slots, :, at]
        if ring.values.shape[1] > ring.depth:
            ring.values[:, at + ring.depth] = ring.values[:, at]


def _runs(flags: np.ndarray) -> list[tuple[int, int]]:
    """[first, last) of every run of true flags."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], flags, [False]]).astype(np.int8)))
    return [(int(first), int(last)) for first, last in edges.reshape(-1, 2)]
