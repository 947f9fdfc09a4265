"""A causal transformer over pixels (Vaswani et al. 2017; as a model of images, Parmar et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from auxar import CausalNetwork, Head, ImageSpec
from auxar_layers.convolutions import Dropout

# Near the size of an embedded pixel, so that a token tells where it is as clearly as what came before it.
POSITION_DEVIATION = 0.5


class Attention(nn.Module):
    """Multi-head attention of every token to itself and all before it."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.inward = nn.Linear(width, 3 * width)
        self.outward = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(b, tokens, width) to the same."""
        query, key, value = self.inward(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4).unbind(0)
        mixed = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        found: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return found


class Block(nn.Module):
    """Attention, then a two-layer network of each token alone, both with their norm before them (Xiong et al. 2020)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.first_norm = nn.LayerNorm(width)
        self.attention = Attention(width, heads)
        self.second_norm = nn.LayerNorm(width)
        self.pointwise = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """(b, tokens, width) to the same."""
        x = x + self.dropout(self.attention(self.first_norm(x)))
        found: Tensor = x + self.dropout(self.pointwise(self.second_norm(x)))
        return found


class TransformerNetwork(CausalNetwork):
    """One token for each pixel in raster order. It is made of the pixel before, its own place and the features there.

    So token i attends to pixels 1 … i - 1 and to the features of pixels 1 … i. Rows and columns have learned
    embeddings of their own, which add up to that of a place.
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
        # The first pixel has none before it; its token, zeros there, is told from the others by its place.
        before = functional.pad(pixels[:, :-1], (0, 0, 1, 0))
        x = before + (self.rows + self.columns).flatten(0, 1)
        if self.features is not None:
            assert features is not None
            x = x + self.features(features.flatten(2).transpose(1, 2))
        for block in self.blocks:
            x = block(x)
        found: Tensor = self.out(self.norm(x)).transpose(1, 2).unflatten(2, self.image.shape[1:])
        return found
