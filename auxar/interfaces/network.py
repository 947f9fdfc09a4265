"""The interfaces of causal networks, which predict the parameters of each pixel from earlier pixels only."""

from __future__ import annotations

import abc
from collections.abc import Callable

from torch import Tensor, nn

from auxar.interfaces.head import Head
from auxar.interfaces.image import ImageSpec, encode_integers, mark, scale


class CausalNetwork(nn.Module, abc.ABC):
    """A network that predicts the parameters of each pixel's distribution from the pixels before it.

    It models p(X | features) = Π p(x_i | x_1 … x_{i-1}, features) in raster order (paper, equations 1 and 3). Samplers
    draw images with such a network.
    """

    image: ImageSpec
    """Shape and range of the images."""
    features_channels: int
    """Number of channels of the features, 0 for a network without conditioning."""
    head: Head
    """The likelihood head, which defines a pixel's distribution given its parameters."""
    marks_pixels: bool = False
    """Whether `encode` appends a channel of ones, which distinguishes pixels from zero padding."""
    encodes_integers: bool = False
    """Whether `encode` gives integers: its other results times levels − 1."""
    compiles: bool = False
    """Whether long trainings compile the network if the recipe does not set `training.compile`."""

    @abc.abstractmethod
    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Predicts the parameters of every pixel's distribution, shape (b, head.parameter_count, h, w).

        The parameters at row r, column c depend only on pixels of `image` that come before (r, c) in raster order.
        `image` is the output of `encode`, and `features` has shape (b, features_channels, h, w).
        """

    def encode(self, image: Tensor) -> Tensor:
        """Converts integers (b, c, h, w) to the network's floating-point input.

        Each pixel is converted alone and in the same way at every place, because samplers encode single pixels.
        The default scales to [-1, 1] and, if `marks_pixels` is true, appends a channel of ones: (b, c + 1, h, w). If
        `encodes_integers` is true, all of these are multiplied by levels − 1.
        """
        if self.encodes_integers:
            return encode_integers(image, self.image.levels, marked=self.marks_pixels)
        scaled = scale(image, self.image.levels, next(self.parameters()).dtype)
        return mark(scaled) if self.marks_pixels else scaled

    def initialize(self, image: Tensor, features: Tensor | None = None) -> None:
        """Initializes the weights from a batch of images (integers) and features. The default does nothing."""


class StepwiseNetwork(CausalNetwork):
    """A causal network that can also predict one pixel at a time, given values that it keeps of earlier pixels.

    A transformer keeps the keys and values of its attention layers, and a recurrent network its state. The sampler
    `stepwise` uses this to draw images without running the whole network for each pixel.
    """

    @abc.abstractmethod
    def stepper(self, count: int, features: Tensor | None) -> Callable[[Tensor | None], Tensor]:
        """Begins `count` images and returns a function that predicts their pixels one by one, in raster order.

        Each call of the function takes the preceding pixel as `encode` converts it, shape (count, channels of
        `encode`), or None for the first pixel. It returns the parameters of the next pixel, shape (count,
        head.parameter_count), which equal those of `forward` up to rounding. `features` has shape (count,
        features_channels, h, w), or is None.

        The network is in evaluation mode and gradients are off. Several such functions may be in use at the same time.
        """
