"""The contract checks of causal networks, priors and decoders, which share most of their laws."""

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.model import (
    Arithmetic,
    CausalDistribution,
    CausalNetwork,
    Decoder,
    Factor,
    ImageSpec,
    Prior,
    Sampler,
    StepwiseNetwork,
)
from auxar.testing import drawing, heads, networks
from auxar.testing.causality import check_causality, check_some_causality, check_steps
from auxar.testing.examples import NETWORK_SPECS, SCALES, SEEDS, TINY_SPECS, randomized
from auxar.testing.head_draws import check_conditionals, check_drawn_pixels
from auxar.testing.laws import about, calling, check_built, check_options, check_tensor, fitting, refusals, search
from auxar.testing.modules import check_any_size, check_narrow, check_saved, check_training, other_size
from auxar.testing.networks import Distribution
from auxar.testing.restricting import check_given, check_large_restricted

FEATURES = (1, 17)
"""The numbers of feature channels that are tried by default."""
EXAMPLES = 15
"""The largest number of examples that each search tries."""
EXAMPLES_EACH = 5
"""The number of examples that each search tries for one image spec."""
MOST_IMAGES = 5000
"""The largest number of images of a spec over which probabilities are summed."""
ENOUGH = 200
"""The largest number of sub-pixels of an image in the checks. Larger images are used only if the model accepts none of
this size."""
DRAWN_PIXELS = 16
"""The preferred number of pixels in the checks that draw images. Drawing takes one network pass for each pixel, so
small images are faster."""
COMPARED_PIXELS = 4
"""The preferred number of pixels in the checks that compare requests and the methods of a prior."""
SQUARE = 4
"""The number of rows and columns that images must exceed in the larger check of restricted decoders, if possible."""
HEAD_SIZES = (1.0, 5.0)
"""Standard deviations of the random parameters with which the head of a causal network is checked."""


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

    check_options(config)
    for channels in ((0,), features):
        make = functools.partial(build, config)
        check_distribution(make, CausalNetwork, images, channels, sampler=sampler, arithmetic=arithmetic)


