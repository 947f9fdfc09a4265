"""Embeddings: f_w, the features of a view that a decoder sees (paper, equation 3)."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from auxar.interfaces.image import ImageSpec


class Embedding(nn.Module, abc.ABC):
    """f_w: what the decoder learns of the view (paper, equation 3)."""

    image: ImageSpec
    view: ImageSpec
    features_channels: int

    @abc.abstractmethod
    def forward(self, view: Tensor) -> Tensor:
        """Integers (b, *view.shape) to floats (b, features_channels, image.height, image.width)."""

    def initialize(self, view: Tensor) -> None:
        """Data-dependent initialization on a batch of views; nothing unless an implementation has it."""
