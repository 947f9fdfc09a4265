"""The interface of embeddings f_w, which compute a decoder's features from a view (paper, equation 3)."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from auxar.interfaces.image import ImageSpec, mark, scale


class Embedding(nn.Module, abc.ABC):
    """An embedding f_w: a network that computes a decoder's features from a view (paper, equation 3)."""

    image: ImageSpec
    """Shape and range of the image that the decoder predicts."""
    view: ImageSpec
    """Shape and range of the view."""
    features_channels: int
    """Number of channels of the features, at least 1."""
    compiles: bool = False
    """Whether long trainings compile the embedding if the recipe does not set `training.compile`."""

    @abc.abstractmethod
    def forward(self, view: Tensor) -> Tensor:
        """Computes the features of views.

        Args:
            view: Integers, shape (b, *view.shape).

        Returns:
            Floats, shape (b, features_channels, image.height, image.width).
        """

    def initialize(self, view: Tensor) -> None:
        """Initializes the weights from a batch of views. The default does nothing."""


class NetworkEmbedding(Embedding):
    """An embedding that encodes the view as a network's input, like a `CausalNetwork`, and computes features from it.

    Unlike other embeddings, it can be converted to integer arithmetic, if its layers can.
    """

    marks_pixels: bool = False
    """Whether `encode` appends a channel of ones, which distinguishes pixels from zero padding."""

    @abc.abstractmethod
    def features(self, view: Tensor) -> Tensor:
        """Computes the features, shape (b, features_channels, image.height, image.width), from an encoded view."""

    def encode(self, view: Tensor) -> Tensor:
        """Scales integers (b, c, h, w) to [-1, 1] and, if `marks_pixels` is true, appends a channel of ones."""
        scaled = scale(view, self.view.levels, next(self.parameters()).dtype)
        return mark(scaled) if self.marks_pixels else scaled

    def forward(self, view: Tensor) -> Tensor:
        self.view.check(view, "view")
        return self.features(self.encode(view))