def check_prior(
    build: Callable[[Any, ImageSpec], Prior], config: object, *, images: Sequence[ImageSpec] | None = None
) -> None:
    """Checks the prior that `build(config, image)` returns, with random float64 weights and random images.

    The laws:

    - `options`: no option is a path of a file, because runs do not keep files.
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

    check_options(config)
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

    check_options(config)
    check_distribution(lambda *given: build(config, *given), Decoder, images, features)


def check_distribution(
    build: Callable[[ImageSpec, int], Any],
    kind: type,
    images: Sequence[ImageSpec] | None,
    channels: Sequence[int],
    *,
    sampler: Sampler | None = None,
    arithmetic: Arithmetic | None = None,
) -> None:
    """Checks all laws of a prior or a decoder. Raises `ContractError` if one is broken.

    `build` builds an object of the class `kind` for an image spec and a number of feature channels. `channels` lists
    the numbers to try; it is `(0,)` for a prior. If `images` is None, built-in specs are tried, and specs that `build`
    refuses with `UserError` are skipped. `sampler` must support causal networks, and `arithmetic` those without
    features.
    """

    def make(spec: ImageSpec, number: int = channels[-1]) -> Distribution:
        found = build(spec, number)
        given: dict[str, Any] = {} if kind is Prior else {"features_channels": number}
        check_built(found, kind, image=spec, **given)
        return Distribution(CausalDistribution(found) if kind is CausalNetwork else found, spec, number)

    def random(spec: ImageSpec, number: int = channels[-1], seed: int = 0, size: float = 0.5) -> Distribution:
        model = make(spec, number)
        randomized(model.module, seed, size)
        return model

    def searched(check: Callable[[Distribution, int], None], specs: Sequence[ImageSpec]) -> None:
        def test(spec: ImageSpec, number: int, seed: int, size: float) -> None:
            with about("the model", built_for=spec, features=number):
                check(random(spec, number, seed, size), seed)

        drawn = {"number": st.sampled_from(channels), "seed": SEEDS, "size": SCALES}
        search(test, min(EXAMPLES, EXAMPLES_EACH * len(specs)), spec=st.sampled_from(specs), **drawn)

    accepted = fitting(lambda spec: [make(spec, number) for number in channels], images, NETWORK_SPECS, "images")
    specs = [spec for spec in accepted if images is not None or spec.dims <= ENOUGH] or accepted[:1]
    for network in filter(None, (make(specs[0], number).network for number in channels)):
        if sampler is not None:
            with refusals("sampler"):
                sampler.check(network)
        if arithmetic is not None and not network.features_channels:
            with refusals("arithmetic"):
                arithmetic.check(Factor(CausalDistribution(network)))
    for number in channels:
        _check_forward(random(specs[0], number))
    counted = _counted(make, images)
    for spec in {(spec.channels, spec.levels): spec for spec in specs}.values():
        with about("the model", built_for=spec):
            _check_head(make(spec), spec)
    searched(_check_values, specs)
    if counted:
        searched(networks.check_sum, counted)
    for spec in {spec.channels: spec for spec in counted}.values():
        with about("the model", built_for=spec):
            _check_counted(random(spec, seed=1, size=1.0), spec)
    with about("the model", features=channels[-1]):
        _check_some(make, random, specs, counted)
        largest = random(max(accepted, key=lambda spec: spec.dims))
        check_narrow(largest, 0)
        if largest.network is not None:
            check_some_causality(largest.network.double(), largest.features(1), 0)


def _check_size(model: Distribution, make: Callable[[ImageSpec], Distribution]) -> None:
    """Checks the law `any_size` of a model with random weights."""
    other = other_size(model.image)

    def values(module: Any) -> Tensor:
        resized = attrs.evolve(model, module=module, image=other)
        return resized.values(*resized.inputs(3, 0))

    check_any_size(model.module, [other], lambda spec: make(spec).module, values)


def _check_some(
    make: Callable[[ImageSpec], Distribution],
    random: Callable[[ImageSpec], Distribution],
    specs: list[ImageSpec],
    counted: list[ImageSpec],
) -> None:
    """Checks the laws for which few specs are enough. `make` and `random` build a new model, and one with noise."""
    for spec in specs[-2:]:
        check_saved(random(spec), make(spec), 0)
        check_training(make(spec), 0)
    for spec in specs[:2]:
        _check_size(random(spec), make)
    larger = [spec for spec in specs if min(spec.height, spec.width) > SQUARE] or specs
    check_large_restricted(random(min(larger, key=lambda spec: spec.dims)), 0)
    middle = _nearest(specs, DRAWN_PIXELS)
    drawing.check_requests(random(_nearest(counted or [middle], COMPARED_PIXELS)), 0)
    drawing.check_draw(random(middle), 0)
    networks.check_features(random(middle), 0)


def _check_forward(model: Distribution) -> None:
    """Checks the shape and the dtype of what a network predicts, which all other laws need."""
    if model.network is not None:
        image, features = model.inputs(1, 0)
        with calling("forward", image, features, module=model.network), torch.no_grad():
            found = model.network(model.network.encode(image), features)
        check_tensor("forward", found, (1, model.network.head.parameter_count, *image.shape[2:]), torch.float64)


def _check_head(model: Distribution, spec: ImageSpec) -> None:
    if model.network is None:
        return
    for seed, size in enumerate(HEAD_SIZES):
        heads.check_likelihoods(model.network.head, spec, seed, size)
    check_conditionals(model.network.head, spec, 0)


def _check_values(model: Distribution, seed: int) -> None:
    networks.check_likelihoods(model, seed)
    if model.network is not None:
        check_causality(model.network, model.features(1, seed), seed)
    if isinstance(model.network, StepwiseNetwork):
        check_steps(model.network, model.features(2, seed), seed)
    networks.check_channels(model, seed)


def _check_counted(model: Distribution, spec: ImageSpec) -> None:
    """Checks the laws that sum over all images of a tiny spec, or draw thousands of them."""
    networks.check_channels(model, 1)
    drawing.check_draws(model, 1)
    check_given(model, 1)
    if model.network is not None:
        check_drawn_pixels(model.network.head, spec, 1)


def _nearest(specs: Iterable[ImageSpec], pixels: int) -> ImageSpec:
    return min(specs, key=lambda spec: abs(spec.height * spec.width - pixels))


def _counted(make: Callable[[ImageSpec], Distribution], images: Sequence[ImageSpec] | None) -> list[ImageSpec]:
    """The specs with so few images that probabilities can be summed over all of them.

    Warns if there are none, so that nobody assumes that the laws of whole images were checked.
    """
    found = [spec for spec in images or TINY_SPECS if spec.dims <= 12 and spec.levels**spec.dims <= MOST_IMAGES]
    found = fitting(make, None, found, "images", needed=False)
    if not found:
        message = f"no accepted image spec has at most {MOST_IMAGES:,} possible images"
        warnings.warn(f"the laws normalization, draws and restricted were not checked: {message}", stacklevel=4)
    return found
