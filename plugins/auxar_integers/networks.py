"""Networks and embeddings that consist of integer operations."""

from __future__ import annotations

from typing import Self

from torch import Tensor

from auxar import CausalNetwork, Head, ImageSpec, NetworkEmbedding
from auxar_integers.graph import IntegerGraph
from auxar_integers.tracing import sizes_of


class IntegerNetwork(CausalNetwork):
    """A causal network that computes with integers, and predicts integer parameters.

    `own` is the floating-point network that `graph` was made from. Its weights are not used.
    """

    encodes_integers = True

    def __init__(self, own: CausalNetwork, head: Head, graph: IntegerGraph) -> None:
        super().__init__()
        self.image = own.image
        self.head = head
        self.features_channels = own.features_channels
        self.graph = graph
        self.marks_pixels = own.marks_pixels
        self.any_size = own.any_size
        self._own = (own,)  # In a tuple, because it is no part of this module.

    def at(self, image: ImageSpec) -> Self:
        own = self._own[0].at(image)
        return type(self)(own, self.head, self.graph.with_sizes(sizes_of(own)))

    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        given = {} if features is None else {"features": features}
        found: Tensor = self.graph(image=image, **given)
        return found


class IntegerEmbedding(NetworkEmbedding):
    """An embedding that computes integer features with integers.

    `own` is the floating-point embedding that `graph` was made from. Its weights are not used.
    """

    def __init__(self, own: NetworkEmbedding, graph: IntegerGraph) -> None:
        super().__init__()
        self.view = own.view
        self.image = own.image
        self.features_channels = own.features_channels
        self.graph = graph
        self.repeats = own.repeats
        self.any_size = own.any_size
        self._own = (own,)

    def at(self, view: ImageSpec, image: ImageSpec) -> Self:
        own = self._own[0].at(view, image)
        return type(self)(own, self.graph.with_sizes(sizes_of(own)))

    def encode(self, view: Tensor) -> Tensor:
        return self._own[0].encode_integers(view)

    def features(self, view: Tensor) -> Tensor:
        found: Tensor = self.graph(image=view)
        return found
