"""Tests that each check of decoders fails for faults that the checks before it do not find."""

import attrs
import pytest
import torch
from helpers.contract import free, is_restricted, tells
from helpers.right_network import Net
from torch import nn

from auxar.model import CausalDistribution, ImageSpec
from auxar.testing import ContractError, invariances
from auxar.testing.causality import check_causality
from auxar.testing.drawing import check_draw, check_requests
from auxar.testing.examples import randomized
from auxar.testing.modules import check_training
from auxar.testing.networks import Distribution, check_channels
from auxar.testing.networks import check_likelihoods as check_values
from auxar.testing.restricting import check_given, check_large_restricted

TINY = ImageSpec(1, height=2, width=2, levels=3)
COLORS = ImageSpec(2, height=1, width=1, levels=300)


def distribution(kind=CausalDistribution, network=Net, image=TINY):
    """A decoder with random weights, as the checks take it."""
    decoder = randomized(kind(network(image, 2)), 0)
    return Distribution(decoder, image, 2)


def check_network(model, seed):
    check_causality(model.network, model.features(1, seed), seed)


# Mutants of likelihoods -----------------------------------------------------------------------------------------------


class TooLikely(CausalDistribution):
    def log_prob(self, image, features, given=None):
        return super().log_prob(image, features, given) + 100


class Alternating(CausalDistribution):
    """A decoder whose log-likelihood differs in every second call."""

    calls = 0

    def log_prob(self, image, features, given=None):
        self.calls += 1
        return super().log_prob(image, features, given) - self.calls % 2


class TotalAlone(CausalDistribution):
    def log_prob_by_channel(self, image, features, given=None):
        return super().log_prob_by_channel(image, features, given).total


class DoubledChannels(CausalDistribution):
    def log_prob_by_channel(self, image, features, given=None):
        found = super().log_prob_by_channel(image, features, given)
        return attrs.evolve(found, channels=found.channels.mul(2))


class Flat(Net):
    """A network that encodes images as vectors."""

    def encode(self, image):
        return super().encode(image).flatten(1)


class OneParameter(Net):
    def forward(self, image, features=None):
        return super().forward(image, features)[:, :1]


class InfiniteAtFirst(Net):
    def initialize(self, image, features=None, centers=None):
        nn.init.constant_(self.out.bias, torch.inf)


