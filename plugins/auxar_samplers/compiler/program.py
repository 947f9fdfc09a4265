"""Programs: all the work of drawing images, as steps that run lists of instructions over storage of fixed size.

A value has one row for each slot of its clock and each image, slot-major: row = slot · batch + image. A step runs one
list with every clock at a given position, and may then ask the source for the pixels that its output predicts. Engines
run programs (`auxar_samplers.engines`).

The wavefront's slots are rows of the image, and its position is time. The cached sampler has one slot for the pixel
that is being drawn, with columns as positions; and a slot for each column, with rows as positions, for values that are
computed for a whole row at once.

An instruction computes a value `lead` positions ahead of its clock: at position p a slot stands where the clock says it
does at p + lead. Rings are written and read by position alone: an instruction writes the entry p mod capacity, and a
window with delay d reads the entries from (q − d) mod capacity on, where q is the position of the ring's own clock.
Storage is contiguous and filled in place, so an engine may share its memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar import CausalNetwork


@attrs.frozen(eq=False)
class Clock:
    """The places of slots: row i of the arrays holds for position + lead = origin + i."""

    valid: np.ndarray
    """(positions, slots): whether the slot stands inside the image."""
    places: Tensor
    """(positions, slots), int64: the row of tables that belongs to the slot's place."""
    origin: int

    @property
    def slots(self) -> int:
        """The number of slots."""
        found: int = self.valid.shape[1]
        return found


@attrs.frozen(eq=False)
class Ring:
    """The last `capacity` values of every row; zeros, the padding of convolutions, where a slot is outside the image.

    A ring with two copies holds every value twice, `capacity` apart, so that no window of several positions wraps
    around its end. There are `before` slots ahead of the first one and some after the last. They hold zeros; with
    `wraps`, slot k ahead of the first one, k = 1 … before, holds a copy of slot (−k mod slots).
    """

    values: Tensor
    """((before + slots + after) · batch, copies · capacity, channels)."""
    capacity: int
    before: int
    wraps: bool
    clock: int


@attrs.frozen(eq=False)
class Scratch:
    """One value for every row, until it is computed anew: (rows, channels)."""

    values: Tensor


@attrs.frozen(eq=False)
class Table:
    """Values by place that are computed beforehand: (places + 1, batch, channels), the last one zero."""

    values: Tensor


@attrs.frozen(eq=False)
class Window:
    """Values of a ring at `length` positions side by side, the oldest of them `delay` positions ago.

    Slot k of the reader gets them from the ring's slot stride · k + shift.
    """

    ring: Ring
    delay: int = 0
    shift: int = 0
    length: int = 1
    stride: int = 1


Operand = Window | Scratch | Table | float
Storage = Ring | Scratch


@attrs.frozen(eq=False)
class Product:
    """output = bias + initial + Σ operand · matrix.

    Slot k is written to the output's slot stride · k + phase; slots beyond the output's last one are dropped.
    """

    output: Scratch
    operands: tuple[Window | Scratch, ...]
    matrices: tuple[Tensor, ...]
    """(length · channels of the operand, outputs) each, of any layout in memory: engines pack them as they need."""
    bias: Tensor
    """(outputs,). It is not added where there is an initial value: the table already contains the bias."""
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
    """`identity`, or one of `auxar_samplers.compiler.trace.FUNCTIONS`."""
    operands: tuple[Operand, ...]
    lead: int
    clock: int = 0


@attrs.frozen(eq=False)
class Keep:
    """Copies a row from a ring with one slot into a ring with a slot for each column.

    Slot k of the output gets the source's entry first + k, whatever the position of the source's clock.
    """

    output: Ring
    source: Ring
    first: int
    clock: int
    lead: int = 0


Instruction = Product | Pointwise | Keep


def identity(x: Tensor) -> Tensor:
    """The function of an instruction that copies."""
    return x


@attrs.frozen(eq=False)
class Layout:
    """Batch size, device and dtype, which all storage of a program shares."""

    batch: int
    like: Tensor
    """A tensor whose device and dtype all values have."""

    def ring(
        self,
        slots: int,
        capacity: int,
        channels: int,
        *,
        before: int = 0,
        after: int = 0,
        wraps: bool = False,
        copies: int = 2,
        clock: int = 0,
    ) -> Ring:
        """A ring of zeros."""
        values = self.like.new_zeros(((before + slots + after) * self.batch, copies * capacity, channels))
        return Ring(values, capacity, before, wraps, clock)

    def scratch(self, slots: int, channels: int) -> Scratch:
        """A scratch of zeros."""
        return Scratch(self.like.new_zeros((slots * self.batch, channels)))

    def table(self, places: int, channels: int) -> Table:
        """A table of zeros."""
        return Table(self.like.new_zeros((places + 1, self.batch, channels)))


@attrs.frozen(eq=False)
class Program:
    """All steps of drawing a batch of images from a network, and the storage they work on."""

    network: CausalNetwork
    layout: Layout
    clocks: tuple[Clock, ...]
    lists: tuple[tuple[Instruction, ...], ...]
    steps: np.ndarray
    """int64, (steps, 1 + clocks): the number of the list to run, and the position of every clock."""
    draws: np.ndarray
    """int64, (steps,): the row of `places` whose pixels are asked for after the step, or -1 for none."""
    places: np.ndarray
    """int64, (rows, slots): the place row · width + column of each slot's pixel, height · width if outside."""
    output: Scratch
    """The predicted parameters, a row for each slot and image."""
    pixels: Scratch
    """The encoded pixels of the last draw, which the next step reads."""
    fills: tuple[tuple[int, Callable[[], None]], ...]
    """(step, function) in order: functions that fill tables of side inputs before that step."""
    image: Tensor
    """int64, (h · w + 1, batch, c): the pixels drawn so far by place; the last row stands for places outside."""

    def bands(self) -> Iterator[tuple[int, int]]:
        """The steps as ranges [first, last) that run without a pause; tables are filled in between."""
        first = 0
        for step, fill in self.fills:
            if step > first:
                yield first, step
            fill()
            first = step
        yield first, len(self.steps)

    def encode(self, pixels: Tensor) -> Tensor:
        """Pixels, integers (n, batch, c), in the form in which the network reads them: (n · batch, channels)."""
        return self.network.encode(pixels.flatten(0, 1)[:, :, None, None]).flatten(1)

    def images(self) -> Tensor:
        """The drawn images: int64, (b, c, h, w)."""
        _, height, width = self.network.image.shape
        by_row = self.image[:-1].view(height, width, self.layout.batch, -1)
        return by_row.permute(2, 3, 0, 1).contiguous()


def blank_image(network: CausalNetwork, layout: Layout) -> Tensor:
    """Storage for the drawn pixels of a program: zeros."""
    channels, height, width = network.image.shape
    shape = (height * width + 1, layout.batch, channels)
    return torch.zeros(shape, dtype=torch.int64, device=layout.like.device)
