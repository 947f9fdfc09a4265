"""The contract check of heads."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from hypothesis import strategies as st

from auxar.model import Head, ImageSpec, RestrictableHead
from auxar.testing.centers import centers_of, check_around
from auxar.testing.examples import SEEDS, random_images
from auxar.testing.head_draws import check_adjustments, check_conditionals, check_draw, check_drawn_pixels
from auxar.testing.integer_heads import check_integer_head
from auxar.testing.laws import (
    about,
    broken,
    calling,
    check_built,
    check_count,
    check_options,
    check_tensor,
    fitting,
    search,
)
from auxar.testing.likelihoods import COLUMNS, MOST_VALUES, ROWS, Likelihoods, check_laws
from auxar.testing.limits import check_limits, limited

EXAMPLES = 20
"""The number of examples that the search tries."""
HEAD_SIZES = st.sampled_from([0.1, 1.0, 5.0, 30.0])
"""Standard deviations of random parameters. With the largest, most values have almost no probability."""
HEAD_SPECS = [
    ImageSpec(channels, height=ROWS, width=COLUMNS, levels=levels)
    for channels, levels in [(1, 2), (1, 5), (3, 2), (3, 3), (2, 4), (4, 3), (1, 16), (3, 16), (1, 256), (3, 256)]
]


def check_head(
    build: Callable[[Any, ImageSpec], Head], config: object, *, images: Sequence[ImageSpec] | None = None
) -> None:
    """Checks the head that `build(config, image)` returns, with random parameters, pixels and intervals.

    The laws:

    - `options`: no option is a path of a file, because runs do not keep files.
    - `build`: the only error that `build` raises is `UserError`, for specs that it does not support.
    - `spec`: `build` returns an `auxar.Head`; `parameter_count` is an integer ≥ 1, `uniform_count` and
      `restricted_uniform_count` are integers ≥ 0.
    - `shape`: `log_prob` has shape (b, h, w), and the other log-likelihoods have shape (b, c, h, w).
    - `finite`: log-likelihoods of values, and of values in their intervals, are finite, also if they are tiny.
    - `range`: no probability is greater than 1, and drawn values lie in [0, levels), for every rule.
    - `determinism`: equal arguments give equal results, also in memory that held other arguments before.
    - `inputs`: no method changes its arguments.
    - `state`: no method changes torch's gradient mode or default dtype, or draws from or seeds torch's random numbers.
    - `batch`: the results for a pixel do not depend on the other pixels, or on how many there are.
    - `layout`: results do not depend on the memory layout of the arguments.
    - `dtype`: an image has the same log-likelihoods in uint8, int32 and int64.
    - `precision`: log-likelihoods are float32 or float64. Parameters in bfloat16 give the same as in float32, and
      parameters in float32 nearly the same as in float64. Drawn pixels are the same for parameters in all three, except
      for few.
    - `channels`: `channel_log_prob` sums to `log_prob`. Results for a channel do not depend on later channels, and
      `channel_log_mass` does not depend on the value of its own channel.
    - `normalization`: the probabilities of all values of a channel, and of all values of a pixel, sum to 1.
    - `draw`: `draw` and `draw_restricted` return int64 of shape (n, c).
    - `draws`: the frequencies of drawn pixels match their probabilities, and, if the head can be restricted, those of
      the values of a channel match their probabilities given the earlier channels. With the adjustments of a rule,
      frequencies match the probabilities of `adjusted`, if it does not raise `UserError`.
    - `rule`: with all adjustments, `draw_restricted` draws the first channel like `draw` if all values are allowed. A
      lower temperature does not make likely pixels rarer. If a reduction of scales has an effect, values lie closer to
      the centers of components, and a very large reduction draws the centers.
    - `adjustments`: pixels drawn with and without an adjustment are the same if `understands` leaves its name out, and
      some differ if it has the name. A head with None passes.
    - `around`: the head is `centered` if its `integer_head` is. A centered head moves parameters in the same way for
      any number of pixels, in float32 or float64. A center of 0 changes nothing, and the mean of the first channel is
      greater around a higher center.
    - `start`: `initial_parameters` returns None, or finite numbers of shape (parameter_count,) with which the images
      have finite log-likelihoods, also if all their pixels are equal, and around any centers if the head is `centered`.
    - `limits`: `limitable` has two or more finite numbers of each kind of parameter, which fall. `bounded` returns a
      head with the given limits, which obeys all laws, and does not change the head. Without limits, likelihoods are
      those of the head, and the lowest limit changes those of random parameters.
    - `gradient`: log-likelihoods depend on the parameters, and all gradients are finite.
    - `device`: log-likelihoods on a GPU equal those on the CPU up to rounding.
    - `integers`: `integer_head` returns None, or an `auxar.IntegerHead` for as many parameters, channels and levels. In
      every interval, cumulative frequencies rise from 0 to `TOTAL` = 2²⁴ and never fall. Without adjustments, every
      value has a frequency of at least 1. Probabilities are near those of the head, if it can be restricted: for the
      values of a channel, differences sum to at most 0.01 + 4 · levels / TOTAL, also in intervals and around centers.
    - `runs`: valid input raises no exception.

    The laws of an `auxar.RestrictableHead`:

    - `mass`: `channel_log_mass` is the log of the summed probabilities of the values in the interval, also for
      intervals that are empty or extend beyond [0, levels).
    - `restricted`: `restricted_log_prob` is the log-likelihood of a value minus the mass of its interval, and -∞ for
      values outside; the probabilities of the values in an interval sum to 1.
    - `inside`: `draw_restricted` draws each channel from its interval, for every rule.
    - `walk`: for one channel after another, `draw_restricted` gets the interval once and then passes on the values that
      it returns.

    `normalization`, `mass` and `restricted` are checked for images with few levels, and sums over all values of a pixel
    and the frequencies of pixels on specs so small that all pixels can be enumerated. `images` lists the image specs to
    build the head for. `build` must accept each of them. By default, specs of 1 to 4 channels are tried, and specs that
    `build` refuses with `UserError` are skipped.

    Raises `ContractError` if a law is broken. Warns if no spec is small enough to sum over all its pixels.
    """
    check_options(config)
    specs = fitting(lambda spec: build(config, spec), images, HEAD_SPECS, "images")

    def check(spec: ImageSpec, seed: int, size: float) -> None:
        with about("the head", built_for=spec):
            check_likelihoods(build(config, spec), spec, seed, size)

    search(check, EXAMPLES, spec=st.sampled_from(specs), seed=SEEDS, size=HEAD_SIZES)
    counted = [spec for spec in specs if spec.levels**spec.channels <= MOST_VALUES]
    for seed, spec in enumerate(specs):
        with about("the head", built_for=spec):
            head = build(config, spec)
            check_limits(head, spec, seed)
            head = limited(head, seed)
            check_conditionals(head, spec, seed)
            check_integer_head(head, spec, seed)
            check_start(head, attrs.evolve(spec, height=ROWS, width=COLUMNS), seed)
            if spec in counted:
                check_drawn_pixels(head, spec, seed)
    if not counted:
        message = f"no accepted image spec has at most {MOST_VALUES:,} possible pixels"
        warnings.warn(f"the law draws and sums over whole pixels were not checked: {message}", stacklevel=2)
    check_adjustments(build, config, specs)


def check_likelihoods(head: Head, spec: ImageSpec, seed: int, size: float) -> None:
    """Checks all laws of a head but `draws`, for images with the channels and levels of `spec`.

    `size` is the standard deviation of the parameters.
    """
    check_built(head, Head)
    check_count(head, "parameter_count", 1)
    check_count(head, "uniform_count", 0)
    if isinstance(head, RestrictableHead):
        check_count(head, "restricted_uniform_count", 0)
    head = limited(head, seed)
    likelihoods = Likelihoods.random(head, spec, seed, size)
    check_laws(likelihoods, seed, size)
    check_around(head, likelihoods.spec, likelihoods.parameters)
    check_draw(head, spec, likelihoods.parameters, seed)


IMAGES = 3


def check_start(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the law `start` for random images and for images of one color. A head that returns None passes."""
    varied = random_images(IMAGES, spec, seed)
    centers = None
    if head.centered:
        wide = attrs.evolve(spec, channels=centers_of(head, spec), levels=2**21 + 1)
        centers = random_images(IMAGES, wide, seed) - 2**20
    for image in (varied, torch.zeros_like(varied), torch.full_like(varied, spec.levels - 1)):
        with calling("initial_parameters", image, centers):
            found, again = (head.initial_parameters(image, centers) for _ in range(2))
        if found is None:
            return
        check_tensor("initial_parameters", found, (head.parameter_count,), found.dtype, law="start")
        if again is None or not torch.equal(found, again):
            broken("start", "initial_parameters must return the same for equal images")
        parameters = found.view(1, -1, 1, 1).expand(len(image), -1, *image.shape[2:])
        nats = head.log_prob(parameters if centers is None else head.around(parameters, centers), image)
        if not bool(found.isfinite().all()) or not bool(nats.isfinite().all()):
            broken("start", "initial_parameters, or log-likelihoods with them, are not finite")
