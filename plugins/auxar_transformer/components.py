"""What a recipe can set of the transformer, and how it is built from it."""

from __future__ import annotations

import attrs

from auxar import CausalDecoder, CausalPrior, HeadChoice, ImageSpec, at_most, positive
from auxar_heads import logistic_mixture, upgraded
from auxar_pixelcnn.components import MOST_BLOCKS, MOST_FILTERS
from auxar_transformer.network import TransformerNetwork

MOST_HEADS = 1024


@attrs.frozen
class TransformerConfig:
    """A causal transformer over the pixels in raster order, each attending to all before it.

    Attention costs the square of the number of pixels, 16 times as much at twice the sides, and the raster sampler,
    which draws from it, one pass for each pixel: meant for up to 32×32, and hardly of use beyond 64×64. `auxar check`
    counts attention in full, what the causal mask leaves out as well, and memory as if every attention matrix were
    kept for the backward pass, which PyTorch's fused kernels avoid.
    """

    width: int = attrs.field(default=64, validator=[positive, at_most(MOST_FILTERS)])
    """Channels of every token, a multiple of `heads`, 1 … 16384; the hidden layer of each block has four times as
    many."""
    blocks: int = attrs.field(default=4, validator=[positive, at_most(MOST_BLOCKS)])
    """Blocks of attention and a two-layer network, 1 … 256."""
    heads: int = attrs.field(default=4, validator=[positive, at_most(MOST_HEADS)])
    """Attention heads of each block, 1 … 1024, which share out the width."""
    dropout: float = attrs.field(default=0.1, validator=[attrs.validators.ge(0.0), attrs.validators.lt(1.0)])
    """Share of values dropped from what each half of a block adds, while training."""
    head: HeadChoice = attrs.field(factory=logistic_mixture)
    """Distribution of a pixel: a head such as logistic_mixture or softmax, with its options."""

    upgraded = staticmethod(upgraded)

    def __attrs_post_init__(self) -> None:
        width, heads = self.width, self.heads
        if width % heads:
            below = width - width % heads
            widths = [str(multiple) for multiple in (below, below + heads) if multiple]
            fewer = max(divisor for divisor in range(1, min(width, heads) + 1) if width % divisor == 0)
            raise ValueError(
                f"width must be divisible by heads, got width = {width} and heads = {heads}; "
                f"nearest are width = {' or '.join(widths)}, or heads = {fewer}"
            )


def _network(config: TransformerConfig, image: ImageSpec, features_channels: int) -> TransformerNetwork:
    return TransformerNetwork(
        image,
        config.head.build(image),
        width=config.width,
        blocks=config.blocks,
        heads=config.heads,
        features_channels=features_channels,
        dropout=config.dropout,
    )


def prior(config: TransformerConfig, image: ImageSpec) -> CausalPrior:
    """p(X̂). Raises `UserError` for channels that the head does not take."""
    return CausalPrior(_network(config, image, 0))


def decoder(config: TransformerConfig, image: ImageSpec, features_channels: int) -> CausalDecoder:
    """p(X | X̂). Raises `UserError` for channels that the head does not take."""
    return CausalDecoder(_network(config, image, features_channels))
