"""Checks of the pixels that a head draws."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from auxar.model import Adjustments, Head, ImageSpec, Interval, RestrictableHead
from auxar.model.rule import EXACT
from auxar.testing.frequencies import CAREFUL, check_alike, check_frequencies, check_uniform
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, calling
from auxar.testing.likelihoods import all_pixels
from auxar.testing.pixels import Possible, draw_with, drawn_pixels, normal_noise, uniforms_for

COUNTED_SIZE = 0.7
"""Standard deviation of random parameters in the checks of frequencies, in which many values must be likely."""
ROUNDED = 2
"""The largest number of drawn pixels that may differ because the head computes in float32."""
DRAWN = 20000
"""The number of pixels drawn to compare their frequencies with their probabilities."""
COMPARED = 4000
"""The number of pixels drawn to compare drawing rules, free with restricted draws, and conditional distributions."""
HOT, USUAL, COLD = Adjustments(temperature=2.0), Adjustments(), Adjustments(temperature=0.5)
CENTERS, REDUCED, SHARP = Adjustments(centers=True), Adjustments(reduction=0.6), Adjustments(reduction=50.0)
FROZEN = Adjustments(centers=True, temperature=0.01)
MIXED = Adjustments(reduction=0.6, temperature=100.0, min_weight=0.05)
HEAVY = Adjustments(centers=True, min_weight=0.95)
ADJUSTMENTS = (USUAL, CENTERS, FROZEN, MIXED)
"""The adjustments with which drawn pixels must be valid and reproducible."""


def check_draw(head: Head, spec: ImageSpec, parameters: Tensor, seed: int) -> None:
    """Checks the invariances and the law `precision` of pixels, drawn with parameters (b, parameter_count, h, w)."""
    rows = parameters.permute(0, 2, 3, 1).flatten(0, 2)
    ways = [None, Possible.random(len(rows), spec, seed)] if isinstance(head, RestrictableHead) else [None]
    for possible in ways:
        uniforms = uniforms_for(head, len(rows), seed, possible)
        for adjustments in ADJUSTMENTS:
            _check_draw(head, spec, rows, uniforms, adjustments, possible)


def _check_draw(
    head: Head, spec: ImageSpec, rows: Tensor, uniforms: Tensor, adjustments: Adjustments, possible: Possible | None
) -> None:
    def compute(parameters: Tensor, uniforms: Tensor, *ends: Tensor) -> Results:
        within = None if possible is None else Possible(Interval(*ends[:2]), Interval(*ends[2:]))
        return {name: draw_with(head, spec, parameters, uniforms, adjustments, within)}

    name = "draw" if possible is None else "draw_restricted"
    ends = () if possible is None else (possible.even.low, possible.even.high, possible.odd.low, possible.odd.high)
    function = Function(f"{name} with {adjustments}", compute)
    # On another device, noise at the very ends of the range may be rounded to another value.
    check_invariances(function, rows, uniforms, *ends, skip=("device",))
    coarse = rows.bfloat16()
    exact = compute(coarse.double(), uniforms, *ends)[name]
    for dtype in (torch.float32, torch.bfloat16):
        differs = (compute(coarse.to(dtype), uniforms, *ends)[name] != exact).any(1)
        # Noise at the very ends of (0, 1) may be rounded to 0 or 1.
        if differs[1:-1].sum() > ROUNDED:
            message = f"{name} draws other pixels for parameters in {dtype} than for the same values in float64"
            broken("precision", message, image=spec, adjustments=adjustments)


def check_drawn_pixels(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the laws `draws` and `rule`, for a spec whose pixels can be enumerated."""
    pixels = all_pixels(spec)
    parameters = normal_noise((1, head.parameter_count), seed) * COUNTED_SIZE
    many, image = parameters.expand(DRAWN, -1), pixels.T[None, :, None, :]
    every = parameters[..., None, None].expand(-1, -1, 1, len(pixels))
    with calling("log_prob", image=spec), torch.no_grad():
        nats = head.log_prob(every, image).flatten()
    check_frequencies(drawn_pixels(head, spec, many, seed), pixels, nats, spec.levels, "pixel")
    _check_rules(head, spec, parameters.expand(COMPARED, -1), seed)


