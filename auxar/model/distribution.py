"""Distributions of images: priors p(X̂), decoders p(X | X̂), and both roles of a causal network."""

from __future__ import annotations

import abc

import attrs
from einops import rearrange
from torch import Tensor, nn

from auxar.errors import UserError
from auxar.model.centers import neighbor_centers, with_neighbors
from auxar.model.guidance import GuidedSource
from auxar.model.head import RestrictableHead
from auxar.model.image import ImageSpec
from auxar.model.integers import IntegerHead, nats
from auxar.model.network import CausalNetwork
from auxar.model.request import SampleRequest
from auxar.model.rule import Operation, Rule
from auxar.model.sources import DrawSource, Sampler, restrictable
from auxar.model.support import GivenView


@attrs.frozen(eq=False)
class ByChannel:
    """The log-likelihoods of images in nats, in total and for each channel."""

    total: Tensor
    """Log-likelihood of each image, shape (b,)."""
    channels: Tensor | None = None
    """Log-likelihood of each channel given the channels before it, shape (b, c). Its sum over channels is `total`. None
    if the model cannot split the total by channel."""
    inside: Tensor | None = None
    """Log-probability of the support's intervals under a free decoder, summed over the pixels of each channel, shape
    (b, c). Each term is the log-probability that a sub-pixel lies in its interval, given the earlier sub-pixels. None
    for a restricted decoder, without a support, or if the decoder cannot compute it."""


class Prior(nn.Module, abc.ABC):
    """A distribution p(X̂) of images that is given nothing, for example of the coarsest view of a chain."""

    image: ImageSpec
    """Shape and range of the images."""
    exact: bool = True
    """Whether `log_prob` is the log-likelihood itself. Otherwise it is a lower bound of the log-likelihood."""
    any_size: bool = False
    """Whether `at` accepts images of any height and width."""

    @abc.abstractmethod
    def log_prob(self, image: Tensor) -> Tensor:
        """Computes log p(image) in nats, shape (b,), for integers of shape (b, *image.shape)."""

    def log_prob_by_channel(self, image: Tensor) -> ByChannel:
        """Computes `log_prob` in total and, if the prior can, for each channel. The default gives only the total."""
        return ByChannel(self.log_prob(image))

    @abc.abstractmethod
    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        """Draws one image for each number of the request: int64, (b, *image.shape)."""

    def initialize(self, image: Tensor) -> None:
        """Initializes the weights from a batch of images. The default does nothing."""

    def at(self, image: ImageSpec) -> Prior:
        """The same distribution, with the same weights, of images of another size. The default raises `UserError`."""
        raise UserError(f"{type(self).__name__} has one size, {self.image.size}; got {image.size}")


class Decoder(nn.Module, abc.ABC):
    """A distribution p(X | features) of images, given features of their views, their conditions, or both.

    In a model with a condition, the factor `prior` has a decoder, too.
    """

    image: ImageSpec
    """Shape and range of the image."""
    features_channels: int
    """Number of channels of the features."""
    restricts: bool = False
    """Whether the decoder can be restricted to images with the given views. With `restricts` = False, it never gets a
    `GivenView` with `restricted` = True."""
    exact: bool = True
    """Whether `log_prob` is the log-likelihood itself. Otherwise it is a lower bound of the log-likelihood."""
    any_size: bool = False
    """Whether `at` accepts images of any height and width."""

    @abc.abstractmethod
    def log_prob(self, image: Tensor, features: Tensor, given: GivenView | None = None) -> Tensor:
        """Computes log p(image | features) in nats, shape (b,).

        `image` has integers of shape (b, *image.shape), and `features` has shape (b, features_channels, h, w). `given`
        has the views and their support; it is None without a view or a support. If it is `restricted`, the distribution
        of each sub-pixel is restricted to its interval. A decoder may use centers whether it is restricted or not.
        """

    def log_prob_by_channel(self, image: Tensor, features: Tensor, given: GivenView | None = None) -> ByChannel:
        """Computes `log_prob` in total and, if the decoder can, for each channel. The default gives only the total.

        If `given` is not restricted, a decoder may use its intervals to fill in `ByChannel.inside`.
        """
        return ByChannel(self.log_prob(image, features, given))

    @abc.abstractmethod
    def draw(self, request: SampleRequest, sampler: Sampler, features: Tensor) -> Tensor:
        """Draws one image for each number of the request: int64, (b, *image.shape).

        `features` has shape (b, features_channels, h, w), with a row for each number. If `request.given.restricted`,
        the drawn images have the given views. Only a decoder with `restricts` gets such a request.
        """

    def initialize(self, image: Tensor, features: Tensor, given: GivenView | None = None) -> None:
        """Initializes the weights from a batch of images, features and given views. The default does nothing."""

    def at(self, image: ImageSpec) -> Decoder:
        """The same distribution, with the same weights, of images of another size. The default raises `UserError`."""
        raise UserError(f"{type(self).__name__} has one size, {self.image.size}; got {image.size}")


