"""A causal transformer over pixels (Vaswani et al. 2017; for images, Parmar et al. 2018)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import attrs
import torch
from torch import Tensor, nn
from torch.nn import functional

from auxar import Head, HeadChoice, ImageSpec, RecomputableBlock, StepwiseNetwork, at_most, positive
from auxar_heads import logistic_mixture
from auxar_layers.convolutions import Dropout
from auxar_layers.linear import LayerNorm, Linear
from auxar_pixelcnn.components import MOST_BLOCKS, MOST_FILTERS, built, rate

# The initial standard deviation of position embeddings. It is near that of embedded pixels, so that the position and
# the previous pixel contribute about equally to a token.
POSITION_DEVIATION = 0.5
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
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads, got width = {self.width} and heads = {self.heads}")


class KeysAndValues:
    """The keys and values of the tokens that an attention layer has read so far."""

    def __init__(self, batch: int, tokens: int, layer: CausalAttention) -> None:
        """Makes room for a number of tokens. `layer` gives their size, device and dtype."""
        width, weight = layer.outward.in_features, layer.outward.weight
        shape = (batch, layer.heads, tokens, width // layer.heads)
        self.keys, self.values = weight.new_empty(shape), weight.new_empty(shape)
        self.count = 0
        """Number of tokens."""

    def append(self, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor]:
        """Appends a token's key and value, (b, heads, 1, width / heads), and returns those of all tokens so far."""
        self.keys[:, :, self.count] = key[:, :, 0]
        self.values[:, :, self.count] = value[:, :, 0]
        self.count += 1
        return self.keys[:, :, : self.count], self.values[:, :, : self.count]


class CausalAttention(nn.Module):
    """Multi-head causal attention (Vaswani et al. 2017): every token attends to itself and to all earlier tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = Linear(width, 3 * width)
        self.outward = Linear(width, width)

    def forward(self, x: Tensor, past: KeysAndValues | None = None) -> Tensor:
        """Maps tokens (b, tokens, width) to tokens of the same shape.

        With `past`, x is a single token that follows the tokens whose keys and values `past` holds. Its own are added.
        """
        query, key, value = self.inward(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        if past is not None:
            key, value = past.append(key, value)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=past is None)
        return self.outward(mixed.transpose(1, 2).flatten(2))


class Block(RecomputableBlock):
    """A pre-norm block (Xiong et al. 2020): attention, then a two-layer network for each token.

    Each of the two has a layer norm before it and a residual connection around it.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.first_norm = LayerNorm(width)
        self.attention = CausalAttention(width, heads)
        self.second_norm = LayerNorm(width)
        self.pointwise = nn.Sequential(Linear(width, 4 * width), nn.GELU(), Linear(4 * width, width))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, past: KeysAndValues | None = None) -> Tensor:
        """Maps tokens (b, tokens, width) to tokens of the same shape. `past` is that of `CausalAttention`."""
        x = x + self.dropout(self.attention(self.first_norm(x), past))
        found: Tensor = x + self.dropout(self.pointwise(self.second_norm(x)))
        return found


class TransformerNetwork(StepwiseNetwork):
    """A causal transformer with one token for each pixel, in raster order.

    A token is the sum of an embedding of the previous pixel, one of the pixel's own position and, in a decoder, one of
    the features at that position. The prediction for pixel i therefore depends on pixels 1 … i - 1 and on the features
    of pixels 1 … i. The embedding of a position is the sum of a learned embedding of its row and one of its column.
    """

    def __init__(
        self,
        image: ImageSpec,
        head: Head,
        *,
        width: int,
        blocks: int,
        heads: int,
        features_channels: int,
        dropout: float,
    ) -> None:
        super().__init__()
        self.image = image
        self.head = head
        self.features_channels = features_channels
        self.rows = nn.Parameter(nn.init.normal_(torch.empty(image.height, 1, width), std=POSITION_DEVIATION))
        self.columns = nn.Parameter(nn.init.normal_(torch.empty(image.width, width), std=POSITION_DEVIATION))
        self.pixels = Linear(image.channels, width)
        self.features = Linear(features_channels, width, bias=False) if features_channels else None
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = LayerNorm(width)
        self.out = Linear(width, head.parameter_count)

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        pixels = self.pixels(image.flatten(2).transpose(1, 2))
        # The first pixel has no previous pixel, so this part of its token is zero.
        before = functional.pad(pixels[:, :-1], (0, 0, 1, 0))
        x = before + self.known_part(features)
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.out(self.norm(x)).transpose(1, 2).unflatten(2, self.image.shape[1:])
        return found

    def known_part(self, features: Tensor | None) -> Tensor:
        """The sum of the parts of each token that do not depend on pixels, shape (b or 1, tokens, width)."""
        places = (self.rows + self.columns).flatten(0, 1)[None]
        if self.features is None:
            return places
        assert features is not None
        return places + self.features(features.flatten(2).transpose(1, 2))

    def stepper(self, count: int, features: Tensor | None) -> Callable[[Tensor | None], Tensor]:
        known = self.known_part(features).expand(count, -1, -1)
        layers = [module for module in self.blocks.modules() if isinstance(module, CausalAttention)]
        pasts = [KeysAndValues(count, known.shape[1], layer) for layer in layers]
        tokens = iter(known.unbind(1))

        def predict(previous: Tensor | None) -> Tensor:
            x = next(tokens) if previous is None else next(tokens) + self.pixels(previous)
            x = x[:, None]
            for block, past in zip(self.blocks, pasts, strict=True):
                x = block(x, past)
            return self.out(self.norm(x))[:, 0]

        return predict


transformer = partial(built, TransformerNetwork)
"""The function that builds the network `transformer`."""
