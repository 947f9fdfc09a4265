"""Networks and embeddings that consist of integer operations."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from auxar import CausalNetwork, Head, ImageSpec, NetworkEmbedding
from auxar_integers.graph import IntegerGraph


class IntegerNetwork(CausalNetwork):
    """A causal network that computes with integers, and predicts integer parameters."""

    encodes_integers = True

    def __init__(
        self, image: ImageSpec, head: Head, features_channels: int, graph: IntegerGraph, *, marks_pixels: bool
    ) -> None:
        super().__init__()
        self.image = image
        self.head = head
        self.features_channels = features_channels
        self.graph = graph
        self.marks_pixels = marks_pixels

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        given = {} if features is None else {"features": features}
        found: Tensor = self.graph(image=image, **given)
        return found


class IntegerEmbedding(NetworkEmbedding):
    """An embedding that computes integer features with integers. `encode` converts views to what the graph reads."""

    def __init__(
        self,
        view: ImageSpec,
        image: ImageSpec,
        features_channels: int,
        graph: IntegerGraph,
        encode: Callable[[Tensor], Tensor],
        repeats: tuple[int, int],
    ) -> None:
        super().__init__()
        self.view = view
        self.image = image
        self.features_channels = features_channels
        self.graph = graph
        self.repeats = repeats
        self._encode = encode

    def encode(self, view: Tensor) -> Tensor:
        return self._encode(view)

    def features(self, view: Tensor) -> Tensor:
        found: Tensor = self.graph(image=view)
        return found
