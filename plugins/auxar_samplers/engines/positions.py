"""Tables on the device, with the indices and masks that depend on the positions of a program's clocks.

A clock maps a position to the place of each slot (see `auxar_samplers.compiler.program`). Instructions need indices
into rings, indices of table rows, and masks of the slots inside the image. Each of these is a function of one clock's
position. They are tabulated before the run. Each step copies the table rows for its positions into fixed buffers, and
instructions hold views of these buffers. A step therefore needs no data from the host.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from auxar_samplers.compiler.program import Clock, Instruction, Keep, Program, Window


class Positions:
    """Indices and masks for a program's instructions, at the current positions of its clocks.

    `ring`, `places` and `valid` each register an index or mask and return a function that gives its current value. Call
    `finish` after the last registration to build the tables, and `advance` before each step.
    """

    def __init__(self, program: Program) -> None:
        device = program.layout.like.device
        pairs = zip(program.clocks, program.steps[:, 1:].T, strict=True)
        self.clocks = [_ClockTable(clock, positions) for clock, positions in pairs]
        self.steps = torch.from_numpy(np.column_stack([program.steps, program.draws])).to(device)
        self.draw = torch.zeros(1, dtype=torch.int64, device=device)
        """The row of `Program.places` that is drawn after the current step, or -1 if none is: int64 (1,)."""
        self.step = torch.zeros(1, dtype=torch.int64, device=device)
        """The number of the next step: int64 (1,)."""
        self.used = [sorted(set().union(*map(_clocks_of, one))) for one in program.lists]
        """The clocks whose positions each list reads."""

    def ring(self, clock: int, offset: int, capacity: int, steps: range) -> Callable[[], Tensor]:
        """Registers indices into a ring, (position + offset) mod capacity + s for s in `steps`: int64 (len(steps),)."""
        table = self.clocks[clock]
        number = table.add(np.mod(table.positions[:, None] + offset, capacity) + np.array(steps)[None])
        return lambda: table.indices[number]

    def places(self, clock: int, lead: int) -> Callable[[], Tensor]:
        """Registers the index of each slot in a `Table`, `lead` positions ahead of the clock: int64 (slots,)."""
        table = self.clocks[clock]
        number = table.add(table.at(table.clock.places.cpu().numpy(), lead))
        return lambda: table.indices[number]

    def valid(self, clock: int, lead: int) -> Callable[[], Tensor]:
        """Registers a mask of the slots inside the image, `lead` positions ahead of the clock: bool (slots,)."""
        table = self.clocks[clock]
        number = table.add(table.at(table.clock.valid, lead))
        return lambda: table.flags[number]

    def finish(self) -> None:
        """Builds the tables of all registered indices and masks. No registration may follow."""
        for table in self.clocks:
            table.finish(self.steps.device)

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


class _ClockTable:
    """The registered arrays of one clock, side by side, and a buffer with the row for its current position."""

    def __init__(self, clock: Clock, positions: np.ndarray) -> None:
        self.clock = clock
        self.positions = np.arange(positions.min(), positions.max() + 1)
        self.columns: list[np.ndarray] = []
        self.known: dict[bytes, int] = {}
        self.indices: Sequence[Tensor] = ()
        """The buffer's part for each registered array."""
        self.flags: Sequence[Tensor] = ()
        """The same parts as booleans."""

    def at(self, values: np.ndarray, lead: int) -> np.ndarray:
        """Selects rows of `Clock.valid` or `Clock.places` of this clock, one for each tabulated position + `lead`.

        Positions outside the array are clipped. Their rows are never read, because no instruction with this lead runs
        there.
        """
        found: np.ndarray = values[np.clip(self.positions + lead - self.clock.origin, 0, len(values) - 1)]
        return found

    def add(self, values: np.ndarray) -> int:
        """Registers `values` (positions, n). Returns the number of the part with the current position's row."""
        values = values.astype(np.int64)
        number = self.known.setdefault(values.tobytes(), len(self.columns))
        if number == len(self.columns):
            self.columns.append(values)
        return number

    def finish(self, device: torch.device) -> None:
        """Concatenates the registered arrays to one table, and makes the buffers."""
        if self.columns:
            self.table = torch.from_numpy(np.concatenate(self.columns, axis=1)).to(device)
            self.buffers = torch.empty_like(self.table[:1]), torch.empty_like(self.table[:1], dtype=torch.bool)
            widths = [column.shape[1] for column in self.columns]
            self.indices, self.flags = (buffer[0].split(widths) for buffer in self.buffers)

    def move(self, position: Tensor) -> None:
        """Copies the table's row for `position`, an int64 tensor (1,), into the buffers."""
        if self.columns:
            indices, flags = self.buffers
            torch.index_select(self.table, 0, position - int(self.positions[0]), out=indices)
            torch.ne(indices, 0, out=flags)
