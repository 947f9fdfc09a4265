"""Checks of the pixels that a head draws."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.model import Adjustments, Head, ImageSpec, Interval, RestrictableHead
from auxar.testing.frequencies import CAREFUL, check_alike, check_frequencies, check_uniform
from auxar.testing.invariances import Function, Results, check_invariances
from auxar.testing.laws import broken, calling
from auxar.testing.likelihoods import all_pixels
from auxar.testing.pixels import Drawing, normal_noise, ways_to_draw

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
MEASURED = (REDUCED, HOT, Adjustments(min_weight=0.5), MIXED)
"""The adjustments with which the frequencies of drawn pixels are compared with their probabilities."""
ADJUSTMENTS = (USUAL, CENTERS, FROZEN, MIXED)
"""The adjustments with which drawn pixels must be valid and reproducible."""


def check_draw(head: Head, spec: ImageSpec, parameters: Tensor, seed: int) -> None:
    """Checks the invariances and the law `precision` of pixels, drawn with parameters (b, parameter_count, h, w)."""
    rows = parameters.permute(0, 2, 3, 1).flatten(0, 2)
    for drawing in ways_to_draw(head, spec, len(rows), seed):
        for adjustments in ADJUSTMENTS:
            _check_draw(drawing, rows, drawing.uniforms(len(rows), seed), adjustments)


def _check_draw(drawing: Drawing, rows: Tensor, uniforms: Tensor, adjustments: Adjustments) -> None:
    def compute(parameters: Tensor, uniforms: Tensor, *ends: Tensor) -> Results:
        own = attrs.evolve(drawing, possible=Interval(*ends) if ends else None)
        return {drawing.name: own(parameters, uniforms, adjustments)}

    ends = () if drawing.possible is None else (drawing.possible.low, drawing.possible.high)
    # On another device, noise at the very ends of the range may be rounded to another value.
    check_invariances(Function(f"{drawing.name} with {adjustments}", compute), rows, uniforms, *ends, skip=("device",))
    coarse = rows.bfloat16()
    exact, *others = (
        drawing(coarse.to(dtype), uniforms, adjustments) for dtype in (torch.double, torch.float, torch.bfloat16)
    )
    # Noise at the very ends of (0, 1) may be rounded to 0 or 1.
    if any((drawn != exact).any(1)[1:-1].sum() > ROUNDED for drawn in others):
        message = f"{drawing.name} draws other pixels for the same parameters in float32 or bfloat16 than in float64"
        broken("precision", message, adjustments=adjustments)


def check_drawn_pixels(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the laws `draws` and `rule`, for a spec whose pixels can be enumerated."""
    parameters = normal_noise((1, head.parameter_count), seed) * COUNTED_SIZE
    _check_probabilities(Drawing(head, spec), parameters, USUAL, seed)
    _check_rules(head, spec, parameters.expand(COMPARED, -1), seed)
    for drawing in ways_to_draw(head, spec, 1, seed):
        for adjustments in MEASURED:
            _check_probabilities(drawing, parameters, adjustments, seed)


def _check_probabilities(drawing: Drawing, parameters: Tensor, adjustments: Adjustments, seed: int) -> None:
    """Checks the law `draws` for one pixel with parameters (1, parameter_count), if its likelihoods can be computed."""
    spec, pixels = drawing.spec, all_pixels(drawing.spec)
    try:
        head = drawing.head.adjusted(adjustments)
    except UserError:
        return
    bounds = drawing.intervals(pixels)
    image, *ends = (values.T[None, :, None, :] for values in (pixels, bounds.low, bounds.high))
    every = parameters[..., None, None].expand(-1, -1, 1, len(pixels))
    with calling(f"likelihoods with {adjustments}"), torch.no_grad():
        if drawing.possible is None:
            nats = head.log_prob(every, image)
        else:
            assert isinstance(head, RestrictableHead)
            nats = head.restricted_log_prob(every, image, Interval(*ends)).sum(1)
    drawn = drawing.random(parameters.expand(DRAWN, -1), seed, adjustments)
    check_frequencies(drawn, pixels, nats.flatten(), spec.levels, "pixel")


