"""Tables on the device, with the indices and masks that depend on the positions of a program's clocks.

A clock maps a position to the place of each slot (see `auxar_samplers.compiler.program`). Instructions need indices
into rings, indices of table rows, and masks of the slots inside the image. Each of these is a function of one clock's
position. They are tabulated before the run. Each step copies the table rows for its positions into fixed buffers, and
instructions hold views of these buffers. A step therefore needs no data from the host.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from auxar_samplers.compiler.program import Instruction, Keep, Program, Window


class Positions:
    """Indices and masks for a program's instructions, at the current positions of its clocks.

    `ring`, `places` and `valid` each register an index or mask and return a function that gives its current value. Call
    `finish` after the last registration to build the tables, and `advance` before each step.
    """

    def __init__(self, program: Program) -> None:
        self.program = program
        self.device = program.layout.like.device
        self.clocks = [_ClockTables(number, program) for number in range(len(program.clocks))]
        self.steps = torch.from_numpy(np.column_stack([program.steps, program.draws])).to(self.device)
        self.draw = torch.zeros(1, dtype=torch.int64, device=self.device)
        """The row of `Program.places` that is drawn after the current step, or -1 if none is: int64 (1,)."""
        self.step = torch.zeros(1, dtype=torch.int64, device=self.device)
        """The number of the next step: int64 (1,)."""
        self.used = [sorted(set().union(*map(_clocks_of, one))) for one in program.lists]
        """The clocks whose positions each list reads."""

    def ring(self, clock: int, offset: int, capacity: int, steps: range) -> Callable[[], Tensor]:
        """Registers indices into a ring, (position + offset) mod capacity + s for s in `steps`: int64 (len(steps),)."""
        tables = self.clocks[clock]
        position = tables.positions[:, None]
        return tables.indices.add(np.mod(position + offset, capacity) + np.array(steps)[None])

    def places(self, clock: int, lead: int) -> Callable[[], Tensor]:
        """Registers the index of each slot in a `Table`, `lead` positions ahead of the clock: int64 (slots,)."""
        tables = self.clocks[clock]
        return tables.indices.add(tables.at(self.program.clocks[clock].places.cpu().numpy(), lead))

    def valid(self, clock: int, lead: int) -> Callable[[], Tensor]:
        """Registers a mask of the slots inside the image, `lead` positions ahead of the clock: bool (slots,)."""
        tables = self.clocks[clock]
        return tables.flags.add(tables.at(self.program.clocks[clock].valid, lead))

    def finish(self) -> None:
        """Builds the tables of all registered indices and masks. No registration may follow."""
        for tables in self.clocks:
            tables.indices.finish(self.device)
            tables.flags.finish(self.device)

    def advance(self, number: int) -> None:
        """Moves to the next step, which runs the list with the given number."""
        row = self.steps.index_select(0, self.step)
        self.draw.copy_(row[:, -1])
        for clock in self.used[number]:
            self.clocks[clock].move(row[:, 1 + clock])
        self.step.add_(1)


def _clocks_of(instruction: Instruction) -> set[int]:
    """The indices of the clocks whose positions an instruction depends on."""
    operands = () if isinstance(instruction, Keep) else instruction.operands
    return {instruction.clock, *(operand.ring.clock for operand in operands if isinstance(operand, Window))}


class _ClockTables:
    """Tables of one clock, with a row for each of its positions."""

    def __init__(self, number: int, program: Program) -> None:
        positions = program.steps[:, 1 + number]
        self.origin = int(positions.min())
        self.positions = np.arange(self.origin, int(positions.max()) + 1)
        self.clock = program.clocks[number]
        self.indices, self.flags = _Table(np.int64), _Table(np.bool_)

    def at(self, values: np.ndarray, lead: int) -> np.ndarray:
        """Selects rows of `Clock.valid` or `Clock.places` of this clock, one for each tabulated position + `lead`.

        Positions outside the array are clipped. Their rows are never read, because no instruction with this lead runs
        there.
        """
        rows = np.clip(self.positions + lead - self.clock.origin, 0, len(values) - 1)
        return values[rows]

    def move(self, position: Tensor) -> None:
        """Copies the table rows for `position`, an int64 tensor (1,), into the buffers."""
        row = position - self.origin
        self.indices.move(row)
        self.flags.move(row)


class _Table:
    """Registered arrays of one type, side by side, and a buffer with the row for the current position."""

    def __init__(self, dtype: type[np.generic]) -> None:
        self.dtype = dtype
        self.columns: list[np.ndarray] = []
        self.known: dict[bytes, int] = {}
        self.views: Sequence[Tensor] = ()

    def add(self, values: np.ndarray) -> Callable[[], Tensor]:
        """Registers `values` (positions, n). Returns a function that gives the current position's row, (n,)."""
        values = values.astype(self.dtype)
        number = self.known.setdefault(hashlib.sha256(values.tobytes()).digest(), len(self.columns))
        if number == len(self.columns):
            self.columns.append(values)
        return lambda: self.views[number]

    def finish(self, device: torch.device) -> None:
        """Concatenates the registered arrays to one table, and makes the buffer and its views."""
        if self.columns:
            self.table = torch.from_numpy(np.concatenate(self.columns, axis=1)).to(device)
            self.buffer = torch.empty_like(self.table[:1])
            self.views = self.buffer[0].split([column.shape[1] for column in self.columns])

    def move(self, row: Tensor) -> None:
        """Copies a row of the table, whose number is an int64 tensor (1,), into the buffer."""
        if self.columns:
            torch.index_select(self.table, 0, row, out=self.buffer)
