"""The records of `evaluation.json` and `evaluation-integer.json`, the results of `auxar evaluate`."""

from __future__ import annotations

from typing import Literal

import attrs

from auxar.model import FLOAT, ConditionKind, ImageSpec
from auxar.recipe.schema import MOST_STAGES
from auxar.runs.history import History

Exactness = Literal["exact", "bound"]
"""Whether bits/dim are exact or an upper bound: with a free decoder, a model computes log p(X, X̂) ≤ log p(X)."""
WeightsKind = Literal["ema", "last", "own", "mixed"]
"""The weights of a run: averaged, of the last step, of a user's own training loop, or different among factors."""
SupportName = Literal["free", "restricted"]
"""The support of a decoder: any image (`free`), or only the images with the given view (`restricted`)."""


@attrs.frozen
class ChannelFigures:
    """The likelihood of one channel of a factor's image, given the channels before it, as means over images."""

    nats: float
    """Log-likelihood of the channel in nats."""
    bits_per_dim: float
    """Bits for each sub-pixel of this channel. Their mean over the channels is the factor's `bits_per_dim`."""
    standard_error: float | None
    """Standard error of `bits_per_dim`; None for a single image."""
    bits_per_dim_of_image: float
    """The channel's bits divided by the number of sub-pixels of the image X. The sum over channels is the factor's
    `bits_per_dim_of_image`."""
    wasted_bits_per_dim: float | None = None
    """The part of `bits_per_dim` that a free decoder spends on values that its view rules out; None if unknown."""
    wasted_standard_error: float | None = None
    """Standard error of `wasted_bits_per_dim`."""
    wasted_bits_per_dim_of_image: float | None = None
    """The channel's wasted bits divided by the number of sub-pixels of the image X."""


@attrs.frozen
class Figures:
    """The likelihood of one factor on a set of images, as means over images with their standard errors.

    Standard errors are None for a single image.
    """

    nats: float
    """Log-likelihood of an image in nats."""
    bits_per_dim: float
    """Bits for each sub-pixel of the image that this factor describes."""
    standard_error: float | None
    """Standard error of `bits_per_dim`."""
    bits_per_dim_of_image: float
    """The factor's bits divided by the number of sub-pixels of the image X. The sum over factors is the model's
    bits/dim."""
    cumulative_bits_per_dim: float | None = None
    """The bits of this factor and all coarser ones together, divided by the number of sub-pixels of this factor's
    image. None if one of these factors is not trained."""
    cumulative_standard_error: float | None = None
    """Standard error of `cumulative_bits_per_dim`."""
    nats_standard_error: float | None = None
    """Standard error of `nats`."""
    standard_error_of_image: float | None = None
    """Standard error of `bits_per_dim_of_image`."""
    channels: list[ChannelFigures] | None = None
    """Figures of each channel; None if the factor cannot split its likelihood by channel."""
    wasted_bits_per_dim: float | None = None
    """The part of `bits_per_dim` that a free decoder spends on values that its view rules out. Restricting the decoder
    would save this much. None for other factors, and if the view or the head cannot compute it."""
    wasted_standard_error: float | None = None
    """Standard error of `wasted_bits_per_dim`."""
    wasted_bits_per_dim_of_image: float | None = None
    """The factor's wasted bits divided by the number of sub-pixels of the image X. The sum over the factors with free
    decoders is the model's `wasted_bits_per_dim`."""
    wasted_standard_error_of_image: float | None = None
    """Standard error of `wasted_bits_per_dim_of_image`."""


@attrs.frozen
class SampleFigures:
    """The bits/dim of one factor for exact samples of the model, in bits for each sub-pixel of the factor's image.

    If the model fits its data, they are about equal to the bits/dim of held-out images. Standard errors are None for
    one sample.
    """

    count: int
    """Number of samples of each kind."""
    in_chain: float | None
    """Bits/dim for samples of the whole chain, given the drawn views."""
    in_chain_standard_error: float | None
    """Standard error of `in_chain`."""
    given_heldout_views: float | None
    """Bits/dim for samples that the factor draws given the views of held-out images. None for the prior."""
    given_heldout_views_standard_error: float | None
    """Standard error of `given_heldout_views`."""


@attrs.frozen
class Difference:
    """Held-out bits/dim minus training bits/dim. A difference of several standard errors indicates overfitting."""

    bits_per_dim: float | None
    """Held-out bits/dim minus training bits/dim; None if one of the two sets has no figures."""
    standard_error: float | None
    """Standard error of `bits_per_dim`; None if it is unknown."""


