"""Conditional decoders: p(X | X̂), given the features of X̂ (paper, equation 3)."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from auxar.interfaces.image import ImageSpec, Interval
from auxar.interfaces.likelihood import ByChannel
from auxar.interfaces.request import SampleRequest
from auxar.interfaces.sampling import Sampler


class Decoder(nn.Module, abc.ABC):
    """p(X | X̂), given the features of X̂."""

    image: ImageSpec
    features_channels: int
    restricts: bool = False
    """Whether `log_prob` takes intervals and `draw` a restriction; other decoders are never given them."""

    @abc.abstractmethod
    def log_prob(self, image: Tensor, features: Tensor, interval: Interval | None = None) -> Tensor:
        """Integers (b, *image.shape) and features (b, features_channels, h, w) to nats, shape (b,).

        With an interval for every sub-pixel, of the image's shape, each is given that it lies in its own.
        """

    def log_prob_by_channel(
        self, image: Tensor, features: Tensor, interval: Interval | None = None, inside: Interval | None = None
    ) -> ByChannel:
        """`log_prob` and the share of each channel, where the decoder can tell channels apart: here the total alone.

        `inside` has intervals as well, but restricts nothing: a decoder may tell how much probability each channel
        leaves in them.
        """
        if interval is None:
            return ByChannel(self.log_prob(image, features))
        return ByChannel(self.log_prob(image, features, interval))

    @abc.abstractmethod
    def draw(self, features: Tensor, request: SampleRequest, sampler: Sampler) -> Tensor:
        """One image for each number of the request and row of `features`: int64, (b, *image.shape).

        A decoder that `restricts` gives every image a view that the request's restriction asks for.
        """

    def initialize(self, image: Tensor, features: Tensor) -> None:
        """Data-dependent initialization on a batch; nothing unless an implementation has it."""