def _check_rules(head: Head, spec: ImageSpec, many: Tensor, seed: int) -> None:
    """Checks the law `rule`, with draws of one pixel whose parameters are repeated in `many`, (n, parameter_count).

    A restricted draw whose intervals contain all values has the distribution of a free draw. This is checked for the
    first channel, because some heads choose a mixture component once for each free pixel, but again for each restricted
    channel. A lower temperature makes likely pixels more frequent, unless the head ignores it. If the rule `reduced`
    has an effect, it draws values closer to those of `map`, and in the limit of scales of 0 the same.
    """
    drawing, rules = Drawing(head, spec), (*ADJUSTMENTS, HOT, COLD, REDUCED, SHARP, HEAVY)
    drawn = {each: drawing.random(many, seed, each) for each in rules}
    whole = attrs.evolve(drawing, possible=drawing.intervals(torch.zeros((1, 2, spec.channels), dtype=torch.int64)))
    for adjustments, free in drawn.items() if isinstance(head, RestrictableHead) else ():
        restricted = whole.random(many, seed + 1, adjustments)
        message = "the first channel of draw_restricted differs from that of draw, though all values are allowed"
        check_alike(free[:, 0], restricted[:, 0], "rule", message, adjustments=adjustments)
    for warmer, colder in ((HOT, USUAL), (USUAL, COLD)):
        with calling("log_prob"), torch.no_grad():
            less, more = (
                -head.log_prob(many[..., None, None], drawn[each][..., None, None]) for each in (warmer, colder)
            )
        temperatures = f"{colder.temperature:g} are less likely than pixels drawn at {warmer.temperature:g}"
        _check_less(more, less, f"pixels drawn at temperature {temperatures}")
    if not torch.equal(drawn[REDUCED], drawn[USUAL]):
        for first, second in zip(drawn[SHARP].unbind(1), drawn[CENTERS].unbind(1), strict=True):
            check_alike(first, second, "rule", "scales that are reduced until they vanish must draw the centers")
        usual, reduced = ((drawn[each] - drawn[CENTERS])[:, 0].abs() for each in (USUAL, REDUCED))
        _check_less(reduced, usual, "with reduced scales, the values that are drawn lie further from the centers")


def _check_less(less: Tensor, more: Tensor, message: str) -> None:
    """Checks the law `rule`: the mean of the first sample is not greater than of the second, except by coincidence."""
    less, more = less.double().flatten(), more.double().flatten()
    error = CAREFUL * ((less.var() + more.var()) / len(less)).sqrt().item()
    if less.mean().item() > more.mean().item() + error:
        broken("rule", message)


SIZE = 3.0
"""Standard deviation of the random parameters. With a larger one, most values are certain."""


def check_conditionals(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the law `draws` for a spec whose pixels may be too many to be enumerated, if the head can be restricted.

    If a channel's value x has the distribution that the head gives it after the earlier channels, then a number drawn
    uniformly between the probabilities of the values below x and of the values up to x is uniform in (0, 1). The
    numbers of different channels are independent.
    """
    # The noise of draws has the seed itself, and must not depend on the parameters.
    parameters = normal_noise((COMPARED, head.parameter_count), seed + 2) * SIZE
    for drawing in ways_to_draw(head, spec, COMPARED, seed) if isinstance(head, RestrictableHead) else ():
        below, own = _masses(drawing, parameters, drawing.random(parameters, seed))
        share = torch.rand(below.shape, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64)
        _check_independent(drawing, (below + share * own).unbind(1))


def _masses(drawing: Drawing, parameters: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
    """The probabilities of the possible values below each drawn one, and of the drawn one itself: (n, c) each."""
    head, bounds = drawing.head, drawing.intervals(drawn)
    assert isinstance(head, RestrictableHead)

    def nats(low: Tensor, high: Tensor) -> Tensor:
        image, *ends = (values.T[None, :, None, :] for values in (drawn, low, high))
        with calling("channel_log_mass"), torch.no_grad():
            return head.channel_log_mass(parameters.T[None, :, None, :], image, Interval(*ends))[0, :, 0].T

    whole = nats(bounds.low, bounds.high)
    below = (nats(bounds.low, (drawn - 1).maximum(bounds.low)) - whole).exp()
    return torch.where(drawn > bounds.low, below, 0), (nats(drawn, drawn) - whole).exp()


def _check_independent(drawing: Drawing, numbers: Sequence[Tensor]) -> None:
    """Checks numbers of each channel, (n,), and of each pair of channels."""
    for channel, values in enumerate(numbers):
        message = f"{drawing.name} draws values of channels that do not have the probabilities of channel_log_prob"
        check_uniform(values, f"{message}, given the earlier channels", channel=channel)
    for first, second in itertools.combinations(range(len(numbers)), 2):
        for values in (numbers[first] + numbers[second], numbers[first] - numbers[second]):
            message = f"{drawing.name} draws the channels {first} and {second} of a pixel with dependent noise"
            check_uniform(values % 1, message)


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
        parameters = normal_noise((FEW, head.parameter_count), seed)
        for drawing in ways_to_draw(head, spec, FEW, seed):
            declared.update(head.understands)
            exact = drawing.random(parameters, seed)
            for name, adjustments in SINGLE.items():
                if torch.equal(exact, drawing.random(parameters, seed, adjustments)):
                    continue
                used.add(name)
                if name not in head.understands:
                    message = f"{drawing.name} draws other pixels with the adjustment '{name}', which `understands` "
                    broken("adjustments", f"{message}leaves out", adjustments=adjustments)
    if unused := sorted(declared - used):
        message = f"`understands` names '{unused[0]}', but no adjustment of this name changes a drawn pixel"
        broken("adjustments", f"{message} (known: {', '.join(SINGLE)})")
