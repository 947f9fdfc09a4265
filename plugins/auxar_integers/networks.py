"""Networks and embeddings that consist of integer operations."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from auxar import CausalNetwork, Embedding, Head, ImageSpec
from auxar.model.embedding import repeated
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


class IntegerEmbedding(Embedding):
    """An embedding that computes integer features with integers.

    `encode` converts views to the integers that the graph reads, and each row and column of its result is repeated as
    `repeats` says.
    """

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
        self.encode = encode
        self.repeats = repeats

    def forward(self, view: Tensor) -> Tensor:
        self.view.check(view, "view")
        return repeated(self.graph(image=self.encode(view)), *self.repeats)
