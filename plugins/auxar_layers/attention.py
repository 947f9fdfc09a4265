"""Causal self-attention over tokens, for all tokens at once or for one token after another."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from auxar_layers.linear import Linear


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
        found: Tensor = self.outward(mixed.transpose(1, 2).flatten(2))
        return found
