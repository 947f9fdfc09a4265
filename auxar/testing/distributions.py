"""Runs the checks that priors and decoders share, and selects the image specs for them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterable, Sequence

from hypothesis import strategies as st

from auxar.model import ImageSpec, StepwiseNetwork
from auxar.testing import drawing, heads, networks
from auxar.testing.any_size import check_any_size, is_accepted, other_size
from auxar.testing.causality import check_causality, check_some_causality, check_steps
from auxar.testing.examples import NETWORK_SPECS, SCALES, SEEDS, TINY_SPECS, randomized
from auxar.testing.head_draws import check_conditionals, check_drawn_pixels
from auxar.testing.laws import fitting, search
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
SIZES = 2
"""The number of specs that are compared with another size."""
SQUARE = 4
"""The number of rows and columns that images must exceed in the larger check of restricted decoders, if possible."""
HEAD_SIZES = (1.0, 5.0)
"""Standard deviations of the random parameters with which the head of a causal network is checked."""

Make = Callable[[ImageSpec, int], Distribution]
"""A function that builds the distribution for an image spec and a number of feature channels (0 for priors)."""


def check_distribution(make: Make, images: Sequence[ImageSpec] | None, channels: Sequence[int]) -> None:
    """Checks all laws of a prior or a decoder. Raises `ContractError` if one is broken.

    `channels` lists the numbers of feature channels to try; it is `(0,)` for a prior. If `images` is None, built-in
    specs are tried, and specs that `make` refuses with `UserError` are skipped.
    """
    most = channels[-1]
    candidates = images or NETWORK_SPECS
    accepted = [
        fitting(functools.partial(_made, make, number), candidates, images is not None, "images") for number in channels
    ]
    specs = [spec for spec in accepted[0] if all(spec in others for others in accepted)]
    largest = max(specs, key=lambda spec: spec.dims)
    if images is None:
        specs = [spec for spec in specs if spec.dims <= ENOUGH] or specs[:1]
    counted = _counted(make, most, images)

    def random(spec: ImageSpec, channels: int = most, seed: int = 0, size: float = 0.5) -> Distribution:
        model = make(spec, channels)
        randomized(model.module, seed, size)
        return model

    for spec in {(spec.channels, spec.levels): spec for spec in specs}.values():
        _check_head(make(spec, most), spec)

    def searched(check: Callable[[Distribution, int], None], specs: Sequence[ImageSpec]) -> None:
        def test(spec: ImageSpec, channels: int, seed: int, size: float) -> None:
            check(random(spec, channels, seed, size), seed)

        drawn = {"channels": st.sampled_from(channels), "seed": SEEDS, "size": SCALES}
        search(test, min(EXAMPLES, EXAMPLES_EACH * len(specs)), spec=st.sampled_from(specs), **drawn)

    searched(_check_values, specs)
    if counted:
        searched(networks.check_sum, counted)
    for spec in {spec.channels: spec for spec in counted}.values():
        _check_counted(random(spec, most, 1, 1.0), spec)
    for spec in specs[-2:]:
        check_saved(random(spec), make(spec, most), 0)
        check_training(make(spec, most), 0)
    check_narrow(random(largest), 0)
    if (network := (model := random(largest)).network) is not None:
        check_some_causality(network, model.features(1), 0)
    _check_single(random, specs, counted)
    for spec in specs[:SIZES]:
        _check_any_size(random(spec), functools.partial(make, other_size(spec), most))


def _check_any_size(model: Distribution, other: Callable[[], Distribution]) -> None:
    """Checks the law `any_size` of a model with random weights; `other` builds it for another size."""
    if is_accepted(other):
        check_any_size(model, other, functools.partial(_resized, model, other_size(model.image)))


def _check_single(
    random: Callable[[ImageSpec], Distribution], specs: list[ImageSpec], counted: list[ImageSpec]
) -> None:
    """Checks the laws for which one spec is enough. `random` builds a distribution with random weights."""
    larger = [spec for spec in specs if min(spec.height, spec.width) > SQUARE] or specs
    check_large_restricted(random(min(larger, key=lambda spec: spec.dims)), 0)
    middle = _nearest(specs, DRAWN_PIXELS)
    drawing.check_requests(random(_nearest(counted or [middle], COMPARED_PIXELS)), 0)
    drawing.check_draw(random(middle), 0)
    networks.check_features(random(middle), 0)


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


def _resized(model: Distribution, image: ImageSpec) -> Distribution:
    return Distribution(model.module.at(image), image, model.features_channels)


def _made(make: Make, channels: int, spec: ImageSpec) -> Distribution:
    return make(spec, channels)


def _counted(make: Make, channels: int, images: Sequence[ImageSpec] | None) -> list[ImageSpec]:
    """The specs with so few images that probabilities can be summed over all of them.

    Warns if there are none, so that nobody assumes that the laws of whole images were checked.
    """
    found = [spec for spec in images or TINY_SPECS if spec.dims <= 12 and spec.levels**spec.dims <= MOST_IMAGES]
    if images is None:
        found = fitting(functools.partial(_made, make, channels), found, False, "images", needed=False)
    if not found:
        message = f"no accepted image spec has at most {MOST_IMAGES:,} possible images"
        warnings.warn(f"the laws normalization, draws and restricted were not checked: {message}", stacklevel=4)
    return found