@attrs.frozen
class FactorFigures:
    """The figures of one factor: a decoder p(image | view), or the prior p(image), which has no view."""

    factor: str
    """Name of the factor, `stage0` … or `prior`."""
    image: ImageSpec
    """Description of the images that the factor gives a likelihood to."""
    view: ImageSpec | None = None
    """Description of the view that is given; None for the prior."""
    heldout: Figures | None = None
    """Figures on held-out images; None if the factor is not trained or held-out images were not evaluated."""
    training: Figures | None = None
    """Figures on training images; None if the factor is not trained or training images were not evaluated."""
    difference: Difference | None = None
    """Difference of `bits_per_dim` between held-out and training images; None if one of the two is missing."""
    samples: SampleFigures | None = None
    """Figures for samples of the model; None if `evaluation.samples` is 0 or a factor of the model is not trained."""
    parameters: int = 0
    """Number of parameters."""
    steps: int = 0
    """Number of training steps after which the weights were taken. It is 0 if a user's own training loop trained the
    weights and the number is unknown."""
    weights: str | None = None
    """Kind of weights that were evaluated: `ema` (moving average), `last`, or `own` if a user's own training loop
    trained them. None if the factor is not trained."""
    trained_on: str | None = None
    """Fingerprint of the images that the factor was trained on."""
    kept: Literal["best", "last"] | None = None
    """`best` if the weights with the lowest bits/dim on validation images were kept, `last` if the weights at the end
    of training were kept. None if the factor is not trained, or a user's own training loop trained it."""
    trained_steps: int | None = None
    """Number of training steps until the end of training, which is larger than `steps` if the weights of an earlier
    step were kept. None if it is unknown."""
    stopped_early: bool = False
    """Whether training ended before its planned last step, because bits/dim on validation images did not improve."""
    history: History | None = None
    """The parts of the training, and the weights that it began with. None if the factor is not trained."""
    support: SupportName | None = attrs.field(kw_only=True)
    """Support of the decoder: `free` (any image) or `restricted` (images with the given view). None for the prior."""
    kind: Exactness = attrs.field(kw_only=True)
    """Whether the factor's figures are exact terms of log p(X). The figures of a free decoder are terms of a bound."""
    cumulative_kind: Exactness = attrs.field(kw_only=True)
    """Whether the cumulative figures are exact, that is, whether this factor and all coarser ones are exact."""


@attrs.frozen
class DataFacts:
    """The source of the images.

    Equal fingerprints mean equal image files in the same order or, for streamed images, the same source and settings.
    """

    path: str
    """The recipe's `data.path`."""
    fingerprint: str
    """Fingerprint of the training images."""
    heldout_fingerprint: str
    """Fingerprint of the held-out images."""
    skipped: int
    """Number of images that were skipped because they could not be read."""
    heldout_digest: str | None
    """SHA-256 of the pixels of the held-out images that were evaluated, in their order. None if none were evaluated."""


@attrs.frozen
class Cost:
    """Bits/dim in another arithmetic minus bits/dim in floating point, as the mean over the same images."""

    bits_per_dim: float
    """The difference in bits/dim."""
    standard_error: float | None
    """Standard error of the mean difference of an image; None for a single image."""


@attrs.frozen
class WithoutCondition:
    """Bits/dim of a model with a condition, if the same images are given the null condition instead."""

    bits_per_dim: float
    """Bits/dim given the null condition."""
    standard_error: float | None
    """Standard error of `bits_per_dim`; None for a single image."""
    saved: float
    """Bits/dim that the condition saves: those given the null condition minus those given the images' conditions."""
    saved_error: float | None
    """Standard error of `saved`, the mean difference of an image; None for a single image."""


@attrs.frozen
class ConditionFigures:
    """Bits of the conditions of images under p(y), the factor `condition`."""

    bits: float
    """Mean of -log₂ p(y), the bits of one condition."""
    standard_error: float | None
    """Standard error of `bits`; None for a single image."""


@attrs.frozen
class Evaluation:
    """The content of `evaluation.json` or `evaluation-integer.json`.

    The keys of mappings are the sets of images, `heldout` and `training`.
    """

    bits_per_dim: dict[str, float | None]
    """Bits/dim of the whole model; None if a factor is not trained or the set was not evaluated."""
    standard_error: dict[str, float | None]
    """Standard error of `bits_per_dim`."""
    kind: Exactness
    """Whether the figures of the whole model are exact, that is, whether all factors are exact."""
    factors: list[FactorFigures] = attrs.field(
        validator=[attrs.validators.min_len(1), attrs.validators.max_len(MOST_STAGES + 1)]
    )
    """Figures of each factor, from the image to the prior of its coarsest view."""
    images: dict[str, int]
    """Number of images that were evaluated."""
    weights: WeightsKind
    """Kind of weights that were evaluated; `mixed` if factors differ or none is trained."""
    data: DataFacts
    difference: Difference | None = None
    """Difference of the model's bits/dim between held-out and training images."""
    wasted_bits_per_dim: dict[str, float | None] = attrs.Factory(dict)
    """The part of `bits_per_dim` that all free decoders waste together: 0 if no decoder is free, None if the amount is
    unknown for one of them."""
    wasted_standard_error: dict[str, float | None] = attrs.Factory(dict)
    """Standard error of `wasted_bits_per_dim`."""
    arithmetic: str = FLOAT
    """The arithmetic in which likelihoods were computed: `float`, or the name of a component, such as `integer`."""
    cost: dict[str, Cost] = attrs.Factory(dict)
    """The cost of the arithmetic against floating point. Empty for `float`."""
    condition: ConditionKind | None = None
    """The kind of the condition that the images were given; None for a model without a condition."""
    without_condition: dict[str, WithoutCondition] = attrs.Factory(dict)
    """Figures given the null condition. Empty if the model does not accept it, or has no condition."""
    condition_figures: dict[str, ConditionFigures] = attrs.Factory(dict)
    """Figures of the conditions themselves. Empty if they are not modelled."""
    digests: dict[str, str] = attrs.Factory(dict)
    """The digests of the converted factors, by name. Empty for `float`."""
