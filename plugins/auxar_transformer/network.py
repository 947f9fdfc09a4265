"""A causal transformer over pixels (Vaswani et al. 2017; for images, Parmar et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from auxar import CausalNetwork, Head, ImageSpec, RecomputableBlock
from auxar_layers.convolutions import Dropout

# The initial standard deviation of position embeddings. It is near that of embedded pixels, so that the position and
# the previous pixel contribute about equally to a token.
POSITION_DEVIATION = 0.5


class Attention(nn.Module):
    """Multi-head causal attention: every token attends to itself and to all earlier tokens."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens (b, tokens, width) to tokens of the same shape."""
        query, key, value = self.inward(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        found: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return found


class Block(RecomputableBlock):
    """A pre-norm block (Xiong et al. 2020): attention, then a two-layer network for each token.

    Each of the two has a layer norm before it and a residual connection around it.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.first_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.second_norm = nn.LayerNorm(width)
        self.pointwise = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Maps tokens (b, tokens, width) to tokens of the same shape."""
        x = x + self.dropout(self.attention(self.first_norm(x)))
        found: Tensor = x + self.dropout(self.pointwise(self.second_norm(x)))
        return found


class TransformerNetwork(CausalNetwork):
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
        self.pixels = nn.Linear(image.channels, width)
        self.features = nn.Linear(features_channels, width, bias=False) if features_channels else None
        self.blocks = nn.ModuleList(Block(width, heads, dropout) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, head.parameter_count)

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        pixels = self.pixels(image.flatten(2).transpose(1, 2))
        # The first pixel has no previous pixel, so this part of its token is zero.
        before = functional.pad(pixels[:, :-1], (0, 0, 1, 0))
        x = before + (self.rows + self.columns).flatten(0, 1)
        if self.features is not None:
            assert features is not None
            x = x + self.features(features.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.out(self.norm(x)).transpose(1, 2).unflatten(2, self.image.shape[1:])
        return found