class CausalDistribution(Prior, Decoder):
    """The distribution of a causal network: a prior (paper, equation 1) or, given features, a decoder (equation 3).

    A network with `features_channels` = 0 makes a prior, and is called without features. Any other makes a decoder.
    Likelihoods are those of the parameters after `operation`, the operation of a rule; draws have that of their rule.
    """

    def __init__(self, network: CausalNetwork, operation: Operation | None = None) -> None:
        super().__init__()
        self.image = network.image
        self.features_channels = network.features_channels
        self.network = network
        self.restricts = isinstance(network.head, RestrictableHead)
        self.operation = operation
        """The operation of a rule on the parameters of likelihoods; None if there is none."""
        self.any_size = network.any_size

    def log_prob(self, image: Tensor, features: Tensor | None = None, given: GivenView | None = None) -> Tensor:
        return self.pixel_log_prob(image, features, given).sum((1, 2))

    def pixel_log_prob(self, image: Tensor, features: Tensor | None = None, given: GivenView | None = None) -> Tensor:
        """The log-likelihood of each pixel given the pixels before it, in nats, shape (b, height, width).

        `given` has the views and their support; None without a view or a support.
        """
        if isinstance(self.network.head, IntegerHead):
            return nats(self.coding_ranges(image, features, given)[1]).sum(1)
        parameters = self.parameters_of(image, features, given)
        if given is None or not given.restricted:
            return self.network.head.log_prob(parameters, image)
        return restrictable(self.network.head).restricted_log_prob(parameters, image, given.interval(image)).sum(1)

    def log_prob_by_channel(
        self, image: Tensor, features: Tensor | None = None, given: GivenView | None = None
    ) -> ByChannel:
        head = self.network.head
        if isinstance(head, IntegerHead) and (given is None or given.restricted):
            channels = nats(self.coding_ranges(image, features, given)[1]).sum((2, 3))
            return ByChannel(channels.sum(1), channels)
        parameters = self.parameters_of(image, features, given)
        if given is not None and given.restricted:
            channels = restrictable(head).restricted_log_prob(parameters, image, given.interval(image)).sum((2, 3))
            return ByChannel(channels.sum(1), channels)
        total, by_channel = head.log_prob(parameters, image), head.channel_log_prob(parameters, image)
        found = ByChannel(total.sum((1, 2)), None if by_channel is None else by_channel.sum((2, 3)))
        if given is None or not self.restricts:
            return found
        mass = restrictable(head).channel_log_mass(parameters, image, given.interval(image))
        return attrs.evolve(found, inside=mass.sum((2, 3)))

    def draw(self, request: SampleRequest, sampler: Sampler, features: Tensor | None = None) -> Tensor:
        source = DrawSource.of(self.network, request)
        guidance = request.guidance
        if guidance is None:
            return sampler.sample(self.network, features, source)
        noise = request.uniforms(self.image.shape, source.uniforms.device)
        return sampler.sample(self.network, features, GuidedSource(source, guidance, noise))[: source.count]

    def initialize(self, image: Tensor, features: Tensor | None = None, given: GivenView | None = None) -> None:
        self.network.initialize(image, features, self._centers(image, given))

    def at(self, image: ImageSpec) -> CausalDistribution:
        return CausalDistribution(self.network.at(image), self.operation)

    def under(self, rule: Rule, depth: int) -> CausalDistribution:
        """The same network with the distributions that a rule draws from at a depth, for likelihoods.

        Raises `UserError` if the rule has a guidance, or if the head cannot compute likelihoods with its adjustments.
        """
        if rule.guidance(depth) is not None:
            raise UserError("likelihoods of guided distributions are not computed")
        network = self.network.at(self.image)
        network.head = network.head.adjusted(rule.adjustments(depth))
        return CausalDistribution(network, rule.operation(depth)).train(self.training)

    def parameters_of(self, image: Tensor, features: Tensor | None, given: GivenView | None) -> Tensor:
        """The parameters of every pixel's distribution after `Head.around`: (b, head.parameter_count, h, w)."""
        parameters, centers = self._relative(image, features, given)
        parameters = parameters if centers is None else self.network.head.around(parameters, centers)
        if self.operation is None:
            return parameters
        rows = self.operation(self.network.head, rearrange(parameters, "b p h w -> (b h w) p"))
        return rearrange(rows, "(b h w) p -> b p h w", h=image.shape[2], w=image.shape[3])

    def coding_ranges(self, image: Tensor, features: Tensor | None, given: GivenView | None) -> tuple[Tensor, Tensor]:
        """The ranges that `IntegerHead.coding_ranges` gives. The head must be an `IntegerHead`."""
        assert isinstance(self.network.head, IntegerHead)
        interval = given.interval(image) if given is not None and given.restricted else None
        found, centers = self._relative(image, features, given)
        return self.network.head.coding_ranges(found, image, interval, centers)

    def _relative(
        self, image: Tensor, features: Tensor | None, given: GivenView | None
    ) -> tuple[Tensor, Tensor | None]:
        """The parameters of every pixel's distribution before `Head.around`, and the centers for it."""
        self.image.check(image)
        found: Tensor = self.network(self.network.encode(image), *(() if features is None else (features,)))
        return found, self._centers(image, given)

    def _centers(self, image: Tensor, given: GivenView | None) -> Tensor | None:
        """The centers of all sub-pixels, (b, c or 4 · c, h, w); None if the head takes none or there are none."""
        head, levels = self.network.head, self.image.levels
        if not head.centered:
            return None
        found = None if given is None else given.centers(image)
        if found is None and (given is None or head.neighbors):
            found = neighbor_centers(image, levels)
        return with_neighbors(found, image, levels) if head.neighbors and found is not None else found
