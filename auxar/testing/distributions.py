"""Runs the checks that priors and decoders share, and selects the image specs for them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence

from hypothesis import strategies as st

from auxar.model import ImageSpec, StepwiseNetwork
from auxar.testing import drawing, heads, networks
from auxar.testing.causality import check_causality, check_some_causality
from auxar.testing.conditionals import check_conditionals
from auxar.testing.examples import NETWORK_SPECS, SCALES, SEEDS, TINY_SPECS, randomized
from auxar.testing.laws import ContractError, fitting, search
from auxar.testing.networks import Distribution
from auxar.testing.restricting import check_given, check_large_restricted, check_restricted
from auxar.testing.stepwise import check_steps

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

    def check(spec: ImageSpec, channels: int, seed: int, size: float) -> None:
        model = make(spec, channels)
        randomized(model.module, seed, size)
        networks.check_values(model, seed)
        if model.network is not None:
            check_causality(model.network, model.features(1, seed), seed)
        if isinstance(model.network, StepwiseNetwork):
            check_steps(model.network, model.features(2, seed), seed)
        networks.check_channels(model, seed)

    def check_sum(spec: ImageSpec, channels: int, seed: int, size: float) -> None:
        model = make(spec, channels)
        randomized(model.module, seed, size)
        networks.check_sum(model, seed)

    drawn = {"channels": st.sampled_from(channels), "seed": SEEDS, "size": SCALES}
    for spec in {(spec.channels, spec.levels): spec for spec in specs}.values():
        network = make(spec, most).network
        if network is not None:
            for seed, size in enumerate(HEAD_SIZES):
                heads.check_likelihoods(network.head, spec, seed, size)
            if spec.levels**spec.channels > heads.MOST_VALUES:
                check_conditionals(network.head, spec, 0)
    search(check, _examples(specs), spec=st.sampled_from(specs), **drawn)
    counted = _counted(make, most, images)
    if counted:
        search(check_sum, _examples(counted), spec=st.sampled_from(counted), **drawn)
        for spec in {spec.channels: spec for spec in counted}.values():
            model = make(spec, most)
            randomized(model.module, 1, 1.0)
            networks.check_channels(model, 1)
            drawing.check_draws(model, 1)
            check_restricted(model, 1)
            check_given(model, 1)
            if model.network is not None:
                heads.check_drawn_pixels(model.network.head, spec, 1)
    for spec in specs[-2:]:
        model = make(spec, most)
        randomized(model.module, 0)
        networks.check_saved(model, make(spec, most), 0)
        networks.check_training(make(spec, most), 0)
    model = make(largest, most)
    randomized(model.module, 0)
    networks.check_large(model, 0)
    if model.network is not None:
        randomized(model.module, 0)
        check_some_causality(model.network, model.features(1), 0)
    larger = [spec for spec in specs if min(spec.height, spec.width) > SQUARE] or specs
    model = make(min(larger, key=lambda spec: spec.dims), most)
    randomized(model.module, 0)
    check_large_restricted(model, 0)
    middle = min(specs, key=lambda spec: abs(spec.height * spec.width - DRAWN_PIXELS))
    counted.sort(key=lambda spec: -abs(spec.height * spec.width - COMPARED_PIXELS))
    small = list({spec.channels: spec for spec in counted}.values()) or [middle]
    model = make(small[0], most)
    randomized(model.module, 0)
    drawing.check_requests(model, 0)
    model = make(middle, most)
    randomized(model.module, 0)
    drawing.check_draw(model, 0)
    networks.check_features(model, 0)
    networks.check_devices(model, 0)


def _examples(specs: Sequence[ImageSpec]) -> int:
    return min(EXAMPLES, EXAMPLES_EACH * len(specs))


def _made(make: Make, channels: int, spec: ImageSpec) -> Distribution:
    return make(spec, channels)


def _counted(make: Make, channels: int, images: Sequence[ImageSpec] | None) -> list[ImageSpec]:
    """The specs with so few images that probabilities can be summed over all of them.

    Warns if there are none, so that nobody assumes that the laws of whole images were checked.
    """
    found = [spec for spec in images or TINY_SPECS if spec.dims <= 12 and spec.levels**spec.dims <= MOST_IMAGES]
    if found and images is None:
        try:
            found = fitting(functools.partial(_made, make, channels), found, False, "images")
        except ContractError:
            found = []
    if not found:
        message = f"no accepted image spec has at most {MOST_IMAGES:,} possible images"
        warnings.warn(f"the laws normalization, draws and restricted were not checked: {message}", stacklevel=4)
    return found
