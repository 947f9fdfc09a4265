"""The interface of embeddings f_w, which compute a decoder's features from a view (paper, equation 3)."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from auxar.interfaces.image import ImageSpec


class Embedding(nn.Module, abc.ABC):
    """An embedding f_w: a network that computes a decoder's features from a view (paper, equation 3)."""

    image: ImageSpec
    """Shape and range of the image that the decoder predicts."""
    view: ImageSpec
    """Shape and range of the view."""
    features_channels: int
    """Number of channels of the features, at least 1."""

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
