"""Conditions y in a model: their embedding, a prior p(X̂ | y) made from a decoder, and the factor p(y)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auxar.errors import UserError
from auxar.interfaces import (
    ByChannel,
    Condition,
    Decoder,
    Embedding,
    ImageSpec,
    Prior,
    PriorFactor,
    Sampler,
    SampleRequest,
    is_null,
)

CONDITION_FACTOR = "condition"
"""The name of the factor p(y)."""


class Conditioning(nn.Module):
    """The features of a condition y for one factor: those of an embedding, or learned ones for the null condition.

    The features join those of the factor's view. Any embedding whose `view` is the condition's shape and range can be
    used, so third parties can replace it. If the condition is optional, the features of the null condition are a
    learned vector, the same at all places; the embedding never sees the null condition.

    Raises `UserError` if the embedding is one of another condition.
    """

    def __init__(self, condition: Condition, embedding: Embedding) -> None:
        super().__init__()
        if embedding.view != condition.spec:
            raise UserError(f"the condition is {condition.spec}, but its embedding expects {embedding.view}")
        self.condition = condition
        self.embedding = embedding
        self.image = embedding.image
        self.features_channels = embedding.features_channels
        self.null = nn.Parameter(torch.zeros(embedding.features_channels)) if condition.optional else None

    def forward(self, values: Tensor | None, count: int) -> Tensor:
        """Computes the features of conditions: floats, (count, features_channels, image.height, image.width).

        `values` has integers of shape (count, *condition.spec.shape); None is the null condition for all images.
        Raises `UserError` if the shape is wrong, or if the null condition is not accepted.
        """
        if values is None and self.null is not None:
            return self._nulls(count)
        values = self.condition.or_null(values, count)
        if self.null is None:
            found: Tensor = self.embedding(values)
            return found
        features = self.embedding(values.clamp_min(0))
        return torch.where(is_null(values)[:, None, None, None], self._nulls(count).to(features.dtype), features)

    def initialize(self, values: Tensor | None, count: int) -> None:
        """Initializes the weights of the embedding from a batch of conditions."""
        if values is not None:
            self.embedding.initialize(values.clamp_min(0))

    def _nulls(self, count: int) -> Tensor:
        assert self.null is not None
        return self.null[None, :, None, None].expand(count, -1, self.image.height, self.image.width)


class ConditionedPrior(Prior):
    """A prior p(X̂ | y): a decoder that is given the features of a condition y instead of those of a view.

    Raises `UserError` if the decoder expects other features.
    """

    def __init__(self, conditioning: Conditioning, decoder: Decoder) -> None:
        super().__init__()
        if conditioning.image != decoder.image:
            raise UserError(f"the condition's features are for {conditioning.image}; expected {decoder.image}")
        if conditioning.features_channels != decoder.features_channels:
            raise UserError(
                f"the condition's embedding gives {conditioning.features_channels} channels of features, "
                f"but the decoder expects {decoder.features_channels}"
            )
        self.image = decoder.image
        self.condition = conditioning.condition
        self.conditioning = conditioning
        self.decoder = decoder

    def log_prob(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        return self.decoder.log_prob(image, self.conditioning(condition, len(image)))

    def log_prob_by_channel(self, image: Tensor, condition: Tensor | None = None) -> ByChannel:
        return self.decoder.log_prob_by_channel(image, self.conditioning(condition, len(image)))

    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        features = self.conditioning(request.condition, len(request.numbers))
        return self.decoder.draw(features, request, sampler)

    def initialize(self, image: Tensor, condition: Tensor | None = None) -> None:
        self.conditioning.initialize(condition, len(image))
        self.decoder.initialize(image, self.conditioning(condition, len(image)))


class ConditionFactor(PriorFactor):
    """The factor p(y) of a condition, given by a prior over `row_spec(condition)`. Its weights are named `prior.…`.

    Attributes are one row of pixels for the prior, so a causal network predicts each attribute from those before it.
    Raises `UserError` if the prior is over other images.
    """

    def __init__(self, prior: Prior, condition: Condition, depth: int) -> None:
        super().__init__(prior, depth)
        if prior.image != row_spec(condition):
            raise UserError(f"the prior of the condition is over {prior.image}; expected {row_spec(condition)}")
        self.name = CONDITION_FACTOR
        self.modelled = condition

    def __str__(self) -> str:
        return f"p({self.modelled.kind})"

    def inputs(
        self, views: Sequence[Tensor], condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The arguments of `forward`: the conditions of images, as rows. Raises `UserError` if they are not given."""
        if condition is None:
            raise UserError(f"{self}: the condition of each image is required, not the null condition")
        return self.rows(condition), None, None

    def forward(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        self.check_inputs(view, condition)
        return self.prior.log_prob(image)

    def log_prob_by_channel(
        self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None
    ) -> ByChannel:
        return ByChannel(self(image, view, condition))

    def initialize(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> None:
        self.check_inputs(view, condition)
        self.prior.initialize(image)

    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        """Draws a condition for each number of the request: int64, (b, *condition.spec.shape)."""
        request = SampleRequest(request.numbers, request.seed, depth=self.depth)
        return self.prior.draw(request, sampler).reshape(-1, *self.modelled.spec.shape)

    def rows(self, condition: Tensor) -> Tensor:
        """Conditions as the images that the prior is over, integers (b, *prior.image.shape)."""
        return condition.reshape(-1, *self.prior.image.shape)


def row_spec(condition: Condition) -> ImageSpec:
    """Shape and range of the images that the prior of a condition is over.

    Attributes become a row of pixels with one channel. Other conditions are images already.

    Examples:
        >>> print(row_spec(Condition("attributes", ImageSpec(40, height=1, width=1, levels=2))))
        1×40×1 with 2 levels
    """
    spec = condition.spec
    return ImageSpec(1, height=1, width=spec.channels, levels=spec.levels) if condition.is_vector else spec
