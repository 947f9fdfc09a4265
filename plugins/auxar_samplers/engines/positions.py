"""The positions of a program's clocks on the device, and everything that follows from them.

Instructions read indices: of a ring, of a table's rows, of slots that stand inside of the image. All are functions of
one clock's position. They are tabulated beforehand, and a step copies the rows of its positions into fixed buffers, of
which instructions hold views. So a step needs no number from the host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from auxar_samplers.compiler.program import Instruction, Keep, Program, Window


class Positions:
    """Indices that follow from the clocks' positions.

    `ring`, `places` and `valid` register what instructions need and return functions that give it; `finish` makes the
    tables, and `advance` moves to the next step.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.device = program.layout.like.device
        self.clocks = [_ClockTables(number, program) for number in range(len(program.clocks))]
        self.steps = torch.from_numpy(np.column_stack([program.steps, program.draws])).to(self.device)
        self.draw = torch.zeros(1, dtype=torch.int64, device=self.device)
        """The row of `Program.places` whose pixels the present step asks for, or -1."""
        self.step = torch.zeros(1, dtype=torch.int64, device=self.device)
        self.used = [sorted(set().union(*map(_clocks_of, one))) for one in program.lists]

    def ring(self, clock: int, offset: int, capacity: int, steps: range) -> Callable[[], Tensor]:
        """(position + offset) mod capacity + each of the steps: indices into a ring, int64."""
        tables = self.clocks[clock]
        position = tables.positions[:, None]
        return tables.indices(np.mod(position + offset, capacity) + np.array(steps)[None])

    def places(self, clock: int, lead: int) -> Callable[[], Tensor]:
        """The rows of tables that belong to the slots, int64."""
        tables = self.clocks[clock]
        return tables.indices(tables.at(self.program.clocks[clock].places.cpu().numpy(), lead))

    def valid(self, clock: int, lead: int) -> Callable[[], Tensor]:
        """Whether each slot stands inside of the image, booleans."""
        tables = self.clocks[clock]
        return tables.flags(tables.at(self.program.clocks[clock].valid, lead))

    def finish(self) -> None:
        """Makes the tables of everything that has been registered."""
        for tables in self.clocks:
            tables.finish(self.device)

    def advance(self, number: int) -> None:
        """Moves to the next step, which runs that list."""
        row = self.steps.index_select(0, self.step)
        self.draw.copy_(row[:, -1])
        for clock in self.used[number]:
            self.clocks[clock].move(row[:, 1 + clock])
        self.step.add_(1)


def _clocks_of(instruction: Instruction) -> set[int]:
    """Numbers of the clocks whose positions an instruction depends on."""
    operands = () if isinstance(instruction, Keep) else instruction.operands
    return {instruction.clock, *(operand.ring.clock for operand in operands if isinstance(operand, Window))}


class _ClockTables:
    """Tables of one clock, with a row for each of its positions."""

    def __init__(self, number: int, program: Program) -> None:
        positions = program.steps[:, 1 + number]
        self.origin = int(positions.min())
        self.positions = np.arange(self.origin, int(positions.max()) + 1)
        self.clock = program.clocks[number]
        self.index_columns: list[np.ndarray] = []
        self.flag_columns: list[np.ndarray] = []
        self.index_buffer = self.index_table = torch.empty(0, dtype=torch.int64)
        self.flag_buffer = self.flag_table = torch.empty(0, dtype=torch.bool)
        self.views: dict[tuple[bool, int], Tensor] = {}
        self.known: dict[tuple[bool, bytes], int] = {}

    def at(self, values: np.ndarray, lead: int) -> np.ndarray:
        """Rows of a clock's array (its own positions, slots) at this clock's positions plus `lead`.

        Rows beyond the array belong to positions at which no list with that lead is run.
        """
        rows = np.clip(self.positions + lead - self.clock.origin, 0, len(values) - 1)
        return values[rows]

    def indices(self, values: np.ndarray) -> Callable[[], Tensor]:
        """A function that gives the row of `values` (positions, n) at the present position: int64."""
        number = self._registered(self.index_columns, values.astype(np.int64), flags=False)
        return lambda: self.views[False, number]

    def flags(self, values: np.ndarray) -> Callable[[], Tensor]:
        """The same for booleans."""
        number = self._registered(self.flag_columns, values.astype(bool), flags=True)
        return lambda: self.views[True, number]

    def _registered(self, columns: list[np.ndarray], values: np.ndarray, *, flags: bool) -> int:
        key = flags, hashlib.sha256(values.tobytes()).digest()
        if key not in self.known:
            self.known[key] = len(columns)
            columns.append(values)
        return self.known[key]

    def finish(self, device: torch.device) -> None:
        """Puts all columns side by side, and makes the buffers and their views."""
        self.index_table, self.index_buffer = self._table(self.index_columns, device, flags=False)
        self.flag_table, self.flag_buffer = self._table(self.flag_columns, device, flags=True)

    def _table(self, columns: Sequence[np.ndarray], device: torch.device, *, flags: bool) -> tuple[Tensor, Tensor]:
        if not columns:
            empty = torch.empty((len(self.positions), 0), dtype=torch.bool if flags else torch.int64, device=device)
            return empty, empty[:1]
        table = torch.from_numpy(np.concatenate(columns, axis=1)).to(device)
        buffer = torch.empty_like(table[:1])
        for number, view in enumerate(buffer[0].split([column.shape[1] for column in columns])):
            self.views[flags, number] = view
        return table, buffer

    def move(self, position: Tensor) -> None:
        """Fills the buffers for a position, int64 (1,)."""
        row = position - self.origin
        if self.index_columns:
            torch.index_select(self.index_table, 0, row, out=self.index_buffer)
        if self.flag_columns:
            torch.index_select(self.flag_table, 0, row, out=self.flag_buffer)
