"""Adapters that make a prior or a decoder from any causal network."""

from __future__ import annotations

import attrs
from torch import Tensor

from auxar.interfaces import (
    ByChannel,
    CausalNetwork,
    Decoder,
    Head,
    Interval,
    Prior,
    RestrictableHead,
    Sampler,
    SampleRequest,
)
from auxar.sources import DrawSource, restrictable


class CausalPrior(Prior):
    """A prior p(X) given by a causal network without conditioning (paper, equation 1)."""

    def __init__(self, network: CausalNetwork) -> None:
        super().__init__()
        self.image = network.image
        self.network = network

    def log_prob(self, image: Tensor) -> Tensor:
        return self.pixel_log_prob(image).sum((1, 2))

    def pixel_log_prob(self, image: Tensor) -> Tensor:
        """The log-likelihood of each pixel given the pixels before it, in nats, shape (b, height, width)."""
        self.image.check(image)
        parameters = self.network(self.network.encode(image))
        return self.network.head.log_prob(parameters, image)

    def log_prob_by_channel(self, image: Tensor) -> ByChannel:
        self.image.check(image)
        return _by_channel(self.network.head, self.network(self.network.encode(image)), image)

    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        return sampler.sample(self.network, None, DrawSource.of(self.network, request))

    def initialize(self, image: Tensor) -> None:
        self.network.initialize(image)


class CausalDecoder(Decoder):
    """A decoder p(X | X̂) given by a causal network with features of the view X̂ as condition (paper, equation 3)."""

    def __init__(self, network: CausalNetwork) -> None:
        super().__init__()
        self.image = network.image
        self.features_channels = network.features_channels
        self.network = network
        self.restricts = isinstance(network.head, RestrictableHead)

    def log_prob(self, image: Tensor, features: Tensor, interval: Interval | None = None) -> Tensor:
        return self.pixel_log_prob(image, features, interval).sum((1, 2))

    def pixel_log_prob(self, image: Tensor, features: Tensor, interval: Interval | None = None) -> Tensor:
        """The log-likelihood of each pixel given the pixels before it, in nats, shape (b, height, width).

        `interval` has the possible values of a restricted decoder.
        """
        parameters = self._predict(image, features)
        if interval is None:
            return self.network.head.log_prob(parameters, image)
        return restrictable(self.network.head).restricted_log_prob(parameters, image, interval).sum(1)

    def log_prob_by_channel(
        self, image: Tensor, features: Tensor, interval: Interval | None = None, inside: Interval | None = None
    ) -> ByChannel:
        head, parameters = self.network.head, self._predict(image, features)
        if interval is not None:
            channels = restrictable(head).restricted_log_prob(parameters, image, interval).sum((2, 3))
            return ByChannel(channels.sum(1), channels)
        found = _by_channel(head, parameters, image)
        if inside is None:
            return found
        mass = restrictable(head).channel_log_mass(parameters, image, inside).sum((2, 3))
        return attrs.evolve(found, inside=mass)

    def draw(self, features: Tensor, request: SampleRequest, sampler: Sampler) -> Tensor:
        return sampler.sample(self.network, features, DrawSource.of(self.network, request))

    def initialize(self, image: Tensor, features: Tensor) -> None:
        self.network.initialize(image, features)

    def _predict(self, image: Tensor, features: Tensor) -> Tensor:
        self.image.check(image)
        found: Tensor = self.network(self.network.encode(image), features)
        return found


def _by_channel(head: Head, parameters: Tensor, image: Tensor) -> ByChannel:
    channels = head.channel_log_prob(parameters, image)
    return ByChannel(head.log_prob(parameters, image).sum((1, 2)), None if channels is None else channels.sum((2, 3)))
