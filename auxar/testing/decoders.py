"""The contract of conditional decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from auxar.causal import CausalDecoder
from auxar.interfaces import Decoder, ImageSpec
from auxar.testing.distributions import check_distribution
from auxar.testing.laws import broken
from auxar.testing.networks import Distribution

FEATURES = (1, 3)
"""Numbers of channels of features that are tried."""


def check_decoder(
    build: Callable[[Any, ImageSpec, int], Decoder],
    config: object,
    *,
    images: Sequence[ImageSpec] | None = None,
    features: Sequence[int] = FEATURES,
) -> None:
    """Looks for weights, features and images at which the decoder that `build(config, image, features_channels)`
    makes breaks a law.

    The laws are those of `check_prior`, given features; `gradient` also says that features have an effect. `features`
    are numbers of their channels that it is built for. Raises `ContractError`; warns if no image was small enough to
    sum over.
    """

    def make(spec: ImageSpec, channels: int) -> Distribution:
        decoder = build(config, spec, channels)
        if not isinstance(decoder, Decoder):
            broken("spec", f"build makes a {type(decoder).__name__}, expected an auxar.interfaces.Decoder")
        if getattr(decoder, "image", None) != spec:
            broken("spec", "the decoder's `image` is not what it was built for", built_for=spec)
        if getattr(decoder, "features_channels", None) != channels:
            broken("spec", "the decoder's `features_channels` is not what it was built for", built_for=channels)
        return Distribution(
            decoder,
            spec,
            decoder.log_prob,  # type: ignore[arg-type]
            decoder.draw,  # type: ignore[arg-type]
            decoder.initialize,  # type: ignore[arg-type]
            decoder.log_prob_by_channel,  # type: ignore[arg-type]
            channels,
            decoder.network if isinstance(decoder, CausalDecoder) else None,
        )

    check_distribution(make, images, features)
