"""Programs, which draw a batch of images in steps. Engines (`auxar_samplers.engines`) run them.

Each step runs a list of instructions on storage of fixed size. An instruction computes a value at several places at
once, one in each slot. A clock maps a position to the place of each slot. A value has one row for each slot of its
clock and each image: row = slot · batch + image. A step sets every clock to a position and runs one list. It may then
ask the pixel source for the pixels whose parameters are in `Program.output`.

A program of the wavefront sampler has one clock, whose slots are image rows and whose position is the time. A program
of the cached sampler has clocks of two kinds. A pixel clock has a single slot, the pixel being drawn, and its position
is the column. A row clock serves values that are computed for a whole row at once: it has a slot for each column, and
its position is the row.

An instruction computes a value `lead` positions ahead of its clock: at position p, it works at the places that the
clock gives for p + lead. The lead has no effect on where a ring is written and read. An instruction at position p
writes entry p mod capacity. A window with delay d reads consecutive entries, beginning with (q − d) mod capacity, where
q is the position of the ring's clock. Storage is contiguous and changed only in place, so an engine may keep pointers
to it. An engine may also keep the values of rings and scratches elsewhere, except for `Program.output`,
`Program.pixels` and memory that a table shares.
"""

from collections.abc import Callable, Iterator

import attrs
import numpy as np
import torch
from torch import Tensor

from auxar import CausalNetwork


@attrs.frozen(eq=False)
class Clock:
    """The places of slots. Row i of the arrays gives them for position + lead = origin + i."""

    valid: np.ndarray
    """Whether the place of each slot is inside the image: bool, shape (positions, slots)."""
    places: Tensor
    """The index of each slot's place in a `Table`: int64, shape (positions, slots)."""
    origin: int
    """The value of position + lead to which row 0 of the arrays belongs."""

    @property
    def slots(self) -> int:
        """The number of slots."""
        return len(self.valid[0])


@attrs.frozen(eq=False)
class Ring:
    """A ring buffer of the last `capacity` values of every slot and image.

    Places outside the image have zeros, as padding. A ring with two copies stores every value twice, `capacity` entries
    apart, so that a window of several positions is always contiguous. `before` extra slots precede the first slot, and
    others may follow the last one. Extra slots hold zeros, with one exception: if `wraps` is set, extra slot −k, for
    k = 1 … `before`, holds a copy of slot −k mod slots, so that the slots form a circle.
    """

    values: Tensor
    """The stored values, shape ((before + slots + after) · batch, copies · capacity, channels)."""
    capacity: int
    before: int
    wraps: bool
    clock: int


@attrs.frozen(eq=False)
class Scratch:
    """Storage for the latest value of every slot and image, shape (slots · batch, channels)."""

    values: Tensor


@attrs.frozen(eq=False)
class Table:
    """A value for each place, computed before the steps that read it: shape (places + 1, batch, channels).

    The last entry, for places outside the image, is zero.
    """

    values: Tensor