def _check_rules(head: Head, spec: ImageSpec, many: Tensor, seed: int) -> None:
    """Checks the law `rule`, with draws of one pixel whose parameters are repeated in `many`, (n, parameter_count).

    A restricted draw whose intervals contain all values has the distribution of a free draw. This is checked for the
    first channel, because some heads choose a mixture component once for each free pixel, but again for each restricted
    channel. A lower temperature makes likely pixels more frequent, unless the head ignores it. If the rule `reduced`
    has an effect, it draws values closer to those of `map`, and in the limit of scales of 0 the same.
    """
    drawn = {
        each: drawn_pixels(head, spec, many, seed, each) for each in (*ADJUSTMENTS, HOT, COLD, REDUCED, SHARP, HEAVY)
    }
    for adjustments, free in drawn.items() if isinstance(head, RestrictableHead) else ():
        restricted = drawn_pixels(head, spec, many, seed + 1, adjustments, Possible.everything(spec))
        message = "the first channel of draw_restricted differs from that of draw, though all values are allowed"
        check_alike(free[:, 0], restricted[:, 0], "rule", message, adjustments=adjustments, image=spec)
    for warmer, colder in ((HOT, USUAL), (USUAL, COLD)):
        with calling("log_prob", image=spec), torch.no_grad():
            less, more = (
                -head.log_prob(many[..., None, None], drawn[each][..., None, None]) for each in (warmer, colder)
            )
        temperatures = f"{colder.temperature:g} are less likely than pixels drawn at {warmer.temperature:g}"
        _check_less(more, less, f"pixels drawn at temperature {temperatures}", spec)
    if not torch.equal(drawn[REDUCED], drawn[USUAL]):
        for first, second in zip(drawn[SHARP].unbind(1), drawn[CENTERS].unbind(1), strict=True):
            message = "scales that are reduced until they vanish must draw the centers"
            check_alike(first, second, "rule", message, image=spec)
        usual, reduced = ((drawn[each] - drawn[CENTERS])[:, 0].abs() for each in (USUAL, REDUCED))
        _check_less(reduced, usual, "with reduced scales, the values that are drawn lie further from the centers", spec)


def _check_less(less: Tensor, more: Tensor, message: str, spec: ImageSpec) -> None:
    """Checks the law `rule`: the mean of the first sample is not greater than of the second, except by coincidence."""
    less, more = less.double().flatten(), more.double().flatten()
    error = CAREFUL * ((less.var() + more.var()) / len(less)).sqrt().item()
    if less.mean().item() > more.mean().item() + error:
        broken("rule", message, image=spec)


SIZE = 3.0
"""Standard deviation of the random parameters. With a larger one, most values are certain."""
MOST_EVALUATED = 10_000_000
"""The largest number of predicted values at once, for heads that cannot compute the probability of an interval."""


