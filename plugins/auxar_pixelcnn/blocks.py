"""The gated residual block from which all PixelCNN++ networks are built."""

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor

from auxar import RecomputableBlock
from auxar_layers.convolutions import CausalConv2d, Conv2d, Convolution, Dropout, Pointwise
from auxar_layers.functional import concat_elu, gate


class GatedBlock(RecomputableBlock):
    """The residual block concat-ELU → conv (+ 1×1 conv of the side inputs) → concat-ELU → dropout → conv → gate → add.

    `convolution(inputs, outputs, initial_deviation=…)` builds the convolutions. `sides` lists the channels of the side
    inputs, which are concatenated. The outputs of the second convolution are small at first, so that a block starts
    close to the identity.
    """

    def __init__(
        self, filters: int, sides: Sequence[int], rate: float, convolution: Callable[..., Convolution]
    ) -> None:
        super().__init__()
        self.first = convolution(2 * filters, filters)
        self.side = Pointwise(sides, filters, activation=True) if sides else None
        self.dropout = Dropout(rate)
        self.second = convolution(2 * filters, 2 * filters, initial_deviation=0.1)

    def forward(self, x: Tensor, *sides: Tensor) -> Tensor:
        hidden = self.first(concat_elu(x))
        if self.side is not None:
            hidden = hidden + self.side(*sides)
        return x + gate(self.second(self.dropout(concat_elu(hidden))))


def u_block(filters: int, sides: Sequence[int], rate: float, kernel: int = 2) -> GatedBlock:
    """A block of the u stream, which depends on the rows above a pixel (Salimans et al. 2017, section 2.3).

    Its convolutions read 3 columns of `kernel` rows: the pixel's own row and the rows above it.
    """
    return GatedBlock(filters, sides, rate, partial(CausalConv2d, above=(0, kernel - 1), columns=(-1, 1)))


def ul_block(filters: int, sides: Sequence[int], rate: float, kernel: int = 2) -> GatedBlock:
    """A block of the ul stream, which depends on the rows above a pixel and on the pixels to its left.

    Its convolutions read `kernel` rows and columns that end at the pixel.
    """
    return GatedBlock(filters, sides, rate, partial(CausalConv2d, above=(0, kernel - 1), columns=(1 - kernel, 0)))


def ordinary_block(filters: int, sides: Sequence[int], rate: float) -> GatedBlock:
    """A block with ordinary (not causal) convolutions, for embeddings."""
    return GatedBlock(filters, sides, rate, Conv2d)