@attrs.frozen(eq=False)
class Window:
    """The values of a ring at `length` consecutive positions, concatenated along the channels.

    The oldest was written `delay` positions ago. Slot k of the reader reads slot stride · k + shift of the ring.
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
    """Computes output = start + Σ operand · matrix, where start is `initial` or, if that is None, `bias`.

    Slot k is written to the output's slot stride · k + phase, which must exist.
    """

    output: Scratch
    terms: tuple[tuple[Window | Scratch | Table, Tensor], ...]
    """Pairs of an operand and its matrix, of shape (length · channels, outputs), in any memory layout."""
    bias: Tensor
    """The bias, shape (outputs,). It is ignored if `initial` is given, because that table already contains the bias."""
    initial: Table | None
    """The table of start values of the sums, or None."""
    lead: int
    """The number of positions that the value is computed ahead of the clock."""
    clock: int = 0
    phase: int = 0
    stride: int = 1

    @property
    def operands(self) -> tuple[Window | Scratch | Table, ...]:
        """The operands without their matrices."""
        return tuple(operand for operand, _ in self.terms)


@attrs.frozen(eq=False)
class Pointwise:
    """Computes output = function(operands), independently for each slot and image. Windows have length 1."""

    output: Storage
    function: Callable[..., Tensor]
    """`identity`, or one of `auxar_samplers.compiler.tracer.FUNCTIONS`."""
    operands: tuple[Operand, ...]
    lead: int
    """The number of positions that the value is computed ahead of the clock."""
    clock: int = 0


@attrs.frozen(eq=False)
class Keep:
    """Copies an image row from a ring with one slot into a ring with a slot for each column.

    Slot k of the output gets entry first + k of the source. The position of the source's clock has no effect.
    """

    output: Ring
    source: Ring
    first: int
    clock: int
    lead: int = 0


Instruction = Product | Pointwise | Keep


def identity(x: Tensor) -> Tensor:
    """Returns its argument. A `Pointwise` instruction with this function copies a value."""
    return x


@attrs.frozen(eq=False)
class Layout:
    """Allocates the storage of a program. All storage has the same batch size, device and dtype."""

    batch: int
    like: Tensor
    """A tensor with the device and dtype of all values."""

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
        """Allocates a ring filled with zeros."""
        values = self.like.new_zeros(((before + slots + after) * self.batch, copies * capacity, channels))
        return Ring(values, capacity, before, wraps, clock)

    def scratch(self, slots: int, channels: int) -> Scratch:
        """Allocates a scratch filled with zeros."""
        return Scratch(self.like.new_zeros((slots * self.batch, channels)))

    def table(self, places: int, channels: int) -> Table:
        """Allocates a table filled with zeros."""
        return Table(self.like.new_zeros((places + 1, self.batch, channels)))


@attrs.frozen(eq=False)
class Program:
    """A program that draws a batch of images from a network: its steps, and the storage that they use."""

    network: CausalNetwork
    layout: Layout
    clocks: tuple[Clock, ...]
    lists: tuple[tuple[Instruction, ...], ...]
    """Lists of instructions. Each step runs one of them."""
    steps: np.ndarray
    """For each step, the index of its list and the position of every clock: int64, shape (steps, 1 + clocks)."""
    draws: np.ndarray
    """For each step, the row of `places` that is drawn after it, or -1 if none is: int64, shape (steps,)."""
    places: np.ndarray
    """The places of pixels that are drawn together: int64, shape (rows, slots).

    A place is image row · width + column, or height · width for a slot outside the image.
    """
    output: Scratch
    """The predicted parameters of the pixels to draw, with one row for each slot and image."""
    pixels: Scratch
    """The encoded pixels of the last draw, which the next step reads."""
    fills: tuple[tuple[int, Callable[[], None]], ...]
    """Pairs (step, function) in the order of steps. The function fills tables of side inputs before that step."""
    image: Tensor = attrs.field()
    """The pixels drawn so far, by place: int64, shape (h · w + 1, batch, c). The last place is "outside the image"."""

    @image.default
    def _blank(self) -> Tensor:
        channels, height, width = self.network.image.shape
        shape = (height * width + 1, self.layout.batch, channels)
        return torch.zeros(shape, dtype=torch.int64, device=self.layout.like.device)

    def bands(self) -> Iterator[tuple[int, int]]:
        """Yields the steps as ranges [first, last). Advancing the iterator fills the tables for the next range."""
        first = 0
        for step, fill in self.fills:
            if step > first:
                yield first, step
            fill()
            first = step
        yield first, len(self.steps)

    def encode(self, pixels: Tensor) -> Tensor:
        """Encodes pixels, integers (n, batch, c), as inputs of the network: (n · batch, channels)."""
        return self.network.encode(pixels.flatten(0, 1)[:, :, None, None]).flatten(1)

    def images(self) -> Tensor:
        """The drawn images: int64, shape (b, c, h, w)."""
        _, height, width = self.network.image.shape
        return self.image[:-1].view(height, width, self.layout.batch, -1).permute(2, 3, 0, 1).contiguous()
