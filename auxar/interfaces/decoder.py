"""The interface of decoders p(X | X̂), which get the features of the view X̂ (paper, equation 3)."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from auxar.interfaces.image import ImageSpec, Interval
from auxar.interfaces.likelihood import ByChannel
from auxar.interfaces.request import SampleRequest
from auxar.interfaces.sampling import Sampler


class Decoder(nn.Module, abc.ABC):
    """A decoder p(X | X̂): the distribution of an image given the features of its view."""

    image: ImageSpec
    """Shape and range of the image."""
    features_channels: int
    """Number of channels of the features."""
    restricts: bool = False
    """Whether the decoder can be restricted: `log_prob` accepts an interval, and `draw` a request with a restriction.
    Neither is passed to a decoder where this is false."""

    @abc.abstractmethod
    def log_prob(self, image: Tensor, features: Tensor, interval: Interval | None = None) -> Tensor:
        """Computes log p(image | features) in nats, shape (b,).

        `image` has integers of shape (b, *image.shape), and `features` has shape (b, features_channels, h, w). With
        `interval`, of the same shape as `image`, each sub-pixel's distribution is restricted to its interval.
        """

    def log_prob_by_channel(
        self, image: Tensor, features: Tensor, interval: Interval | None = None, inside: Interval | None = None
    ) -> ByChannel:
        """Computes `log_prob` in total and, if the decoder can, for each channel. The default gives only the total.

        `inside` also has an interval for each sub-pixel, but does not restrict the decoder. A decoder may use it to
        fill in `ByChannel.inside`.
        """
        if interval is None:
            return ByChannel(self.log_prob(image, features))
        return ByChannel(self.log_prob(image, features, interval))

    @abc.abstractmethod
    def draw(self, features: Tensor, request: SampleRequest, sampler: Sampler) -> Tensor:
        """Draws one image for each number of the request: int64, (b, *image.shape).

        `features` has shape (b, features_channels, h, w), with a row for each number. If the request has a restriction,
        the drawn images have its views. Only a decoder with `restricts` gets such a request.
        """

    def initialize(self, image: Tensor, features: Tensor) -> None:
        """Initializes the weights from a batch of images and features. The default does nothing."""
