"""Initialization of a causal network from a batch of images."""

import torch
from torch import Tensor

from auxar import CENTER_BITS, CausalNetwork, Head, ImageSpec, scale
from auxar.numerics.threads import threads
from auxar_layers.convolutions import Convolution, data_dependent_initialization

INITIAL_DEVIATION = 0.1
"""The initial standard deviation of predictions around the distribution of all colors (`Head.initial_parameters`).

With larger ones, training first has to undo random predictions. This takes long for pixels with few or no others before
them, such as the first one, and samples then begin with wrong colors there. Around centers, distributions are narrower,
and so are the deviations."""


class InitializedNetwork(CausalNetwork):
    """The base class of convolutional networks for images of any size. Their last layer `out` gives the parameters."""

    marks_pixels = True
    any_size = True
    out: Convolution

    def __init__(self, image: ImageSpec, head: Head, features_channels: int) -> None:
        super().__init__()
        self.image = image
        self.head = head
        self.features_channels = features_channels

    def initialize(self, image: Tensor, features: Tensor | None = None, centers: Tensor | None = None) -> None:
        """Initializes all layers from a batch, and starts predictions at the distribution of all its pixels."""
        with data_dependent_initialization(self):
            self(self.encode(image), features)
        start = self.head.initial_parameters(image, centers)
        if start is not None:
            self.out.start_at(start, INITIAL_DEVIATION * _share_left(image, self.image.levels, centers))


def _share_left(image: Tensor, levels: int, centers: Tensor | None) -> float:
    """The standard deviation of values around their centers, relative to that of the values: 0.1 … 1."""
    values = scale(image, levels, torch.float64)
    # With several threads, sums depend on the number of threads.
    with threads(1):
        if centers is None or not (whole := float(values.std(correction=0))):
            return 1.0
        return min(
            1.0, max(0.1, float((values - centers[:, : values.shape[1]] * 2.0**-CENTER_BITS).std(correction=0)) / whole)
        )
