"""What a step of a sampler does, as lists of instructions over storage of fixed size.

A value has one row for each slot of its clock and each image, slot-major: row = slot · batch + image. The lists are run
again and again, at other positions of the clocks; how they are run is another subject (`plain.py`, `native.py`).

The wavefront's slots are rows of the image, and its position is time. The cached sampler has one slot for the pixel
that is being drawn, with columns as positions; and, for what is computed for a row at once, a slot for each column,
with rows as positions.
"""

from __future__ import annotations

from collections.abc import Callable

import attrs
import numpy as np
from torch import Tensor


@attrs.frozen(eq=False)
class Clock:
    """Where the slots stand at each position that instructions of this clock are run at, from `origin` on."""

    valid: np.ndarray
    """(positions, slots): whether the slot stands inside the image."""
    places: Tensor
    """(positions, slots), int64: the row of a table that belongs to where it stands."""
    origin: int

    @property
    def slots(self) -> int:
        """Their number."""
        return self.valid.shape[1]


@attrs.frozen(eq=False)
class Ring:
    """The last `depth` values of every row; zeros, the padding of convolutions, where a slot is outside the image.

    For windows of several positions it holds them twice, so that none wraps. There are `before` slots ahead of the
    first one and some after the last: zeros, or with `wraps` copies of the last slots ahead of the first.
    """

    values: Tensor
    """((before + slots + after) · batch, copies · depth, channels)."""
    depth: int
    before: int
    wraps: bool
    clock: int


@attrs.frozen(eq=False)
class Scratch:
    """One value for every row, (rows, channels), until it is computed anew."""

    values: Tensor


@attrs.frozen(eq=False)
class Table:
    """What is known beforehand for each place: (places + 1, batch, channels), the last one zero."""

    values: Tensor


@attrs.frozen(eq=False)
class Window:
    """Values of a ring at `length` positions side by side, the oldest `delay` ago, of slot stride · slot + shift."""

    ring: Ring
    delay: int = 0
    shift: int = 0
    length: int = 1
    stride: int = 1


Operand = Window | Scratch | Table | float
Storage = Ring | Scratch


@attrs.frozen(eq=False)
class Product:
    """output = bias + initial + Σ operand · matrix, at slot stride · slot + phase of the output."""

    output: Scratch
    operands: tuple[Window | Scratch, ...]
    matrices: tuple[Tensor, ...]
    """(length · channels of the operand, outputs) each."""
    bias: Tensor
    """(outputs,); not added where there is an initial value, which contains it."""
    initial: Table | None
    lead: int
    clock: int = 0
    phase: int = 0
    stride: int = 1


@attrs.frozen(eq=False)
class Pointwise:
    """output = function(operands), each row by itself."""

    output: Storage
    function: Callable[..., Tensor]
    operands: tuple[Operand, ...]
    lead: int
    clock: int = 0


Instruction = Product | Pointwise


def identity(x: Tensor) -> Tensor:
    """The function of an instruction that copies."""
    return x


@attrs.frozen(eq=False)
class Layout:
    """What all storage of a program has in common."""

    batch: int
    like: Tensor
    """Of the device and dtype of all values."""

    def ring(
        self,
        slots: int,
        depth: int,
        channels: int,
        *,
        before: int = 0,
        after: int = 0,
        wraps: bool = False,
        copies: int = 2,
        clock: int = 0,
    ) -> Ring:
        """A ring of zeros."""
        values = self.like.new_zeros(((before + slots + after) * self.batch, copies * depth, channels))
        return Ring(values, depth, before, wraps, clock)

    def scratch(self, slots: int, channels: int) -> Scratch:
        """Zeros."""
        return Scratch(self.like.new_zeros((slots * self.batch, channels)))

    def table(self, places: int, channels: int) -> Table:
        """Zeros."""
        return Table(self.like.new_zeros((places + 1, self.batch, channels)))
