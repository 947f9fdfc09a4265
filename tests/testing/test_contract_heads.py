"""Tests that the contract check of heads fails for each broken law, and passes for the shipped heads and other ones."""

import attrs
import pytest
import torch
from helpers.contract import tells
from helpers.right_network import Net

from auxar.errors import UserError
from auxar.model import Adjustments, CausalDistribution, Head, ImageSpec, Interval
from auxar.testing import ContractError, check_decoder, check_head, check_prior, invariances
from auxar.testing.head_draws import check_adjustments, check_conditionals, check_drawn_pixels
from auxar.testing.heads import check_likelihoods
from auxar.testing.laws import keeps_state
from auxar_heads import LOGISTIC_MIXTURE, SOFTMAX
from auxar_heads.logistic_mixture import LogisticMixtureConfig, LogisticMixtureHead
from auxar_heads.softmax import SoftmaxConfig, SoftmaxHead

COLORS = ImageSpec(height=1, width=1)


class Mixture(LogisticMixtureHead):
    def __init__(self, image):
        super().__init__(image, 2)


# Mutants of masses and of restricted likelihoods


class MassOff(SoftmaxHead):
    def channel_log_mass(self, parameters, image, interval):
        return super().channel_log_mass(parameters, image, interval) - 0.01


class MassOfAll(SoftmaxHead):
    """A head whose mass ignores the interval."""

    def channel_log_mass(self, parameters, image, interval):
        everything = Interval(torch.zeros_like(image), torch.full_like(image, self.levels - 1))
        return super().channel_log_mass(parameters, image, everything)


class MassWithoutEnd(SoftmaxHead):
    def channel_log_mass(self, parameters, image, interval):
        return super().channel_log_mass(parameters, image, Interval(interval.low, interval.high - 1))


class MassUnclipped(Mixture):
    """A head that reads the ends of intervals as they are, although they may lie beyond the range."""

    def channel_log_mass(self, parameters, image, interval):
        parts = [
            super(MassUnclipped, self).channel_log_mass(parameters, image, Interval(value, value)).exp()
            * ((interval.low <= value) & (value <= interval.high))
            for value in (torch.full_like(image, k) for k in range(self.levels))
        ]
        return sum(parts).clamp(max=1).log()


class MassGivenNothing(Mixture):
    """A head whose masses ignore the earlier channels."""

    def channel_log_mass(self, parameters, image, interval):
        return super().channel_log_mass(parameters, torch.zeros_like(image), interval)


class RestrictedIsFree(SoftmaxHead):
    def restricted_log_prob(self, parameters, image, interval):
        inside = (interval.low <= image) & (image <= interval.high)
        return self.channel_log_prob(parameters, image).masked_fill(~inside, -torch.inf)


class RestrictedOutside(SoftmaxHead):
    """A head that gives a likelihood to values outside of their interval."""

    def restricted_log_prob(self, parameters, image, interval):
        return self.channel_log_prob(parameters, image) - self.channel_log_mass(parameters, image, interval)


class RestrictedBySoftening(SoftmaxHead):
    def restricted_log_prob(self, parameters, image, interval):
        return super().restricted_log_prob(parameters.double() * 0.9, image, interval)


class RestrictedFromProbabilities(SoftmaxHead):
    """A head that divides probabilities, which may be too small to be represented."""

    def restricted_log_prob(self, parameters, image, interval):
        inside = (interval.low <= image) & (image <= interval.high)
        mass = self.channel_log_mass(parameters, image, interval).exp()
        return (self.channel_log_prob(parameters, image).exp() / mass).log().masked_fill(~inside, -torch.inf)


# Mutants of draws