def check_conditionals(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the law `draws` for a spec whose pixels may be too many to be enumerated.

    If a channel's value x has the distribution that the head gives it after the earlier channels, then a number drawn
    uniformly between the probabilities of the values below x and of the values up to x is uniform in (0, 1). The
    numbers of different channels are independent.
    """
    # The noise of draws has the seed itself, and must not depend on the parameters.
    parameters = normal_noise((COMPARED, head.parameter_count), seed + 2) * SIZE
    if not isinstance(head, RestrictableHead):
        _check_few(head, spec, parameters, seed)
        return
    for possible in (None, Possible.random(COMPARED, spec, seed)):
        drawn = drawn_pixels(head, spec, parameters, seed, possible=possible)
        name = "draw" if possible is None else "draw_restricted"
        _check(name, spec, *_masses(head, spec, parameters, drawn, possible or Possible.everything(spec)), seed)


def _check_few(head: Head, spec: ImageSpec, parameters: Tensor, seed: int) -> None:
    """Checks few pixels of a head that has likelihoods of channels, but not the probabilities of intervals.

    All values of each channel are evaluated, which takes long for many levels.
    """
    count = max(2, MOST_EVALUATED // (spec.levels * head.parameter_count))
    parameters = parameters[:: -(-COMPARED // count)]
    drawn = drawn_pixels(head, spec, parameters, seed)
    values = torch.arange(spec.levels)
    below, own = [], []
    for channel in range(spec.channels):
        image = drawn[:, :, None, None].repeat(1, 1, 1, spec.levels)
        image[:, channel] = values
        with calling("channel_log_prob", image=spec), torch.no_grad():
            nats = head.channel_log_prob(parameters[:, :, None, None].expand(-1, -1, 1, spec.levels), image)
        if nats is None:
            return
        likely = nats[:, channel, 0].exp()
        value = drawn[:, channel, None]
        below.append(likely.masked_fill(values >= value, 0).sum(1))
        own.append(likely.gather(1, value)[:, 0])
    # The channels are tested together, because there are so few pixels.
    _check("draw", spec, torch.cat(below)[:, None], torch.cat(own)[:, None], seed)


def _masses(
    head: RestrictableHead, spec: ImageSpec, parameters: Tensor, drawn: Tensor, possible: Possible
) -> tuple[Tensor, Tensor]:
    """The probabilities of the possible values below each drawn one, and of the drawn one itself: (n, c) each."""
    bounds = possible.of(drawn)
    low, high = (values.expand_as(drawn) for values in (bounds.low, bounds.high))

    def nats(low: Tensor, high: Tensor) -> Tensor:
        image, *ends = (values.T[None, :, None, :] for values in (drawn, low, high))
        with calling("channel_log_mass", image=spec), torch.no_grad():
            return head.channel_log_mass(parameters.T[None, :, None, :], image, Interval(*ends))[0, :, 0].T

    whole = nats(low, high)
    below = (nats(low, (drawn - 1).maximum(low)) - whole).exp()
    return torch.where(drawn > low, below, 0), (nats(drawn, drawn) - whole).exp()


def _check(name: str, spec: ImageSpec, below: Tensor, own: Tensor, seed: int) -> None:
    """Checks the numbers between `below` and `below + own`, (n, c), of each channel and of each pair of channels."""
    share = torch.rand(below.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
    numbers = (below + share * own).unbind(1)
    for channel, values in enumerate(numbers):
        message = f"{name} draws values of channels that do not have the probabilities of channel_log_prob"
        check_uniform(values, f"{message}, given the earlier channels", image=spec, channel=channel)
    for first, second in itertools.combinations(range(len(numbers)), 2):
        for values in (numbers[first] + numbers[second], numbers[first] - numbers[second]):
            message = f"{name} draws the channels {first} and {second} of a pixel with dependent noise"
            check_uniform(values % 1, message, image=spec)


FEW = 500
"""The number of pixels that are drawn with and without each adjustment."""
SINGLE = {
    "reduction": Adjustments(reduction=2.0),
    "centers": Adjustments(centers=True),
    "temperature": Adjustments(temperature=3.0),
    "min_weight": Adjustments(min_weight=0.5),
}
"""Adjustments that change only one field, by the field's name."""


def check_adjustments(build: Callable[[Any, ImageSpec], Head], config: object, specs: Sequence[ImageSpec]) -> None:
    """Checks the law `adjustments` of a head with each of the specs. A head that declares nothing passes."""
    used: set[str] = set()
    declared: set[str] = set()
    for seed, spec in enumerate(specs):
        head = build(config, spec)
        if head.understands is None:
            continue
        declared.update(head.understands)
        for name, adjustments in SINGLE.items():
            if (method := _difference(head, spec, adjustments, seed)) is None:
                continue
            used.add(name)
            if name not in head.understands:
                message = f"{method} draws other pixels with the adjustment '{name}', which `understands` leaves out"
                broken("adjustments", message, adjustments=adjustments, image=spec)
    if unused := sorted(declared - used):
        message = f"`understands` names '{unused[0]}', but no adjustment of this name changes a drawn pixel"
        broken("adjustments", f"{message} (known: {', '.join(SINGLE)})")


def _difference(head: Head, spec: ImageSpec, adjustments: Adjustments, seed: int) -> str | None:
    """The name of a method that draws other pixels with the adjustments than without; None if there is none."""
    parameters = normal_noise((FEW, head.parameter_count), seed)
    ways: dict[str, Possible | None] = {"draw": None}
    if isinstance(head, RestrictableHead):
        ways["draw_restricted"] = Possible.random(FEW, spec, seed)
    for name, within in ways.items():
        exact, drawn = (drawn_pixels(head, spec, parameters, seed, each, within) for each in (EXACT, adjustments))
        if not torch.equal(exact, drawn):
            return name
    return None