class Steep(Net):
    """A network with a parameter whose gradient is not finite."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.gain = nn.Parameter(torch.zeros(1))

    def forward(self, image, features=None):
        return super().forward(image, features) * (1 + (0 * self.gain).sqrt())


# Mutants of draws -----------------------------------------------------------------------------------------------------


class InShortIntegers(CausalDistribution):
    def draw(self, request, sampler, features):
        return super().draw(request, sampler, features).int()


class Brighter(CausalDistribution):
    def draw(self, request, sampler, features):
        return super().draw(request, sampler, features) + 1


class Sorted(CausalDistribution):
    """A decoder that draws images in the order of their numbers."""

    def draw(self, request, sampler, features):
        return super().draw(attrs.evolve(request, numbers=tuple(sorted(request.numbers))), sampler, features)


class SumOfSeedAndNumber(CausalDistribution):
    """A decoder that draws number 1 of seed 0 like number 0 of seed 1."""

    def draw(self, request, sampler, features):
        numbers = tuple(number + request.seed for number in request.numbers)
        return super().draw(attrs.evolve(request, numbers=numbers, seed=0), sampler, features)


class Forgetting(CausalDistribution):
    """A decoder that ignores known pixels."""

    def draw(self, request, sampler, features):
        return super().draw(attrs.evolve(request, known=None), sampler, features)


class ForgettingIfRestricted(CausalDistribution):
    def draw(self, request, sampler, features):
        known = None if is_restricted(request.given) else request.known
        return super().draw(attrs.evolve(request, known=known), sampler, features)


class OneMaskIfRestricted(CausalDistribution):
    """A restricted decoder that keeps the same pixels of all images, wherever pixels of the first are known."""

    def draw(self, request, sampler, features):
        if request.known is not None and is_restricted(request.given):
            mask = request.known.mask[:1].expand_as(request.known.mask)
            request = attrs.evolve(request, known=attrs.evolve(request.known, mask=mask))
        return super().draw(request, sampler, features)


class DrawsFreely(CausalDistribution):
    def draw(self, request, sampler, features):
        return super().draw(attrs.evolve(request, given=free(request.given)), sampler, features)


# Mutants of restricted likelihoods ------------------------------------------------------------------------------------


class WithoutInside(CausalDistribution):
    """A valid decoder that does not offer the probability of intervals, from which the others are derived."""

    def restricted(self, nats, image, features):
        """The restricted log-likelihoods, (b,), changed by a fault."""
        return nats

    def log_prob(self, image, features, given=None):
        found = super().log_prob(image, features, given)
        return self.restricted(found, image, features) if is_restricted(given) else found

    def log_prob_by_channel(self, image, features, given=None):
        found = super().log_prob_by_channel(image, features, given)
        return attrs.evolve(found, total=self.log_prob(image, features, given), channels=None, inside=None)


class TooUnlikely(WithoutInside):
    def restricted(self, nats, image, features):
        return nats - 0.01


class ByBatch(WithoutInside):
    def restricted(self, nats, image, features):
        return nats - len(image)


class Lenient(WithoutInside):
    def restricted(self, nats, image, features):
        return nats.clamp(min=-1e3)


class Coarse(WithoutInside):
    def restricted(self, nats, image, features):
        return nats * (1.1 if nats.dtype == torch.float32 else 1.0)


class Columns(WithoutInside):
    def restricted(self, nats, image, features):
        return nats[:, None]


class RestrictsByInside(CausalDistribution):
    """A decoder whose free likelihoods are restricted as soon as it is asked for the probability of intervals."""

    def log_prob_by_channel(self, image, features, given=None):
        found = super().log_prob_by_channel(image, features, given)
        if given is None or given.restricted:
            return found
        return attrs.evolve(found, total=self.log_prob(image, features, attrs.evolve(given, restricted=True)))


@pytest.mark.parametrize(
    ("check", "kind", "message"),
    [
        (check_values, TooLikely, "range"),
        (check_values, Alternating, "determinism"),
        (check_channels, TotalAlone, "channels"),
        (check_channels, DoubledChannels, "channels"),
        (check_network, Flat, "encode"),
        (check_network, OneParameter, "shape"),
        (check_training, InfiniteAtFirst, "finite"),
        (check_training, Steep, "gradient"),
        (check_draw, InShortIntegers, "draw"),
        (check_draw, Brighter, "range"),
        (check_draw, Sorted, "batch"),
        (check_requests, Forgetting, "known"),
        (check_requests, SumOfSeedAndNumber, "draw"),
        (check_given, TooUnlikely, "restricted"),
        (check_given, Columns, "shape"),
        (check_given, RestrictsByInside, "given"),
        (check_given, ForgettingIfRestricted, "known"),
        (check_given, OneMaskIfRestricted, "known"),
        (check_large_restricted, ByBatch, "batch"),
        (check_large_restricted, Lenient, "restricted"),
        (check_large_restricted, Coarse, "precision"),
        (check_large_restricted, DrawsFreely, "restricted"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_check_finds_the_fault(check, kind, message):
    model = distribution(network=kind) if issubclass(kind, Net) else distribution(kind)
    with pytest.raises(ContractError) as error:
        check(model, 0)
    tells(error, message)


@pytest.mark.parametrize("check", [check_values, check_channels, check_network, check_training, check_draw])
def test_a_right_decoder_of_more_levels_than_a_byte_holds_passes(check):
    check(distribution(image=COLORS), 0)


@pytest.mark.parametrize("kind", [CausalDistribution, WithoutInside])
@pytest.mark.parametrize("check", [check_given, check_large_restricted, check_requests])
def test_a_right_restricted_decoder_passes(check, kind):
    check(distribution(kind), 0)


class Moving(CausalDistribution):
    """A valid decoder that records where it is moved."""

    def __init__(self, network):
        super().__init__(network)
        self.places = []

    def to(self, device):
        self.places.append(str(device))
        return super().to(device)


class OtherElsewhere(Moving):
    """A decoder that is less sure on another device."""

    def log_prob(self, image, features, given=None):
        return super().log_prob(image, features, given) - 0.1 * (self.places[-1:] == ["cpu:0"])


def test_a_decoder_is_compared_on_all_devices(monkeypatch):
    monkeypatch.setattr(invariances, "devices", lambda: [torch.device("cpu"), torch.device("cpu:0")])
    right = distribution(Moving)
    check_values(right, 0)
    assert right.module.places[-2:] == ["cpu:0", "cpu"]
    with pytest.raises(ContractError) as error:
        check_values(distribution(OtherElsewhere), 0)
    tells(error, "device")
