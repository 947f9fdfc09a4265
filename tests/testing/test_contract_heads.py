"""Tests that the contract check of heads fails for each broken law, and passes for the shipped heads and other ones."""

import math
from types import SimpleNamespace

import attrs
import pytest
import torch
from helpers.contract import alternately, before, breaks, cases, mutant, setting, then
from helpers.right_network import Net, PlainHead

from auxar.errors import UserError
from auxar.model import Adjustments, CausalDistribution, Head, ImageSpec, Interval
from auxar.testing import ContractError, check_decoder, check_head, check_prior
from auxar.testing.head_draws import check_adjustments, check_conditionals, check_drawn_pixels
from auxar.testing.heads import check_likelihoods, check_start
from auxar.testing.integer_heads import check_integer_head
from auxar.testing.limits import check_limits
from auxar_heads import SOFTMAX
from auxar_heads.logistic_mixture import LogisticMixtureHead
from auxar_heads.softmax import SoftmaxConfig, SoftmaxHead

COLORS = ImageSpec(height=1, width=1)
ONE_PIXEL = ImageSpec(1, height=1, width=1, levels=16)
FEW = attrs.evolve(COLORS, levels=5)


class Mixture(LogisticMixtureHead):
    def __init__(self, image):
        super().__init__(image, 2)


class Centered(LogisticMixtureHead):
    def __init__(self, image):
        super().__init__(image, 2, centered=True)


def centered(around, **edits):
    return "around", mutant(Centered, **edits | ({"around": around} if around else {}))


def softmax(law, **edits):
    return law, mutant(SoftmaxHead, **edits)


def mixture(law, **edits):
    return law, mutant(Mixture, **edits)


# Faults in masses and restricted likelihoods


def mass_unclipped(self, right, parameters, image, interval):
    """The ends of intervals are read as they are, although they may lie beyond the range."""
    values = (torch.full_like(image, value) for value in range(self.levels))
    return sum(right(parameters, image, Interval(v, v)).exp() * inside(v, interval) for v in values).clamp(max=1).log()


def inside(image, interval):
    return (interval.low <= image) & (image <= interval.high)


def without_mass(self, right, parameters, image, interval):
    return self.channel_log_prob(parameters, image).masked_fill(~inside(image, interval), -torch.inf)


def also_outside(self, right, parameters, image, interval):
    return self.channel_log_prob(parameters, image) - self.channel_log_mass(parameters, image, interval)


def from_probabilities(self, right, parameters, image, interval):
    """Probabilities are divided, which may be too small to be represented."""
    mass = self.channel_log_mass(parameters, image, interval).exp()
    found = (self.channel_log_prob(parameters, image).exp() / mass).log()
    return found.masked_fill(~inside(image, interval), -torch.inf)


# Faults in draws


def walking(pixels, **methods):
    """Pixels whose walk has other methods."""
    right = {"interval": pixels.walk.interval, "take": pixels.walk.take}
    return attrs.evolve(pixels, walk=SimpleNamespace(**right | methods))


def drawn_at_the_end(self, right, parameters, uniforms, adjustments, pixels):
    """Restricted draws are free draws that are clamped."""
    drawn = self.draw(parameters, uniforms, adjustments)
    for channel in range(self.channels):
        interval = pixels.interval(channel)
        drawn[:, channel] = drawn[:, channel].clamp(interval.low, interval.high)
        pixels.take(channel, drawn[:, channel])
    return drawn


def in_int8(pixels):
    def interval(places, channel):
        found = pixels.walk.interval(places, channel)
        return Interval(found.low, torch.maximum(found.low, found.high.clamp(max=127)))

    return walking(pixels, interval=interval)


def asks_first(self, right, parameters, uniforms, adjustments, pixels):
    for channel in range(self.channels):
        pixels.interval(channel)
    return right(parameters, uniforms, adjustments, pixels)


def takes(value):
    """An edit that passes a value on before it draws."""

    def edit(self, right, parameters, uniforms, adjustments, pixels):
        pixels.take(0, value(pixels, len(parameters)))
        return right(parameters, uniforms, adjustments, pixels)

    return edit


