"""The residual block from which the networks are built."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import silu

from auxar import RecomputableBlock
from auxar_layers.convolutions import Convolution, Dropout, Pointwise


class ResidualBlock(RecomputableBlock):
    """The residual block x + 1×1 convolution(dropout(SiLU(convolution(x)))).

    The 1×1 convolution starts with zero weights, so that a block starts as the identity.
    """

    def __init__(self, filters: int, hidden: int, dropout: float, convolution: Convolution) -> None:
        super().__init__()
        self.convolution = convolution
        self.dropout = Dropout(dropout)
        self.project = Pointwise([hidden], filters, initial_deviation=0.0, normalized=False)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.project(self.dropout(silu(self.convolution(x))))
        return found
