"""The contract check of decoders."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from auxar.causal import CausalDecoder
from auxar.interfaces import Decoder, ImageSpec
from auxar.testing.distributions import check_distribution
from auxar.testing.laws import broken
from auxar.testing.networks import Distribution, Restricted

FEATURES = (1, 17)
"""The numbers of feature channels that are tried by default."""


def check_decoder(
    build: Callable[[Any, ImageSpec, int], Decoder],
    config: object,
    *,
    images: Sequence[ImageSpec] | None = None,
    features: Sequence[int] = FEATURES,
) -> None:
    """Checks the decoder that `build(config, image, features_channels)` returns, with random weights and inputs.

    The laws are the same as for `check_prior`, except for `factors`, `views`, `parts`, `sample` and `bits`, which only
    priors have. Features are an additional input, and `gradient` also requires that the loss depends on them. If the
    decoder `restricts`, another law is checked, sums over all images on specs so small that these can be enumerated:

    - `restricted`: restricted to intervals, the probabilities of all images inside sum to 1 and those of other images
      are 0. `log_prob_by_channel` agrees with it: its `inside`, if given, is the difference of the free and the
      restricted `log_prob`, in total and for each channel, and does not change the total. Images drawn given a view
      have this view, also if the views of a batch differ, and if pixels of an image with the view are known.

    For such a decoder, `draws` also compares the frequencies of images drawn given a view with their restricted
    probabilities.

    `images` lists the image specs to build the decoder for. `build` must accept each of them. By default, small specs
    are tried, and specs that `build` refuses with `UserError` are skipped. `features` lists the numbers of feature
    channels to build it for.

    Raises `ContractError` if a law is broken. Warns if no spec is small enough to sum over all its images.
    """

    def make(spec: ImageSpec, channels: int) -> Distribution:
        decoder = build(config, spec, channels)
        if not isinstance(decoder, Decoder):
            broken("spec", f"build must return an auxar.Decoder, got {type(decoder).__name__}")
        if getattr(decoder, "image", None) != spec:
            found = getattr(decoder, "image", None)
            broken("spec", f"the decoder's `image` must be the spec passed to build, got {found}", built_for=spec)
        if getattr(decoder, "features_channels", None) != channels:
            got = getattr(decoder, "features_channels", None)
            broken(
                "spec", f"the decoder's `features_channels` must be {channels}, the number passed to build, got {got}"
            )
        return Distribution(
            decoder,
            spec,
            decoder.log_prob,  # type: ignore[arg-type]
            decoder.draw,  # type: ignore[arg-type]
            decoder.initialize,  # type: ignore[arg-type]
            decoder.log_prob_by_channel,  # type: ignore[arg-type]
            channels,
            decoder.network if isinstance(decoder, CausalDecoder) else None,
            Restricted(decoder.log_prob, decoder.log_prob_by_channel) if decoder.restricts else None,  # type: ignore[arg-type]
        )

    check_distribution(make, images, features)