def black_modes(self, right, parameters, uniforms, adjustments, pixels):
    """Restricted draws leave the interval, under one rule only."""
    if not adjustments.centers:
        return right(parameters, uniforms, adjustments, pixels)
    drawn = torch.zeros((len(parameters), self.channels), dtype=torch.int64)
    for channel in range(self.channels):
        pixels.interval(channel)
        pixels.take(channel, drawn[:, channel])
    return drawn


def drawn_in_half(self, right, parameters, uniforms, adjustments):
    """Draws of parameters in float32 are in float16."""
    if parameters.dtype != torch.float32:
        return right(parameters, uniforms, adjustments)
    ends = parameters.view(len(parameters), self.channels, self.levels).half().softmax(2).cumsum(2)
    return (ends[..., :-1] <= uniforms.half()[..., None] * ends[..., -1:]).sum(2)


ONE_NUMBER = before(uniforms=lambda uniforms: uniforms[:, :1].expand_as(uniforms))
LAST_ALIKE = before(uniforms=lambda uniforms: uniforms[:, [*range(uniforms.shape[1] - 1), -2]])

# Faults in drawing rules


def ruled(change):
    """Edits of all draws that change the adjustments."""
    edit = before(adjustments=change)
    return {"draw": edit, "draw_restricted": edit}


def shifted(rows, change):
    """Edits of all draws of a mixture that add to the parameters of the channels in the rows from `rows(channels)`."""

    def edit(self, right, parameters, uniforms, adjustments, *pixels):
        parameters, first = parameters.clone(), rows(self.channels)
        parameters.view(len(parameters), -1, self.components)[:, first : first + self.channels] += change(adjustments)
        return right(parameters, uniforms, adjustments, *pixels)

    return {"draw": edit, "draw_restricted": edit}


# Faults in free likelihoods


def values_only(self, right, parameters, image):
    return SoftmaxHead.channel_log_prob(self, parameters, image).sum(1)


def looking_ahead(self, right, parameters, image):
    return right(parameters, image) - 0.1 * (image.roll(-1, 1) > 0) + 0.1 * (image > 0)


