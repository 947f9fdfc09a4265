"""Causal networks: predictions for every pixel that depend on the pixels before it alone."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from auxar.interfaces.head import Head
from auxar.interfaces.image import ImageSpec, mark, scale


class CausalNetwork(nn.Module, abc.ABC):
    """p(X | features) = Π p(x_i | x_1 … x_{i-1}, features) in raster order (paper, equations 1 and 3).

    What samplers work on. `features_channels` is 0 for a network without conditioning.
    """

    image: ImageSpec
    features_channels: int
    head: Head
    marks_pixels: bool = False
    """Whether `encode` adds a channel of ones, by which a network tells pixels from the zeros of padding."""

    @abc.abstractmethod
    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Parameters of every pixel's distribution, shape (b, head.parameter_count, h, w).

        Those at row r, column c depend on `image` before that pixel in raster order only. `image` is what `encode`
        gives; `features` has shape (b, features_channels, h, w).
        """

    def encode(self, image: Tensor) -> Tensor:
        """Integers (b, c, h, w) to the network's floating-point input, each pixel by itself: here to [-1, 1].

        With `marks_pixels`, a channel of ones follows: (b, c + 1, h, w).
        """
        scaled = scale(image, self.image.levels, next(self.parameters()).dtype)
        return mark(scaled) if self.marks_pixels else scaled

    def initialize(self, image: Tensor, features: Tensor | None = None) -> None:
        """Data-dependent initialization on a batch of integers; nothing unless an implementation has it."""
