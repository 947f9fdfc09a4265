"""The contract checks of causal networks, priors and decoders."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from auxar.model import Arithmetic, CausalNetwork, Decoder, ImageSpec, Prior, Sampler
from auxar.testing.distributions import check_distribution

FEATURES = (1, 17)
"""The numbers of feature channels that are tried by default."""


def check_network(
    build: Callable[[Any, ImageSpec, int], CausalNetwork],
    config: object,
    *,
    images: Sequence[ImageSpec] | None = None,
    features: Sequence[int] = FEATURES,
    sampler: Sampler | None = None,
    arithmetic: Arithmetic | None = None,
) -> None:
    """Checks the causal network that `build(config, image, features_channels)` returns, as a prior and as a decoder.

    The network has random float64 weights, and the images and features are random. As a prior, it is built with 0
    channels of features. The laws are those of `check_prior` and `check_decoder`, and:

    - `causality`: a prediction depends on earlier pixels in raster order alone, in evaluation mode and in training
      mode. Statistics over pixels or images of a batch, as in batch normalization, break this law.
    - `encode`: `encode` converts each pixel alone, and in the same way at every place.
    - `steps`: an `auxar.StepwiseNetwork` predicts the same pixel by pixel as for the whole image.
    - `rule`: under every drawing rule, `draw` returns the images that a sampler draws with `auxar.DrawSource`.
    - `sampler`: if given, `sampler`, such as `auxar_samplers.WavefrontSampler()`, supports the network.
    - `arithmetic`: if given, `arithmetic`, such as `auxar_integers.IntegerArithmetic(IntegerConfig())`, supports the
      network as a prior.

    The head is also checked, with random parameters and the laws of `check_head`. `images` and `features` are those of
    `check_decoder`.

    Raises `ContractError` if a law is broken. Warns if no spec is small enough to sum over all its images.
    """

    for channels in ((0,), features):
        make = functools.partial(build, config)
        check_distribution(make, CausalNetwork, images, channels, sampler=sampler, arithmetic=arithmetic)


def check_prior(
    build: Callable[[Any, ImageSpec], Prior], config: object, *, images: Sequence[ImageSpec] | None = None
) -> None:
    """Checks the prior that `build(config, image)` returns, with random float64 weights and random images.

    The laws:

    - `build`: the only error that `build` raises is `UserError`, for specs that it does not support.
    - `spec`: `image` and, with features, `features_channels` are those passed to `build`.
    - `shape`: `log_prob` is floating point of shape (b,).
    - `finite`: `log_prob` is finite, also for extreme images and after `initialize`.
    - `range`: no probability is greater than 1, and drawn values lie in [0, levels).
    - `determinism`: in evaluation mode, equal images have equal `log_prob`.
    - `batch`: neither the `log_prob` of an image nor a drawn image depends on the other images of the batch, few or
      many.
    - `precision`: in float32, `log_prob` is nearly the same as in float64.
    - `dtype`: an image has the same `log_prob` in uint8, int16, int32 and int64.
    - `layout`: `log_prob` does not depend on the memory layout of the image.
    - `inputs`: no method changes its arguments.
    - `mode`: no method changes the mode (training or evaluation) of any part of the model.
    - `state`: no method changes torch's gradient mode or default dtype, or, in evaluation mode, draws from or seeds
      torch's random numbers.
    - `channels`: the total of `log_prob_by_channel` equals `log_prob`; the values of single channels, if given, sum to
      the total. In images of one pixel, the value of a channel does not depend on later channels.
    - `normalization`: the probabilities of all images sum to 1, or, if the model is not `exact`, to at most 1.
    - `draws`: the frequencies of drawn images match their probabilities, if the model is `exact`.
    - `draw`: `draw` returns int64 images. An image depends only on its own number and on the request's seed, depth,
      rule and known pixels. Other numbers, seeds and depths give other images.
    - `known`: `draw` keeps known pixels, and the limits of other pixels (`Known.limits`).
    - `any_size`: `at` gives the model of another size with the same weights, or, if `any_size` is False, raises
      `UserError`.
    - `save`: loading saved weights restores `log_prob` exactly, also after `initialize`.
    - `gradient`: each trainable parameter gets a gradient, and all gradients are finite. The loss depends on the
      features. While gradients are recorded, `log_prob` is the same.
    - `recompute`: if every `auxar.RecomputableBlock` is computed a second time in the backward pass, gradients and
      state are the same to the last bit.
    - `device`: `log_prob` on a GPU equals that on the CPU up to rounding.
    - `runs`: valid input raises no exception.

    `normalization` and `draws` are checked on specs so small that all images can be enumerated. `images` lists the
    image specs to build the prior for. `build` must accept each of them. By default, small specs are tried, and specs
    that `build` refuses with `UserError` are skipped.

    Raises `ContractError` if a law is broken. Warns if no spec is small enough to sum over all its images.
    """

    check_distribution(lambda image, _: build(config, image), Prior, images, (0,))


def check_decoder(
    build: Callable[[Any, ImageSpec, int], Decoder],
    config: object,
    *,
    images: Sequence[ImageSpec] | None = None,
    features: Sequence[int] = FEATURES,
) -> None:
    """Checks the decoder that `build(config, image, features_channels)` returns, with random weights and inputs.

    The laws are those of `check_prior`, with features as an additional input. Two more laws are checked on specs so
    small that all images can be enumerated; `restricted` only if the decoder `restricts`:

    - `given`: with given views that do not restrict it, the decoder's probabilities of all images sum to 1, and the
      frequencies of drawn images match them.
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

    check_distribution(lambda *given: build(config, *given), Decoder, images, features)
