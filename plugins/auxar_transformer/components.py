"""The options of the transformer in a recipe, and the function that builds the network from them."""

from __future__ import annotations

from functools import partial

import attrs

from auxar import HeadChoice, at_most, positive
from auxar_heads import logistic_mixture
from auxar_pixelcnn.components import MOST_BLOCKS, MOST_FILTERS, built, rate
from auxar_transformer.network import TransformerNetwork

MOST_HEADS = 1024


@attrs.frozen
class TransformerConfig:
    """A causal transformer over the pixels in raster order, in which each pixel depends on all earlier pixels.

    The time of attention grows with the square of the number of pixels: twice the height and width take 16 times as
    long. In drawing, the keys and values of all earlier pixels are kept. The transformer is meant for images up to
    32×32, and is hardly practical beyond 64×64.

    `auxar check` overestimates the cost. It counts the part of attention that the causal mask leaves out. In float32,
    it also assumes that every attention matrix is kept for the backward pass, which PyTorch's fused kernels avoid.
    """

    width: int = attrs.field(default=64, validator=[positive, at_most(MOST_FILTERS)])
    """Number of channels of every token, 1 … 16384, a multiple of `heads`. The hidden layer of each block has four
    times this number."""
    blocks: int = attrs.field(default=4, validator=[positive, at_most(MOST_BLOCKS)])
    """Number of blocks, 1 … 256. Each block consists of attention and a two-layer network."""
    heads: int = attrs.field(default=4, validator=[positive, at_most(MOST_HEADS)])
    """Number of attention heads of each block, 1 … 1024. Each has width / heads channels."""
    dropout: float = rate(0.1)
    """Dropout rate in training, 0 ≤ rate < 1, for the outputs of attention and of the two-layer network."""
    head: HeadChoice = attrs.field(factory=logistic_mixture)
    """Head (distribution of a pixel), such as `logistic_mixture` or `softmax`, with its options."""

    def __attrs_post_init__(self) -> None:
        width, heads = self.width, self.heads
        if width % heads:
            below = width - width % heads
            widths = [str(multiple) for multiple in (below, below + heads) if multiple]
            fewer = max(divisor for divisor in range(1, min(width, heads) + 1) if width % divisor == 0)
            raise ValueError(
                f"width must be divisible by heads (nearest: width = {' or '.join(widths)}, or heads = {fewer}), "
                f"got width = {width} and heads = {heads}"
            )


transformer = partial(built, TransformerNetwork)
"""The function that builds the network `transformer`."""
