"""The conditional distribution of a factor's variable given the values of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.model.distribution import ByChannel, CausalDistribution
from auxar.model.image import ImageSpec
from auxar.model.request import SampleRequest
from auxar.model.sources import Sampler
from auxar.model.support import GivenView


@attrs.frozen(eq=False)
class Conditional:
    """The distributions of a variable for b images, given values of other variables: `Factor.given` returns them.

    The features of the given values are computed once, when `Factor.given` is called. The methods accept values of the
    variable, integers (b, *spec.shape).

    Examples:
        >>> import auxar
        >>> model = auxar.load("runs/quickstart")
        >>> images = model.sample(2, rule="ancestral")
        >>> values = model.chain.values(images.tensor)
        >>> stage = model.factors[0].given(values)
        >>> stage.log_prob(values["image"]).shape, stage.by_pixel(values["image"]).shape
        (torch.Size([2]), torch.Size([2, 32, 32]))
        >>> enlarged = stage.draw(auxar.SampleRequest((0, 1)), model.chain.sampler)
        >>> enlarged.shape
        torch.Size([2, 3, 32, 32])
    """

    factor: str
    """Name of the factor."""
    spec: ImageSpec
    """Shape and range of the variable."""
    distribution: Any
    """The factor's distribution: a prior if there are no features, otherwise a decoder."""
    features: Tensor | None
    """The features of the given values, (b, channels, h, w); None if the factor is given nothing."""
    support: GivenView | None
    """The given views with their support; None without a view, or if the view has no support."""
    unconditional: Callable[[], Tensor | None]
    """A function that computes the features of the given views and of the null condition."""

    def log_prob(self, values: Tensor) -> Tensor:
        """Computes the log-likelihood of values in nats, shape (b,)."""
        nats: Tensor = self.distribution.log_prob(self._image(values), *self._given)
        return nats

    def by_pixel(self, values: Tensor) -> Tensor:
        """Computes the log-likelihood of each pixel given the pixels before it, in nats, shape (b, height, width).

        Raises `UserError` if the distribution is not a causal network's.
        """
        if not isinstance(self.distribution, CausalDistribution):
            raise UserError(
                f"{self.factor} gives no likelihoods of single pixels, because its distribution is not a causal "
                "network's"
            )
        return self.distribution.pixel_log_prob(self._image(values), *self._given)

    def by_channel(self, values: Tensor) -> ByChannel:
        """Computes log-likelihoods in nats: the total, as `log_prob` does, and, if possible, one for each channel.

        With a free decoder, the result also has `ByChannel.inside` if the decoder can compute it. The network is
        evaluated once.
        """
        nats: ByChannel = self.distribution.log_prob_by_channel(self._image(values), *self._given)
        return nats

    def coding_ranges(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """The ranges that `IntegerHead.coding_ranges` gives, of a factor in integers."""
        ranges: tuple[Tensor, Tensor] = self.distribution.coding_ranges(values, self.features, self.support)
        return ranges

    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        """Draws values for each number of a request, which has the depth of the factor: int64, (b, *spec.shape).

        Raises `UserError` unless there is a number for each row of the given values.
        """
        features = self.features
        if features is not None and len(features) != len(request.numbers):
            raise UserError(
                f"{self.factor}: expected given values for each of {len(request.numbers)} images, got {len(features)}"
            )
        if request.guidance is not None:
            null = self.unconditional()
            features = None if features is None or null is None else torch.cat([features, null])
        request = attrs.evolve(request, given=self.support)
        drawn: Tensor = self.distribution.draw(request, sampler, *(() if features is None else (features,)))
        return drawn.reshape(-1, *self.spec.shape)

    def initialize(self, values: Tensor) -> None:
        """Initializes the weights of the distribution from values of the variable."""
        self.distribution.initialize(self._image(values), *self._given)

    @property
    def _given(self) -> tuple[Any, ...]:
        """The arguments of the distribution's methods after the image. A prior is called without features."""
        return () if self.features is None else (self.features, self.support)

    def _image(self, values: Tensor) -> Tensor:
        """Values as the images that the distribution is over, which may have another shape (see `row_spec`)."""
        image: ImageSpec = self.distribution.image
        if self.spec == image:
            return values
        return values.reshape(-1, *image.shape)
