"""Runs the checks that priors and decoders share, and selects the image specs for them."""

from __future__ import annotations

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
    Factor,
    ImageSpec,
    Prior,
    Sampler,
    StepwiseNetwork,
)
from auxar.testing import drawing, heads, networks
from auxar.testing.any_size import check_any_size, other_size
from auxar.testing.causality import check_causality, check_some_causality, check_steps
from auxar.testing.examples import NETWORK_SPECS, SCALES, SEEDS, TINY_SPECS, randomized
from auxar.testing.head_draws import check_conditionals, check_drawn_pixels
from auxar.testing.laws import about, calling, check_built, check_tensor, fitting, refusals, search
from auxar.testing.modules import check_narrow, check_saved, check_training
from auxar.testing.networks import Distribution
from auxar.testing.restricting import check_given, check_large_restricted

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

    accepted = fitting(
        lambda spec: [make(spec, number) for number in channels],
        images or NETWORK_SPECS,
        images is not None,
        "images",
    )
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
        _check_largest(random(max(accepted, key=lambda spec: spec.dims)))


def _check_size(model: Distribution, make: Callable[[ImageSpec], Distribution]) -> None:
    """Checks the law `any_size` of a model with random weights."""
    other = other_size(model.image)

    def values(module: Any) -> Tensor:
        resized = attrs.evolve(model, module=module, image=other)
        return resized.values(*resized.inputs(3, 0))

    check_any_size(model.module, lambda: make(other).module, lambda: model.module.at(other), values)


def _check_largest(model: Distribution) -> None:
    check_narrow(model, 0)
    if model.network is not None:
        check_some_causality(model.network.double(), model.features(1), 0)


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
    found = fitting(make, found, False, "images", needed=False)
    if not found:
        message = f"no accepted image spec has at most {MOST_IMAGES:,} possible images"
        warnings.warn(f"the laws normalization, draws and restricted were not checked: {message}", stacklevel=4)
    return found
