"""What an evaluation finds: the records of `evaluation.json`."""

from __future__ import annotations

from typing import Literal

import attrs

from auxar.interfaces import ImageSpec
from auxar.recipe.schema import MOST_STAGES

Exactness = Literal["exact", "bound"]
"""Whether bits/dim are the image's own, or an upper bound of them, since log p(X, X̂) ≤ log p(X)."""
SupportName = Literal["free", "restricted"]


@attrs.frozen
class ChannelFigures:
    """One channel of a factor's image, given the channels before it; means over images."""

    nats: float
    bits_per_dim: float
    """Mean over the channel's own sub-pixels. The factor's bits/dim are the mean over its channels."""
    standard_error: float | None
    bits_per_dim_of_image: float
    """Over the sub-pixels of the whole image: the sum over channels is the factor's."""
    wasted_bits_per_dim: float | None = None
    """Mean over the channel's own sub-pixels, defined like the factor's `wasted_bits_per_dim`."""
    wasted_standard_error: float | None = None
    wasted_bits_per_dim_of_image: float | None = None


@attrs.frozen
class Figures:
    """A factor's likelihood: means over images, each with its standard error, which is None for a single image."""

    nats: float
    bits_per_dim: float
    """Mean over the sub-pixels of the factor's own image."""
    standard_error: float | None
    bits_per_dim_of_image: float
    """Over the sub-pixels of the whole image: the sum over factors is the model's."""
    cumulative_bits_per_dim: float | None = None
    """Bits of this and all coarser factors over this factor's sub-pixels; None if one of them is not trained."""
    cumulative_standard_error: float | None = None
    nats_standard_error: float | None = None
    standard_error_of_image: float | None = None
    channels: list[ChannelFigures] | None = None
    wasted_bits_per_dim: float | None = None
    """The part of `bits_per_dim` that a free decoder spends on values that its view rules out; restricting the decoder
    saves this much. None for other factors, and where view or head cannot tell."""
    wasted_standard_error: float | None = None
    wasted_bits_per_dim_of_image: float | None = None
    """Over the sub-pixels of the whole image: the sum over free factors is the model's."""
    wasted_standard_error_of_image: float | None = None


@attrs.frozen
class Difference:
    """Held-out less training images, in bits/dim: a model that overfits has more of it than its standard errors."""

    bits_per_dim: float | None
    standard_error: float | None


@attrs.frozen
class FactorFigures:
    """p(image | view), or p(image) of the coarsest, which has no view. Without figures it is not trained yet."""

    factor: str
    image: ImageSpec
    view: ImageSpec | None = None
    heldout: Figures | None = None
    training: Figures | None = None
    difference: Difference | None = None
    """The difference in `bits_per_dim`."""
    parameters: int = 0
    steps: int = 0
    weights: str | None = None
    """`ema` or `last`."""
    trained_on: str | None = None
    """Fingerprint of the images it was trained on."""
    # Evaluations of earlier versions lack these keys: every decoder was free then.
    support: SupportName | None = attrs.field()
    """Which images the decoder gives probability to: any, or those of the given view. None for the coarsest."""
    kind: Exactness = attrs.field()
    """Whether the factor's own figures are exact terms of log p(X). A free decoder's are terms of a bound."""
    cumulative_kind: Exactness = attrs.field()
    """Whether the cumulative figures are exact: they are if this factor and all coarser ones are."""

    @support.default
    def _free_given_a_view(self) -> SupportName | None:
        return None if self.view is None else "free"

    @kind.default
    def _bound_if_free(self) -> Exactness:
        return "bound" if self.support == "free" else "exact"

    @cumulative_kind.default
    def _as_kind(self) -> Exactness:
        return self.kind


@attrs.frozen
class DataFacts:
    """Where the images came from. Equal fingerprints are equal images in equal order."""

    path: str
    fingerprint: str | None = None
    """Fingerprint of the training images."""
    heldout_fingerprint: str | None = None
    skipped: int = 0


@attrs.frozen
class Evaluation:
    """`evaluation.json`. Mappings go by the set of images, `heldout` and `training`."""

    bits_per_dim: dict[str, float | None]
    standard_error: dict[str, float | None]
    kind: Exactness
    """Whether the whole model's figures are exact: they are if all factors are."""
    factors: list[FactorFigures] = attrs.field(
        validator=[attrs.validators.min_len(1), attrs.validators.max_len(MOST_STAGES + 1)]
    )
    """From the image down to its coarsest view."""
    images: dict[str, int]
    weights: Literal["ema", "last", "mixed"]
    data: DataFacts
    difference: Difference | None = None
    wasted_bits_per_dim: dict[str, float | None] = attrs.Factory(dict)
    """The part of `bits_per_dim` that free decoders waste together: 0 where none is free, None if one cannot tell."""
    wasted_standard_error: dict[str, float | None] = attrs.Factory(dict)