class DrawnHigher(SoftmaxHead):
    """A head whose restricted draws are one value too high."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        higher = attrs.evolve(pixels, walk=Higher(pixels.walk, self.levels))
        return (super().draw_restricted(parameters, uniforms, rule, higher) + 1).clamp(max=self.levels - 1)


class Higher:
    """A walk that gets each drawn value plus 1."""

    def __init__(self, walk, levels):
        self.walk = walk
        self.levels = levels
        self.interval = walk.interval

    def take(self, places, channel, values):
        self.walk.take(places, channel, (values + 1).clamp(max=self.levels - 1))


class DrawnAtTheEnd(SoftmaxHead):
    """A head whose restricted draws stay in the interval, but are free draws that are clamped."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        drawn = self.draw(parameters, uniforms, rule)
        for channel in range(self.channels):
            interval = pixels.interval(channel)
            drawn[:, channel] = drawn[:, channel].clamp(interval.low, interval.high)
            pixels.take(channel, drawn[:, channel])
        return drawn


class DrawnByOneNumber(SoftmaxHead):
    """A head that draws all channels of a pixel with the same noise."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, uniforms[:, :1].expand_as(uniforms), rule)


class RestrictedByOneNumber(SoftmaxHead):
    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(parameters, uniforms[:, :1].expand_as(uniforms), rule, pixels)


class TakesNothing(SoftmaxHead):
    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(parameters, uniforms, rule, attrs.evolve(pixels, walk=Deaf(pixels.walk)))


class Deaf:
    """A walk that never gets the drawn values."""

    def __init__(self, walk):
        self.interval = walk.interval

    def take(self, places, channel, values):
        pass


class TakesOthers(SoftmaxHead):
    """A head that returns other values than it passed on."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        drawn = super().draw_restricted(parameters, uniforms, rule, pixels)
        return drawn.flip(0)


class AsksFirst(SoftmaxHead):
    """A head that asks for the intervals of all channels before it draws the first."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        for channel in range(self.channels):
            pixels.interval(channel)
        return super().draw_restricted(parameters, uniforms, rule, pixels)


class Boundless(Mixture):
    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, uniforms, rule) + (uniforms[:, :1] > 1 - 1e-12)


class ModesOutside(SoftmaxHead):
    """A head whose restricted draws leave the interval, under one rule only."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        if not rule.centers:
            return super().draw_restricted(parameters, uniforms, rule, pixels)
        drawn = torch.zeros((len(parameters), self.channels), dtype=torch.int64)
        for channel in range(self.channels):
            pixels.interval(channel)
            pixels.take(channel, drawn[:, channel])
        return drawn


class TooCold(SoftmaxHead):
    """A head whose probabilities are not finite at a low temperature. It then draws a value outside the range."""

    def draw(self, parameters, uniforms, rule):
        weights = (parameters.double() / rule.temperature).exp().view(len(parameters), self.channels, self.levels)
        ends = weights.cumsum(2)
        return (~(ends > uniforms[..., None] * ends[..., -1:])).sum(2)


class Floating(SoftmaxHead):
    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, uniforms, rule).double()


class SelfScaling(SoftmaxHead):
    """A head that changes the parameters that it draws from."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters.div_(2).mul(2), uniforms, rule)


class DrawsByBatch(SoftmaxHead):
    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters - 9 * parameters.mean(0), uniforms, rule)


class Restless(SoftmaxHead):
    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, torch.rand_like(uniforms), rule)


class DrawnWithoutPrecision(SoftmaxHead):
    """A head that draws one value too low if the parameters are in float32, as those of networks are."""

    def draw(self, parameters, uniforms, rule):
        return (super().draw(parameters, uniforms, rule) - int(parameters.dtype == torch.float32)).clamp(min=0)


class DrawnInHalf(SoftmaxHead):
    """A head that draws with probabilities in float16."""

    def draw(self, parameters, uniforms, rule):
        if parameters.dtype == torch.float64:
            return super().draw(parameters, uniforms, rule)
        ends = parameters.view(len(parameters), self.channels, self.levels).half().softmax(2).cumsum(2)
        return (ends[..., :-1] <= uniforms.half()[..., None] * ends[..., -1:]).sum(2)


class DrawnInMemory(SoftmaxHead):
    """A head that reads parameters in the order of memory when it draws."""

    def draw(self, parameters, uniforms, rule):
        if not parameters.is_contiguous():
            parameters = parameters.mT.reshape(parameters.shape)
        return super().draw(parameters, uniforms, rule)


# Mutants of draws that small images do not show


class Uncoupled(Mixture):
    """A head that draws channels independently of each other if there are many levels."""

    def draw(self, parameters, uniforms, rule):
        parameters = parameters.clone()
        parameters.view(len(parameters), -1, self.components)[:, -self.couplings :] *= self.levels < 256
        return super().draw(parameters, uniforms, rule)


class Clipped(Mixture):
    """A head whose restricted draws never exceed the largest value of int8."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(parameters, uniforms, rule, attrs.evolve(pixels, walk=InInt8(pixels.walk)))


