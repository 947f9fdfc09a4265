"""The contract of priors."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from auxar.causal import CausalPrior
from auxar.interfaces import ImageSpec, Prior
from auxar.testing.distributions import check_distribution
from auxar.testing.laws import broken
from auxar.testing.networks import Distribution


def check_prior(
    build: Callable[[Any, ImageSpec], Prior], config: object, *, images: Sequence[ImageSpec] | None = None
) -> None:
    """Looks for weights and images at which the prior that `build(config, image)` makes breaks a law.

    The laws: `build` (sizes that do not fit raise `UserError`), `spec`, `shape`, `finite` (at extreme images too),
    `range`, `determinism`, `batch`, `dtype`, `channels`, `normalization` and `draws` (on spaces whose images can all be
    counted), `draw`, `known`, `save` (and load), `initialize`, `gradient`, `device`, `runs`; of causal networks
    `causality` and `head`. Weights are random and in float64. `images` are what it is built for, by default small
    images as far as the prior takes them. Raises `ContractError`; warns if no image was small enough to sum over.
    """

    def make(spec: ImageSpec, channels: int) -> Distribution:
        prior = build(config, spec)
        if not isinstance(prior, Prior):
            broken("spec", f"build makes a {type(prior).__name__}, expected an auxar.interfaces.Prior")
        if getattr(prior, "image", None) != spec:
            broken("spec", "the prior's `image` is not what it was built for", built_for=spec)
        return Distribution(
            prior,
            spec,
            lambda image, features: prior.log_prob(image),
            lambda features, request, sampler: prior.draw(request, sampler),
            lambda image, features: prior.initialize(image),
            lambda image, features: prior.log_prob_by_channel(image),
            network=prior.network if isinstance(prior, CausalPrior) else None,
        )

    check_distribution(make, images, (0,))