def in_bytes(self, right, parameters, image):
    return right(parameters, (image * 2 + 1) // 2 % self.levels)


def coarse(self, right, parameters):
    return right(parameters).to(parameters.dtype)


def less(where):
    """An edit of `log_prob` that gives less likelihood for some arguments."""
    return lambda self, right, parameters, image: right(parameters, image) - int(where(parameters, image))


def refusing(self, right, image):
    if image.channels > 1:
        raise ValueError("too colorful")
    right(image)


WHOLE = {
    "mass is off": softmax("mass", channel_log_mass=then(lambda nats: nats - 0.01)),
    "mass unclipped": mixture("mass", channel_log_mass=mass_unclipped),
    "restricted is free": softmax("restricted", restricted_log_prob=without_mass),
    "restricted outside": softmax("restricted", restricted_log_prob=also_outside),
    "restricted from probabilities": softmax("gradient", restricted_log_prob=from_probabilities),
    "drawn at the end": softmax("draws", draw_restricted=drawn_at_the_end),
    "drawn by one number": softmax("draws", draw=ONE_NUMBER),
    "restricted by one number": softmax("draws", draw_restricted=ONE_NUMBER),
    "takes others": softmax("walk", draw_restricted=then(lambda drawn: drawn.flip(0))),
    "asks first": softmax("walk", draw_restricted=asks_first),
    "boundless": mixture("range", draw=lambda self, right, p, u, a: right(p, u, a) + (u[:, :1] > 1 - 1e-12)),
    "modes outside": softmax("inside", draw_restricted=black_modes),
    "floating": softmax("draw", draw=then(torch.Tensor.double)),
    "scales itself": softmax("inputs", draw=before(parameters=lambda p: p.div_(2).mul(2))),
    "draws by batch": softmax("batch", draw=before(parameters=lambda p: p - 9 * p.mean(0))),
    "drawn in half": softmax("precision", draw=drawn_in_half),
    "first of many": softmax(
        "batch", channel_log_prob=before(parameters=lambda p: p if len(p) < 4 else p[:1].expand_as(p))
    ),
    "halved": softmax("channels", channel_log_prob=then(lambda nats: nats * 0.5), log_prob=values_only),
    "looking ahead": softmax("normalization", channel_log_prob=looking_ahead),
    "unnormalized": softmax("normalization", channel_log_prob=then(lambda nats: nats * 1.01)),
    "by batch": softmax("batch", channel_log_prob=before(parameters=lambda p: p - p.mean(0, keepdim=True) * 2)),
    "by place": softmax("batch", channel_log_prob=before(parameters=lambda p: p * (1 + torch.arange(p.shape[3])))),
    "bytes": softmax("runs", channel_log_prob=in_bytes),
    "coarse": softmax("precision", _logits=coarse),
    "single": softmax("precision", channel_log_prob=before(parameters=torch.Tensor.float)),
    "flat": softmax("gradient", log_prob=before(parameters=torch.Tensor.detach)),
    "infinite": softmax("gradient", channel_log_prob=then(lambda nats: nats.exp().log())),
    "whole": softmax("shape", channel_log_prob=then(lambda nats: nats.sum(1))),
    "uncounted": softmax("spec", __init__=setting(uniform_count=None)),
    "refusing": softmax("build", __init__=refusing),
    "without masses": ("draws", mutant(PlainHead, draw=before(uniforms=lambda uniforms: uniforms / 2))),
    "starts anew": mixture("start", initial_parameters=alternately(lambda found: found + 1)),
    "no head": ("spec", lambda image: "head"),
}
"""Faults that the whole check finds."""
CHANNELS = {
    "clipped": mixture("draws", draw_restricted=before(pixels=in_int8)),
    "drawn alike": softmax("draws", draw=LAST_ALIKE),
    "swapped channels": softmax("draws", draw=then(lambda drawn: drawn.flip(1))),
}
"""Faults in draws of many levels."""
RULES = {
    "hot is cold": softmax(
        "rule", **ruled(lambda a: attrs.evolve(a, temperature=min(a.temperature, 1 / a.temperature)))
    ),
    "light if restricted": mixture("rule", draw_restricted=before(adjustments=lambda a: attrs.evolve(a, min_weight=0))),
    "beside centers": mixture("rule", **shifted(lambda channels: 1, lambda a: 0.5 * a.centers)),
    "widened": mixture("rule", **shifted(lambda channels: 1 + channels, lambda a: 2 * a.reduction)),
    "likely as reduced": mixture("draws", adjusted=before(adjustments=lambda a: attrs.evolve(a, reduction=0.0))),
    "likely as light": mixture("draws", adjusted=before(adjustments=lambda a: attrs.evolve(a, min_weight=0.0))),
    "likely as hot": softmax("draws", adjusted=lambda self, right, adjustments: self),
}
"""Faults in draws by rules, and in their likelihoods."""
LIKELIHOODS = {
    "too likely": softmax("range", log_prob=then(lambda nats: nats + 100)),
    "impossible": softmax("finite", log_prob=then(lambda nats: nats - torch.inf)),
    "restricted outside": WHOLE["restricted outside"],
    "less in narrow": softmax("precision", log_prob=less(lambda p, image: p.dtype != torch.float64)),
    "less in bfloat": softmax("precision", log_prob=less(lambda p, image: p.dtype == torch.bfloat16)),
    "mass of value": softmax("channels", channel_log_mass=lambda self, right, p, x, i: right(p, x, i) - 0.01 * x),
    "open end": mixture("mass", channel_log_mass=before(interval=lambda i: Interval(i.low, i.high.clamp(max=254)))),
    "takes first": softmax("walk", draw_restricted=takes(lambda pixels, count: torch.zeros(count, dtype=torch.int64))),
    "moved away": centered(then(lambda found: found[:, 1:])),
    "moved by itself": centered(lambda self, right, parameters, centers: right(parameters, centers) + 0.1),
    "unmoved": centered(lambda self, right, parameters, centers: parameters.double()),
    "moved by place": centered(
        lambda self, right, p, centers: right(p, centers if p.dim() == 2 else torch.zeros_like(centers))
    ),
    "centered in floats": centered(None, integer_head=lambda self, right: Mixture(ONE_PIXEL).integer_head()),
    "takes short": softmax("walk", draw_restricted=takes(lambda pixels, count: pixels.interval(0).low.int())),
}
"""Faults in likelihoods and draws of many levels, which other checks would find before in images of few levels."""


def integers(law, frequencies=None, **attributes):
    """A head whose integer form has other attributes, or edited frequencies."""

    def edit(own):
        vars(own).update(attributes)
        if frequencies:
            right = own.frequencies
            own.frequencies = lambda parameters, rule: frequencies(right, parameters, rule)
        return own

    return softmax(law, integer_head=then(edit))


def cumulative(change):
    """An edit of the frequencies of an integer head that changes the cumulative ones."""

    def edit(right, parameters, rule):
        found = right(parameters, rule)
        below = found.below
        found.below = lambda *place: change(below(*place), parameters)
        return found

    return edit


INTEGERS = {
    "no integers": softmax("integers", integer_head=then(lambda own: own.frequencies)),
    "fewer parameters": integers("integers", parameter_count=1),
    "fewer numbers": integers("spec", restricted_uniform_count=0),
    "half the total": integers("integers", cumulative(lambda below, p: below // 2)),
    "floating": integers("integers", cumulative(lambda below, p: below.double())),
    "zeros": integers("integers", cumulative(lambda below, p: below >> 16 << 16)),
    "falling": integers("integers", cumulative(lambda below, p: below ^ (below < 2**24) * (below > 0) * 2**16)),
    "by batch": integers("batch", cumulative(lambda below, p: below - (below < 2**24) * (below > 0) * (len(p) % 2))),
    "other bits": integers("integers", lambda right, p, rule: right(p // 2, rule)),
}
"""Faults in the integer form of a head."""


@pytest.mark.parametrize(("law", "head"), cases(INTEGERS))
def test_a_broken_integer_head_is_caught(law, head):
    image = attrs.evolve(ONE_PIXEL, levels=256)
    breaks(law, check_integer_head, head(image), image, 0)


@pytest.mark.parametrize(("law", "head"), cases(WHOLE))
def test_a_broken_head_is_caught(law, head, request):
    if law != "gradient":  # The first example that breaks this law breaks another law, too.
        request.getfixturevalue("one_example" if law in ("draws", "start") else "first_example")
    breaks(law, check_head, lambda config, image: head(image), None)


@pytest.mark.parametrize(("law", "head"), cases(CHANNELS))
def test_a_head_that_draws_wrongly_at_many_levels_is_caught(law, head):
    breaks(law, check_conditionals, head(COLORS), COLORS, 0)


@pytest.mark.parametrize(("law", "head"), cases(RULES))
def test_a_head_that_breaks_a_drawing_rule_is_caught(law, head):
    found = breaks(law, check_drawn_pixels, head(FEW), FEW, 0)
    assert ("draw_restricted differs" in found) == ("\n  adjustments = Adjustments(" in found)


@pytest.mark.parametrize(
    ("law", "change"),
    [
        ("start", lambda found: found[1:]),
        ("start", lambda found: found + torch.inf),
        ("state", lambda found: found + torch.rand(())),
    ],
)
def test_wrong_initial_parameters_are_caught(law, change):
    breaks(law, check_start, mixture(law, initial_parameters=then(change))[1](COLORS), COLORS, 0)


@pytest.mark.parametrize(("law", "head"), cases(LIKELIHOODS))
def test_a_fault_in_likelihoods_or_draws_of_many_levels_is_caught(law, head):
    image = ONE_PIXEL if law == "around" else COLORS
    breaks(law, check_likelihoods, head(image), image, 0, 1.0)


def test_masses_of_more_levels_than_can_be_summed_are_compared_with_likelihoods():
    def of_middle(self, right, parameters, image, interval):
        middle = (interval.low == interval.high) & (interval.low > 0) & (interval.high < self.levels - 1)
        return right(parameters, image, interval) - 0.1 * middle

    image = attrs.evolve(COLORS, levels=6000, channels=1)
    breaks("mass", check_likelihoods, mutant(SoftmaxHead, channel_log_mass=of_middle)(image), image, 0, 1.0)


def test_a_head_that_can_be_restricted_need_not_give_likelihoods_of_channels():
    def restricted(self, right, parameters, image, interval):
        nats = SoftmaxHead.channel_log_prob(self, parameters, image)
        found = nats - self.channel_log_mass(parameters, image, interval)
        return found.masked_fill(~inside(image, interval), -torch.inf)

    edits = {"log_prob": values_only, "restricted_log_prob": restricted}
    head = mutant(SoftmaxHead, channel_log_prob=lambda *arguments: None, **edits)
    check_likelihoods(head(COLORS), COLORS, 0, 1.0)


@pytest.mark.parametrize(("law", "head"), [WHOLE["mass is off"], WHOLE["drawn at the end"]])
def test_a_broken_head_is_caught_in_a_network(law, head):
    breaks(law, check_prior, lambda config, image: CausalDistribution(Net(image, 0, head(image))), None)
    breaks(law, check_decoder, lambda config, image, n: CausalDistribution(Net(image, n, head(image))), None)


class Coin(Head):
    """A valid head that cannot be restricted and has no likelihoods of channels."""

    parameter_count = 1
    uniform_count = 3

    def __init__(self, config, image):
        if image.levels != 2:
            raise UserError(f"expected an image with 2 levels, got {image.levels}")
        self.channels = image.channels

    def log_prob(self, parameters, image):
        logits = parameters.to(torch.promote_types(parameters.dtype, torch.float32))
        return torch.nn.functional.logsigmoid(torch.where(image > 0, logits, -logits)).sum(1)

    def draw(self, parameters, uniforms, adjustments: Adjustments):
        return (uniforms[:, : self.channels] < torch.sigmoid(parameters.double())).long()


def test_a_head_may_offer_no_more_than_it_must():
    check_head(Coin, None)
    breaks("normalization", check_head, mutant(Coin, log_prob=then(lambda nats: nats * 0.99)), None)
    with pytest.raises(ContractError, match=r"^build: build must accept every spec in the argument `images`"):
        check_head(Coin, None, images=[ImageSpec(1, height=1, width=1, levels=3)])


@pytest.mark.usefixtures("one_example")
def test_what_was_not_checked_is_said():
    with pytest.warns(UserWarning, match="draws and sums over whole pixels were not checked"):
        check_head(SOFTMAX.build, SoftmaxConfig(), images=[ImageSpec(3, height=1, width=1, levels=18)])


@pytest.mark.parametrize(
    ("base", "options"),
    [
        (SoftmaxHead, ()),
        (Mixture, {"reduction", "centers"}),
        (SoftmaxHead, ["temperature", "min_weight"]),
        (Mixture, ("centers", "reductions")),
    ],
)
def test_adjustments_that_a_head_does_not_declare_rightly(base, options):
    head = mutant(base, understands=options)
    breaks("adjustments", check_adjustments, lambda config, image: head(image), None, [COLORS])


def limits_itself(self, right, limits):
    """The limits are those of this head, too."""
    self.limits = limits
    return right(limits)


@pytest.mark.parametrize(
    "edits",
    [
        {"limitable": {"log_scales": [1.0]}},
        {"limitable": {"log_scales": [-3.0, 1.0]}},
        {"limitable": {"log_scales": [1.0, 1.0, -3.0]}},
        {"limitable": {"log_scales": [math.inf, -3.0]}},
        {"limitable": {"log_scales": [1.0, -3.0], "means": [1.0, 0.5]}},
        {"bounded": lambda self, right, limits: right(dict.fromkeys(limits, 0.0))},
        {"bounded": lambda self, right, limits: right(limits or {"log_scales": 0.0})},
        {"bounded": limits_itself},
    ],
    ids=["one", "rising", "twice", "infinite", "without effect", "others", "never none", "in place"],
)
def test_limits_that_a_head_does_not_keep_are_caught(edits):
    check_limits(Mixture(COLORS), COLORS, 0)
    breaks("limits", check_limits, mutant(Mixture, **edits)(COLORS), COLORS, 0)


@pytest.mark.parametrize("base", [SoftmaxHead, Mixture])
def test_adjustments_may_be_declared_or_unknown(base):
    for options in (base.understands, list(base.understands), None):
        config = mutant(base, understands=options)
        check_adjustments(lambda config, image: config(image), config, [COLORS])


@pytest.mark.usefixtures("one_example")
def test_the_check_of_heads_includes_their_adjustments():
    spec = ImageSpec(1, height=1, width=1, levels=2)
    head = mutant(SoftmaxHead, understands=())
    found = breaks("adjustments", check_head, lambda config, image: head(image), None, images=[spec])
    assert "draw draws other pixels" in found
