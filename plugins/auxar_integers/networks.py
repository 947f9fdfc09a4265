"""Networks and embeddings that consist of integer operations."""

from __future__ import annotations

from torch import Tensor

from auxar import CausalNetwork, Embedding, Head, ImageSpec
from auxar.interfaces.image import encode_integers
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
        features_of = {} if features is None else {"features": features}
        found: Tensor = self.graph(image=image, **features_of)
        return found


class IntegerEmbedding(Embedding):
    """An embedding that computes integer features with integers."""

    def __init__(
        self, view: ImageSpec, image: ImageSpec, features_channels: int, graph: IntegerGraph, *, marks_pixels: bool
    ) -> None:
        super().__init__()
        self.view = view
        self.image = image
        self.features_channels = features_channels
        self.graph = graph
        self.marks_pixels = marks_pixels

    def forward(self, view: Tensor) -> Tensor:
        self.view.check(view, "view")
        found: Tensor = self.graph(image=encode_integers(view, self.view.levels, marked=self.marks_pixels))
        return found
