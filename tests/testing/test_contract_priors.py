"""Tests that the contract checks of priors and decoders fail for a fault in any method that a subclass can replace."""

import attrs
import pytest
import torch
from helpers.contract import free, is_restricted, tells
from helpers.right_network import Net

from auxar.errors import UserError
from auxar.model import Adjusted, Ancestral, CausalDistribution, ImageSpec, Support
from auxar.testing import ContractError, check_decoder, check_network, check_prior

TINY = [ImageSpec(1, height=2, width=2, levels=3), ImageSpec(3, height=1, width=1, levels=3)]
"""Image specs with which a mutant is built. The defaults of the checks would take longer."""


def prior(kind):
    return lambda config, image: kind(Net(image, 0))


def decoder(kind):
    return lambda config, image, channels: kind(Net(image, channels))


# Mutants of what priors and decoders share ----------------------------------------------------------------------------


class OneSeed(CausalDistribution):
    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, seed=0), sampler)


class OneDepth(CausalDistribution):
    """A prior that draws a view with the noise of the image, so that both are alike."""

    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, depth=0), sampler)


class SumOfSeedAndNumber(CausalDistribution):
    """A prior that draws number 1 of seed 0 like number 0 of seed 1."""

    def draw(self, request, sampler):
        numbers = tuple(number + request.seed for number in request.numbers)
        return super().draw(attrs.evolve(request, numbers=numbers, seed=0), sampler)


class OneRule(CausalDistribution):
    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, rule=Ancestral()), sampler)


class OneTemperature(CausalDistribution):
    def draw(self, request, sampler):
        return super().draw(
            attrs.evolve(request, rule=Adjusted(attrs.evolve(request.rule.adjustments(0), temperature=1.0))), sampler
        )


class Limitless(CausalDistribution):
    """A prior that keeps known pixels but ignores the limits of others."""

    def draw(self, request, sampler):
        known = request.known and attrs.evolve(request.known, limits=None)
        return super().draw(attrs.evolve(request, known=known), sampler)


class Writing(CausalDistribution):
    """A prior that changes the image whose likelihood it computes."""

    def log_prob(self, image):
        found = super().log_prob(image)
        image[:, 0, 0, 0] = 0
        return found


class WritesByChannel(CausalDistribution):
    def log_prob_by_channel(self, image):
        found = super().log_prob_by_channel(image)
        image[:, 0, 0, 0] = 0
        return found


class WritesFirst(CausalDistribution):
    def initialize(self, image):
        image.clamp_(max=1)


class MemoryOrder(CausalDistribution):
    """A prior that reads images in the order of memory."""

    def log_prob(self, image):
        spec = self.image
        strides = (image.stride(0), spec.height * spec.width, spec.width, 1)
        return super().log_prob(image.as_strided(image.shape, strides) if len(image) else image)


class Sleeping(CausalDistribution):
    """A prior that turns dropout off for good."""

    def log_prob(self, image):
        self.eval()
        return super().log_prob(image)


class Awake(CausalDistribution):
    """A prior that turns dropout on after drawing."""

    def draw(self, request, sampler):
        found = super().draw(request, sampler)
        self.train()
        return found


class ReversedChannels(CausalDistribution):
    def log_prob_by_channel(self, image):
        found = super().log_prob_by_channel(image)
        return attrs.evolve(found, channels=found.channels.flip(1))


class Reseeding(CausalDistribution):
    def log_prob(self, image):
        torch.manual_seed(0)
        return super().log_prob(image)


class ReseedsDraws(CausalDistribution):
    def draw(self, request, sampler):
        torch.manual_seed(request.seed)
        return super().draw(request, sampler)


class Gradientless(CausalDistribution):
    """A prior that turns gradients off for good."""

    def draw(self, request, sampler):
        torch.set_grad_enabled(False)
        return super().draw(request, sampler)


class Sorted(CausalDistribution):
    """A prior that draws images in the order of their numbers."""

    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, numbers=tuple(sorted(request.numbers))), sampler)


class EncodesNeighbors(Net):
    """A network that encodes a pixel together with the pixel before it, which is causal."""

    def encode(self, image):
        found = super().encode(image)
        return found + 0.5 * torch.nn.functional.pad(found, (1, 0))[..., :-1]


class EncodesPlaces(Net):
    """A network that encodes a pixel together with its column."""

    def encode(self, image):
        return super().encode(image) + torch.arange(image.shape[3])


PRIORS = {
    OneSeed: "draw",
    OneDepth: "draw",
    Sorted: "batch",
    SumOfSeedAndNumber: "draw",
    OneRule: "rule",
    OneTemperature: "rule",
    Limitless: "known",
    Writing: "inputs",
    WritesByChannel: "inputs",
    WritesFirst: "inputs",
    MemoryOrder: "layout",
    Sleeping: "mode",
    Awake: "mode",
    ReversedChannels: "channels",
    Reseeding: "state",
    ReseedsDraws: "state",
    Gradientless: "state",
}
NETWORKS = {EncodesNeighbors: "encode", EncodesPlaces: "encode"}


# Mutants of decoders --------------------------------------------------------------------------------------------------


def of_the_first(given):
    """Given views of which all are the first one."""
    return given and attrs.evolve(given, view=given.view[:1].expand_as(given.view))


class OneView(CausalDistribution):
    """A decoder that restricts all images to the view of the first."""

    def draw(self, request, sampler, features):
        return super().draw(attrs.evolve(request, given=of_the_first(request.given)), sampler, features)


