"""Any causal network as a prior or as a decoder."""

from __future__ import annotations

from torch import Tensor

from auxar.interfaces import CausalNetwork, Decoder, Draws, Head, Known, Prior, Sampler


class CausalPrior(Prior):
    """p(X) of a causal network without conditioning (paper, equation 1)."""

    def __init__(self, network: CausalNetwork) -> None:
        super().__init__()
        self.image = network.image
        self.network = network

    def log_prob(self, image: Tensor) -> Tensor:
        self.image.check(image)
        parameters = self.network(self.network.encode(image))
        return self.network.head.log_prob(parameters, image).sum((1, 2))

    def log_prob_by_channel(self, image: Tensor) -> tuple[Tensor, Tensor | None]:
        """`log_prob`, and of it each channel's given those before: nats, shapes (b,) and (b, c).

        No channels, but None, where the network's head does not tell them apart.
        """
        self.image.check(image)
        return _by_channel(self.network.head, self.network(self.network.encode(image)), image)

    def draw(self, draws: Draws, sampler: Sampler, known: Known | None = None) -> Tensor:
        return sampler.sample(self.network, None, draws, known)

    def initialize(self, image: Tensor) -> None:
        self.network.initialize(image)


class CausalDecoder(Decoder):
    """p(X | X̂) of a causal network that is conditioned on features (paper, equation 3)."""

    def __init__(self, network: CausalNetwork) -> None:
        super().__init__()
        self.image = network.image
        self.features_channels = network.features_channels
        self.network = network

    def log_prob(self, image: Tensor, features: Tensor) -> Tensor:
        self.image.check(image)
        parameters = self.network(self.network.encode(image), features)
        return self.network.head.log_prob(parameters, image).sum((1, 2))

    def log_prob_by_channel(self, image: Tensor, features: Tensor) -> tuple[Tensor, Tensor | None]:
        """`log_prob`, and of it each channel's given those before: nats, shapes (b,) and (b, c).

        No channels, but None, where the network's head does not tell them apart.
        """
        self.image.check(image)
        return _by_channel(self.network.head, self.network(self.network.encode(image), features), image)

    def draw(self, features: Tensor, draws: Draws, sampler: Sampler, known: Known | None = None) -> Tensor:
        return sampler.sample(self.network, features, draws, known)

    def initialize(self, image: Tensor, features: Tensor) -> None:
        self.network.initialize(image, features)


def _by_channel(head: Head, parameters: Tensor, image: Tensor) -> tuple[Tensor, Tensor | None]:
    channels = head.channel_log_prob(parameters, image)
    return head.log_prob(parameters, image).sum((1, 2)), None if channels is None else channels.sum((2, 3))