class InInt8:
    def __init__(self, walk):
        self.walk = walk
        self.take = walk.take

    def interval(self, places, channel):
        found = self.walk.interval(places, channel)
        return Interval(found.low, torch.maximum(found.low, found.high.clamp(max=127)))


class DrawnAlike(SoftmaxHead):
    """A head that draws the last two channels with the same noise."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, uniforms[:, [*range(self.channels - 1), -2]], rule)


class WithoutMasses(Head):
    """A softmax that cannot be restricted, and draws values that are too low."""

    def __init__(self, image):
        self.right = SoftmaxHead(image)
        self.parameter_count, self.uniform_count = self.right.parameter_count, self.right.uniform_count

    def log_prob(self, parameters, image):
        return self.right.log_prob(parameters, image)

    def channel_log_prob(self, parameters, image):
        return self.right.channel_log_prob(parameters, image)

    def draw(self, parameters, uniforms, rule):
        return self.right.draw(parameters, uniforms / 2, rule)


# Mutants of drawing rules


class HotIsCold(SoftmaxHead):
    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, uniforms, self.cold(rule))

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(parameters, uniforms, self.cold(rule), pixels)

    def cold(self, rule):
        return attrs.evolve(rule, temperature=min(rule.temperature, 1 / rule.temperature))


class WarmOnce(SoftmaxHead):
    """A head whose restricted draws heed the temperature only if nothing else is adjusted."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        temperature = 1.0 if rule.reduction or rule.centers else rule.temperature
        return super().draw_restricted(parameters, uniforms, attrs.evolve(rule, temperature=temperature), pixels)


class WarmIfReduced(SoftmaxHead):
    """A head whose restricted draws ignore the temperature if log-scales are reduced."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        temperature = 1.0 if rule.reduction else rule.temperature
        return super().draw_restricted(parameters, uniforms, attrs.evolve(rule, temperature=temperature), pixels)


class LightIfRestricted(Mixture):
    """A head whose restricted draws leave out no light components."""

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(parameters, uniforms, attrs.evolve(rule, min_weight=0), pixels)


class NoCenters(Mixture):
    """A head that takes no centers if it is asked for centers."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(parameters, uniforms, Adjustments() if rule.centers else rule)

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(parameters, uniforms, Adjustments() if rule.centers else rule, pixels)