class DeafSupport(Support):
    """A support whose walk ignores known pixels."""

    def __init__(self, right):
        self.right = right
        self.image = right.image

    def intervals(self, image, view):
        return self.right.intervals(image, view)

    def walk(self, view, known=None):
        return self.right.walk(view)

    def centers(self, image, view):
        return self.right.centers(image, view)


class WalksBlindly(CausalDistribution):
    """A decoder that does not pass known pixels to the walk."""

    def draw(self, request, sampler, features):
        if request.given is not None:
            given = attrs.evolve(request.given, support=DeafSupport(request.given.support))
            request = attrs.evolve(request, given=given)
        return super().draw(request, sampler, features)


class FreeWithKnown(CausalDistribution):
    """A decoder that is not restricted if pixels are known."""

    def draw(self, request, sampler, features):
        if request.known is not None:
            request = attrs.evolve(request, given=free(request.given))
        return super().draw(request, sampler, features)


class OneInterval(CausalDistribution):
    """A decoder that restricts all images to the intervals of the first."""

    def log_prob(self, image, features, given=None):
        return super().log_prob(image, features, of_the_first(given) if is_restricted(given) else given)

    def log_prob_by_channel(self, image, features, given=None):
        return super().log_prob_by_channel(image, features, of_the_first(given) if is_restricted(given) else given)


class OneInside(CausalDistribution):
    def log_prob_by_channel(self, image, features, given=None):
        return super().log_prob_by_channel(image, features, given if is_restricted(given) else of_the_first(given))


class ReversedInside(CausalDistribution):
    def log_prob_by_channel(self, image, features, given=None):
        found = super().log_prob_by_channel(image, features, given)
        return found if found.inside is None else attrs.evolve(found, inside=found.inside.flip(1))


class RestrictsByInside(CausalDistribution):
    """A decoder whose free likelihoods are restricted as soon as it is asked for the probability of intervals."""

    def log_prob_by_channel(self, image, features, given=None):
        found = super().log_prob_by_channel(image, features, given)
        if given is None or given.restricted:
            return found
        return attrs.evolve(found, total=self.log_prob(image, features, attrs.evolve(given, restricted=True)))


class WritesFeatures(CausalDistribution):
    def log_prob(self, image, features, given=None):
        found = super().log_prob(image, features, given)
        features.detach().mul_(0.5)
        return found


class DrawsFromWritten(CausalDistribution):
    def draw(self, request, sampler, features):
        found = super().draw(request, sampler, features)
        features.zero_()
        return found


class WritesViews(CausalDistribution):
    def log_prob(self, image, features, given=None):
        found = super().log_prob(image, features, given)
        if given is not None:
            given.view.clamp_(max=0)
        return found


class FeaturesInMemoryOrder(CausalDistribution):
    def log_prob(self, image, features, given=None):
        height, width = features.shape[2:]
        strides = (features.stride(0), height * width, width, 1)
        return super().log_prob(image, features.as_strided(features.shape, strides), given)


class DecodesByOneRule(CausalDistribution):
    def draw(self, request, sampler, features):
        return super().draw(attrs.evolve(request, rule=Ancestral()), sampler, features)


DECODERS = {
    OneView: "restricted",
    WalksBlindly: "restricted",
    FreeWithKnown: "restricted",
    OneInterval: "restricted",
    OneInside: "restricted",
    ReversedInside: "restricted",
    RestrictsByInside: "given",
    WritesFeatures: "inputs",
    DrawsFromWritten: "inputs",
    WritesViews: "runs",  # A view is also given in memory that several values share, which cannot be written.
    FeaturesInMemoryOrder: "layout",
    DecodesByOneRule: "rule",
}


# Tests ----------------------------------------------------------------------------------------------------------------


FAST = [
    *(OneSeed, OneRule, Limitless, Writing, MemoryOrder, Awake, Reseeding),
    *(Sorted, EncodesNeighbors, OneView, WalksBlindly, ReversedInside),
]
"""Mutants of which one or two break each law. The others take the same way through the checks."""


def cases(mutants):
    """The mutants and the expected messages, as parameters of a test. Those that are not in `FAST` are slow."""
    return [
        pytest.param(kind, message, id=kind.__name__, marks=[] if kind in FAST else pytest.mark.slow)
        for kind, message in mutants.items()
    ]


@pytest.mark.parametrize(("kind", "message"), cases(PRIORS))
def test_a_prior_with_a_wrong_method_is_caught(kind, message):
    with pytest.raises(ContractError) as error:
        check_prior(prior(kind), None, images=TINY)
    tells(error, message)


@pytest.mark.parametrize(("network", "message"), cases(NETWORKS))
def test_a_network_that_encodes_pixels_together_is_caught(network, message):
    with pytest.raises(ContractError) as error:
        check_network(lambda config, image, channels: network(image, channels), None, images=TINY)
    tells(error, message)


@pytest.mark.parametrize(("kind", "message"), cases(DECODERS))
def test_a_decoder_with_a_wrong_method_is_caught(kind, message):
    with pytest.raises(ContractError) as error:
        check_decoder(decoder(kind), None, images=TINY, features=[2])
    tells(error, message)


def test_channels_of_images_of_one_pixel_are_checked_by_default():
    def build(config, image):
        if image.dims > 20:
            raise UserError("too large")
        return ReversedChannels(Net(image, 0))

    with pytest.raises(ContractError) as error:
        check_prior(build, None)
    tells(error, PRIORS[ReversedChannels])