class BesideCenters(Mixture):
    """A head that draws values above the centers if it is asked for centers."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(self.raised(parameters, rule), uniforms, rule)

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(self.raised(parameters, rule), uniforms, rule, pixels)

    def raised(self, parameters, rule):
        parameters = parameters.clone()
        parameters.view(len(parameters), -1, self.components)[:, 1 : 1 + self.channels] += 0.5 * rule.centers
        return parameters


class Widened(Mixture):
    """A head in which the rule `reduced` makes scales larger."""

    def draw(self, parameters, uniforms, rule):
        return super().draw(self.widened(parameters, rule), uniforms, rule)

    def draw_restricted(self, parameters, uniforms, rule, pixels):
        return super().draw_restricted(self.widened(parameters, rule), uniforms, rule, pixels)

    def widened(self, parameters, rule):
        parameters = parameters.clone()
        channels = slice(1 + self.channels, 1 + 2 * self.channels)
        parameters.view(len(parameters), -1, self.components)[:, channels] += 2 * rule.reduction
        return parameters


# Mutants of free likelihoods


class Halved(SoftmaxHead):
    def channel_log_prob(self, parameters, image):
        return super().channel_log_prob(parameters, image) * 0.5

    def log_prob(self, parameters, image):
        return super().channel_log_prob(parameters, image).sum(1)


class LookingAhead(SoftmaxHead):
    """A head in which one channel depends on the value of the next channel."""

    def channel_log_prob(self, parameters, image):
        found = super().channel_log_prob(parameters, image)
        return found - 0.1 * (image.roll(-1, 1) > 0) + 0.1 * (image > 0)


class Unnormalized(SoftmaxHead):
    def channel_log_prob(self, parameters, image):
        return super().channel_log_prob(parameters, image) * 1.01


class PixelUnnormalized(SoftmaxHead):
    def log_prob(self, parameters, image):
        return super().log_prob(parameters, image) - 0.01


class ByBatch(SoftmaxHead):
    def channel_log_prob(self, parameters, image):
        return super().channel_log_prob(parameters - parameters.mean(0, keepdim=True) * 2, image)


class ByPlace(SoftmaxHead):
    def channel_log_prob(self, parameters, image):
        places = torch.arange(parameters.shape[3])
        return super().channel_log_prob(parameters * (1 + places), image)


class FirstOfMany(SoftmaxHead):
    """A head that reads the parameters of the first image only, if there are more than 3 images."""

    def channel_log_prob(self, parameters, image):
        return super().channel_log_prob(parameters if len(image) < 4 else parameters[:1].expand_as(parameters), image)


class FewRows(SoftmaxHead):
    """A head that reads the parameters of the first two rows only."""

    def channel_log_prob(self, parameters, image):
        rows = torch.arange(parameters.shape[2]).clamp(max=1)
        return super().channel_log_prob(parameters[:, :, rows], image)


class InMemory(SoftmaxHead):
    """A head that reads parameters with channels last in the order of memory."""

    def channel_log_prob(self, parameters, image):
        if not parameters.is_contiguous() and parameters.is_contiguous(memory_format=torch.channels_last):
            parameters = parameters.permute(0, 2, 3, 1).reshape(parameters.shape)
        return super().channel_log_prob(parameters, image)


class Remembering(SoftmaxHead):
    """A head that recognizes parameters by their place in memory."""

    def channel_log_prob(self, parameters, image):
        key = parameters.data_ptr(), parameters.shape, parameters.dtype
        if parameters.requires_grad or getattr(self, "key", None) != key:
            self.key, self.kept = key, parameters.clone()
        return super().channel_log_prob(self.kept, image)


class Bytes(SoftmaxHead):
    """A head that computes with the integers as they come."""

    def channel_log_prob(self, parameters, image):
        return super().channel_log_prob(parameters, (image * 2 + 1) // 2 % self.levels)


class Coarse(SoftmaxHead):
    """A head that computes in the precision of the network."""

    def _logits(self, parameters):
        return super()._logits(parameters).to(parameters.dtype)


class Single(SoftmaxHead):
    def channel_log_prob(self, parameters, image):
        return super().channel_log_prob(parameters.float(), image)


class Flat(SoftmaxHead):
    """A head without a gradient."""

    def log_prob(self, parameters, image):
        return super().log_prob(parameters.detach(), image)


class SteepAtTheEnds(Mixture):
    """A head whose gradient is NaN for some values, though its likelihood is right."""

    def log_prob(self, parameters, image):
        root = (parameters[:, 0] * (image[:, 0] > 0)).abs().sqrt()
        return super().log_prob(parameters, image) + 0 * root


class Infinite(SoftmaxHead):
    """A head that computes probabilities, which may be too small to be represented, and then their logarithm."""

    def channel_log_prob(self, parameters, image):
        return super().channel_log_prob(parameters, image).exp().log()


class Whole(SoftmaxHead):
    def channel_log_prob(self, parameters, image):
        return super().channel_log_prob(parameters, image).sum(1)


class Raising(SoftmaxHead):
    def channel_log_mass(self, parameters, image, interval):
        raise RuntimeError("not today")


class Uncounted(SoftmaxHead):
    def __init__(self, image):
        super().__init__(image)
        self.uniform_count = None  # type: ignore[assignment]


class Refusing(SoftmaxHead):
    def __init__(self, image):
        if image.channels > 1:
            raise ValueError("too colorful")
        super().__init__(image)


MUTANTS = {
    MassOff: "mass",
    MassOfAll: "mass",
    MassWithoutEnd: "mass",
    MassUnclipped: "mass",
    MassGivenNothing: "mass",
    RestrictedIsFree: "restricted",
    RestrictedOutside: "restricted",
    RestrictedBySoftening: "restricted",
    RestrictedFromProbabilities: "gradient",
    DrawnHigher: "inside",
    DrawnAtTheEnd: "draws",
    DrawnByOneNumber: "draws",
    RestrictedByOneNumber: "draws",
    TakesNothing: "walk",
    TakesOthers: "walk",
    AsksFirst: "walk",
    Boundless: "range",
    ModesOutside: "inside",
    TooCold: "range",
    Floating: "draw",
    SelfScaling: "inputs",
    DrawsByBatch: "batch",
    Restless: "state",
    DrawnWithoutPrecision: "precision",
    DrawnInHalf: "precision",
    DrawnInMemory: "layout",
    FirstOfMany: "batch",
    FewRows: "batch",
    InMemory: "layout",
    Remembering: "determinism",
    Halved: "channels",
    LookingAhead: "channels",
    Unnormalized: "normalization",
    PixelUnnormalized: "normalization",
    ByBatch: "batch",
    ByPlace: "batch",
    Bytes: "runs",
    Coarse: "precision",
    Single: "precision",
    Flat: "gradient",
    SteepAtTheEnds: "gradient",
    Infinite: "gradient",
    Whole: "shape",
    Raising: "runs",
    Uncounted: "spec",
    Refusing: "build",
}


@pytest.mark.parametrize(
    ("component", "config"),
    [
        (SOFTMAX, SoftmaxConfig()),
        pytest.param(LOGISTIC_MIXTURE, LogisticMixtureConfig(1), marks=pytest.mark.slow),
        (LOGISTIC_MIXTURE, LogisticMixtureConfig(3)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_the_shipped_heads_keep_the_contract(component, config):
    with keeps_state("the check"):
        check_head(component.build, config)


@pytest.mark.parametrize(("head", "message"), MUTANTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_broken_head_is_caught(head, message, request):
    if head not in (RestrictedFromProbabilities, Infinite):  # Their first example breaks another law.
        request.getfixturevalue("first_example")
    with pytest.raises(ContractError) as error:
        check_head(lambda config, image: head(image), None)
    tells(error, message)


@pytest.mark.parametrize(
    ("head", "message"),
    [(Uncoupled, "draws"), (Clipped, "draws"), (DrawnAlike, "draws"), (WithoutMasses, "draws")],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_head_that_draws_wrongly_at_many_levels_is_caught(head, message):
    with pytest.raises(ContractError) as error:
        check_conditionals(head(COLORS), COLORS, 0)
    tells(error, message)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (HotIsCold, "rule"),
        (WarmOnce, "rule"),
        (WarmIfReduced, "rule"),
        (LightIfRestricted, "rule"),
        (NoCenters, "rule"),
        (BesideCenters, "rule"),
        (Widened, "rule"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_head_that_breaks_a_drawing_rule_is_caught(head, message):
    image = attrs.evolve(COLORS, levels=5)
    with pytest.raises(ContractError) as error:
        check_drawn_pixels(head(image), image, 0)
    tells(error, message)


# Faults that other checks would find before in images of few levels ---------------------------------------------------


class Writing(SoftmaxHead):
    def log_prob(self, parameters, image):
        found = super().log_prob(parameters, image)
        image[:, 0] = 0
        return found


class TooLikely(SoftmaxHead):
    def log_prob(self, parameters, image):
        return super().log_prob(parameters, image) + 100


class Impossible(SoftmaxHead):
    def log_prob(self, parameters, image):
        return super().log_prob(parameters, image) - torch.inf


class LessInBytes(SoftmaxHead):
    def log_prob(self, parameters, image):
        return super().log_prob(parameters, image) - int(image.dtype == torch.uint8)


class LessInNarrow(SoftmaxHead):
    """A head that gives less likelihood unless the parameters are in float64."""

    def log_prob(self, parameters, image):
        return super().log_prob(parameters, image) - int(parameters.dtype != torch.float64)


class LessInBfloat(SoftmaxHead):
    def log_prob(self, parameters, image):
        return super().log_prob(parameters, image) - int(parameters.dtype == torch.bfloat16)


class MassOfValue(SoftmaxHead):
    """A head whose mass depends on the value of its own channel."""

    def channel_log_mass(self, parameters, image, interval):
        return super().channel_log_mass(parameters, image, interval) - 0.01 * image


class MassOfMiddle(SoftmaxHead):
    """A head whose mass of a single value is wrong, unless it is the lowest or the highest one."""

    def channel_log_mass(self, parameters, image, interval):
        wrong = (interval.low == interval.high) & (interval.low > 0) & (interval.high < self.levels - 1)
        return super().channel_log_mass(parameters, image, interval) - 0.1 * wrong


class Alternating(SoftmaxHead):
    """A head that draws by other noise in every second call."""

    calls = 0

    def draw(self, parameters, uniforms, rule):
        self.calls += 1
        return super().draw(parameters, uniforms if self.calls % 2 else 1 - uniforms, rule)


class TakesFirst(SoftmaxHead):
    def draw_restricted(self, parameters, uniforms, rule, pixels):
        pixels.take(0, torch.zeros(len(parameters), dtype=torch.int64))
        return super().draw_restricted(parameters, uniforms, rule, pixels)


class TakesShort(SoftmaxHead):
    def draw_restricted(self, parameters, uniforms, rule, pixels):
        pixels.take(0, pixels.interval(0).low.int())
        return super().draw_restricted(parameters, uniforms, rule, pixels)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (Writing, "inputs"),
        (TooLikely, "range"),
        (Impossible, "finite"),
        (RestrictedOutside, "restricted"),
        (LessInBytes, "dtype"),
        (LessInNarrow, "precision"),
        (LessInBfloat, "precision"),
        (MassOfValue, "channels"),
        (Unnormalized, "normalization"),
        (Alternating, "determinism"),
        (TakesFirst, "walk"),
        (TakesShort, "walk"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_fault_in_likelihoods_or_draws_of_many_levels_is_caught(head, message):
    with pytest.raises(ContractError) as error:
        check_likelihoods(head(COLORS), COLORS, 0, 1.0)
    tells(error, message)


def test_masses_of_more_levels_than_can_be_summed_are_compared_with_likelihoods():
    image = attrs.evolve(COLORS, levels=6000, channels=1)
    with pytest.raises(ContractError) as error:
        check_likelihoods(MassOfMiddle(image), image, 0, 1.0)
    tells(error, "mass")


def test_a_head_is_compared_on_all_devices(monkeypatch):
    head = SoftmaxHead(COLORS)

    def all_devices():
        # From here on, log-likelihoods are too small, as if on another device.
        monkeypatch.setattr(head, "log_prob", lambda *arguments: SoftmaxHead.log_prob(head, *arguments) - 1e-3)
        return [torch.device("cpu"), torch.device("cpu:0")]

    monkeypatch.setattr(invariances, "devices", all_devices)
    with pytest.raises(ContractError) as error:
        check_likelihoods(head, COLORS, 0, 1.0)
    tells(error, "device")


class WithoutChannels(SoftmaxHead):
    """A valid head that can be restricted but gives no likelihoods of channels."""

    def log_prob(self, parameters, image):
        return super().channel_log_prob(parameters, image).sum(1)

    def channel_log_prob(self, parameters, image):
        return None

    def restricted_log_prob(self, parameters, image, interval):
        inside = (interval.low <= image) & (image <= interval.high)
        found = super().channel_log_prob(parameters, image) - self.channel_log_mass(parameters, image, interval)
        return found.masked_fill(~inside, -torch.inf)


def test_a_head_that_can_be_restricted_need_not_give_likelihoods_of_channels():
    check_likelihoods(WithoutChannels(COLORS), COLORS, 0, 1.0)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        *((head, MUTANTS[head]) for head in (MassOff, MassOfAll, DrawnHigher, RestrictedIsFree)),
        pytest.param(DrawnAtTheEnd, MUTANTS[DrawnAtTheEnd], marks=pytest.mark.slow),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_broken_head_is_caught_in_a_network(head, message):
    def prior(config, image):
        return CausalDistribution(Net(image, 0, head(image)))

    def decoder(config, image, channels):
        return CausalDistribution(Net(image, channels, head(image)))

    with pytest.raises(ContractError) as error:
        check_prior(prior, None)
    tells(error, message)
    with pytest.raises(ContractError) as error:
        check_decoder(decoder, None)
    tells(error, message)


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


class Bent(Coin):
    def log_prob(self, parameters, image):
        return super().log_prob(parameters, image) * 0.99


def test_a_head_may_offer_no_more_than_it_must():
    check_head(Coin, None)
    with pytest.raises(ContractError) as error:
        check_head(Bent, None)
    assert error.value.law == "normalization"


def test_what_was_not_checked_is_said():
    with pytest.warns(UserWarning, match="draws and sums over whole pixels were not checked"):
        check_head(SOFTMAX.build, SoftmaxConfig(), images=[ImageSpec(3, height=1, width=1, levels=18)])


def test_an_image_that_is_named_must_be_accepted():
    with pytest.raises(ContractError, match=r"^build: build must accept every spec in the argument `images`"):
        check_head(Coin, None, images=[ImageSpec(1, height=1, width=1, levels=3)])


def test_what_is_no_head_is_said():
    with pytest.raises(ContractError, match=r"^spec: build must return an auxar\.Head, got str"):
        check_head(lambda config, image: "head", None)  # type: ignore[arg-type, return-value]


# Mutants of declared adjustments


def declaring(base, options):
    """A class of heads that declares these options."""
    return type("Declaring", (base,), {"understands": options})


@pytest.mark.parametrize(
    ("base", "options", "message"),
    [
        (SoftmaxHead, (), "adjustments"),
        (Mixture, {"reduction"}, "adjustments"),
        (Mixture, {"reduction", "centers"}, "adjustments"),
        (SoftmaxHead, ["temperature", "min_weight"], "adjustments"),
        (SoftmaxHead, ["temperature", "centers"], "adjustments"),
        (Mixture, ("centers", "reductions"), "adjustments"),
        (SoftmaxHead, "map", "adjustments"),
    ],
)
def test_adjustments_that_a_head_does_not_declare_rightly(base, options, message):
    head = declaring(base, options)
    with pytest.raises(ContractError) as error:
        check_adjustments(lambda config, image: head(image), None, [COLORS])
    tells(error, message)


@pytest.mark.parametrize("base", [SoftmaxHead, Mixture])
def test_adjustments_may_be_declared_or_unknown(base):
    for options in (base.understands, list(base.understands), None):
        config = declaring(base, options)
        check_adjustments(lambda config, image: config(image), config, [COLORS])


def test_the_check_of_heads_includes_their_adjustments():
    spec = ImageSpec(1, height=1, width=1, levels=2)
    with pytest.raises(ContractError, match="adjustments: draw draws other pixels"):
        check_head(lambda config, image: declaring(SoftmaxHead, ())(image), None, images=[spec])
