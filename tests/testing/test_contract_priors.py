"""Tests that the contract checks of priors and decoders fail for a fault in any method that a subclass can replace."""

import copy

import attrs
import pytest
import torch
from helpers.right_embedding import Features
from helpers.right_network import Net

from auxar.causal import CausalDecoder, CausalPrior
from auxar.interfaces import DrawRule, ImageSpec, PriorFactor, Restriction, Support
from auxar.model import Chain, Stage
from auxar.testing import ContractError, check_decoder, check_prior
from auxar_subsample import SubsampleConfig, SubsampleView

TINY = [ImageSpec(1, height=2, width=2, levels=3), ImageSpec(3, height=1, width=1, levels=3)]
"""Image specs with which a mutant is built. The defaults of the checks would take longer."""


def prior(kind):
    return lambda config, image: kind(Net(image, 0))


def decoder(kind):
    return lambda config, image, channels: kind(Net(image, channels))


def chain(kind, restricted=True):
    """A builder of a chain with the view `subsample`."""

    def build(config, image):
        view = SubsampleView(SubsampleConfig(2), image)
        stage = Stage(view, Features(None, view.view, image), CausalDecoder(Net(image, 2)), restricted=restricted)
        return kind([stage], CausalPrior(Net(view.view, 0)))

    return build


# Mutants of what priors and decoders share ----------------------------------------------------------------------------


class OneSeed(CausalPrior):
    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, seed=0), sampler)


class OneDepth(CausalPrior):
    """A prior that draws a view with the noise of the image, so that both are alike."""

    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, depth=0), sampler)


class SumOfSeedAndNumber(CausalPrior):
    """A prior that draws number 1 of seed 0 like number 0 of seed 1."""

    def draw(self, request, sampler):
        numbers = tuple(number + request.seed for number in request.numbers)
        return super().draw(attrs.evolve(request, numbers=numbers, seed=0), sampler)


class OneRule(CausalPrior):
    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, rule=DrawRule()), sampler)


class OneTemperature(CausalPrior):
    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, rule=attrs.evolve(request.rule, temperature=1.0)), sampler)


class Limitless(CausalPrior):
    """A prior that keeps known pixels but ignores the limits of others."""

    def draw(self, request, sampler):
        known = request.known and attrs.evolve(request.known, limits=None)
        return super().draw(attrs.evolve(request, known=known), sampler)


class Writing(CausalPrior):
    """A prior that changes the image whose likelihood it computes."""

    def log_prob(self, image):
        found = super().log_prob(image)
        image[:, 0, 0, 0] = 0
        return found


class WritesByChannel(CausalPrior):
    def log_prob_by_channel(self, image):
        found = super().log_prob_by_channel(image)
        image[:, 0, 0, 0] = 0
        return found


class WritesFirst(CausalPrior):
    def initialize(self, image):
        image.clamp_(max=1)


class MemoryOrder(CausalPrior):
    """A prior that reads images in the order of memory."""

    def log_prob(self, image):
        spec = self.image
        strides = (image.stride(0), spec.height * spec.width, spec.width, 1)
        return super().log_prob(image.as_strided(image.shape, strides) if len(image) else image)


class Sleeping(CausalPrior):
    """A prior that turns dropout off for good."""

    def log_prob(self, image):
        self.eval()
        return super().log_prob(image)


class Awake(CausalPrior):
    """A prior that turns dropout on after drawing."""

    def draw(self, request, sampler):
        found = super().draw(request, sampler)
        self.train()
        return found


class ReversedChannels(CausalPrior):
    def log_prob_by_channel(self, image):
        found = super().log_prob_by_channel(image)
        return attrs.evolve(found, channels=found.channels.flip(1))


class Reseeding(CausalPrior):
    def log_prob(self, image):
        torch.manual_seed(0)
        return super().log_prob(image)


class ReseedsDraws(CausalPrior):
    def draw(self, request, sampler):
        torch.manual_seed(request.seed)
        return super().draw(request, sampler)


class Gradientless(CausalPrior):
    """A prior that turns gradients off for good."""

    def draw(self, request, sampler):
        torch.set_grad_enabled(False)
        return super().draw(request, sampler)


class FlooredBits(CausalPrior):
    def bits_per_dim(self, image):
        return super().bits_per_dim(image) * self.image.channels


class UncheckedBits(CausalPrior):
    def bits_per_dim(self, image):
        return super().bits_per_dim(image.clamp(0, self.image.levels - 1))


class FromZero(CausalPrior):
    def sample(self, count, **options):
        return super().sample(count, **(options | {"first": 0}))


class SeedZero(CausalPrior):
    def sample(self, count, **options):
        return super().sample(count, **(options | {"seed": 0}))


class Ancestral(CausalPrior):
    def sample(self, count, **options):
        return super().sample(count, **(options | {"rule": "ancestral"}))


class SameKnown(CausalPrior):
    """A prior that uses the known pixels of the first batch for all batches."""

    def sample(self, count, *, known=None, batch_size=16, first=0, **options):
        parts = []
        for start in range(0, count, batch_size):
            size = min(batch_size, count - start)
            given = None if known is None else known.of(slice(0, size))
            parts.append(super().sample(size, known=given, batch_size=size, first=first + start, **options))
        return torch.cat(parts)


class SamplesAwake(CausalPrior):
    def sample(self, count, **options):
        found = super().sample(count, **options)
        self.train()
        return found


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
    FlooredBits: "bits",
    UncheckedBits: "bits",
    FromZero: "sample",
    SeedZero: "sample",
    Ancestral: "sample",
    SameKnown: "sample",
    SamplesAwake: "mode",
}
NETWORKS = {EncodesNeighbors: "encode", EncodesPlaces: "encode"}


# Mutants of decoders --------------------------------------------------------------------------------------------------


class OneView(CausalDecoder):
    """A decoder that restricts all images to the view of the first."""

    def draw(self, features, request, sampler):
        if request.restriction is not None:
            view = request.restriction.view
            restriction = Restriction(request.restriction.support, view[:1].expand_as(view))
            request = attrs.evolve(request, restriction=restriction)
        return super().draw(features, request, sampler)


class DeafSupport(Support):
    """A support whose walk ignores known pixels."""

    def __init__(self, right):
        self.right = right
        self.image = right.image

    def intervals(self, image, view):
        return self.right.intervals(image, view)

    def walk(self, view, known=None):
        return self.right.walk(view)


class WalksBlindly(CausalDecoder):
    """A decoder that does not pass known pixels to the walk."""

    def draw(self, features, request, sampler):
        if request.restriction is not None:
            restriction = Restriction(DeafSupport(request.restriction.support), request.restriction.view)
            request = attrs.evolve(request, restriction=restriction)
        return super().draw(features, request, sampler)


class FreeWithKnown(CausalDecoder):
    """A decoder that is not restricted if pixels are known."""

    def draw(self, features, request, sampler):
        if request.known is not None:
            request = attrs.evolve(request, restriction=None)
        return super().draw(features, request, sampler)


class OneInterval(CausalDecoder):
    """A decoder that restricts all images to the intervals of the first."""

    def _first(self, interval):
        return interval and attrs.evolve(
            interval, low=interval.low[:1].expand_as(interval.low), high=interval.high[:1].expand_as(interval.high)
        )

    def log_prob(self, image, features, interval=None):
        return super().log_prob(image, features, self._first(interval))

    def log_prob_by_channel(self, image, features, interval=None, inside=None):
        return super().log_prob_by_channel(image, features, self._first(interval), inside)


class OneInside(OneInterval):
    def log_prob(self, image, features, interval=None):
        return CausalDecoder.log_prob(self, image, features, interval)

    def log_prob_by_channel(self, image, features, interval=None, inside=None):
        return CausalDecoder.log_prob_by_channel(self, image, features, interval, self._first(inside))


class ReversedInside(CausalDecoder):
    def log_prob_by_channel(self, image, features, interval=None, inside=None):
        found = super().log_prob_by_channel(image, features, interval, inside)
        return found if found.inside is None else attrs.evolve(found, inside=found.inside.flip(1))


class RestrictsByInside(CausalDecoder):
    """A decoder whose free likelihoods are restricted as soon as it is asked for the probability of intervals."""

    def log_prob_by_channel(self, image, features, interval=None, inside=None):
        found = super().log_prob_by_channel(image, features, interval, inside)
        if inside is None:
            return found
        return attrs.evolve(found, total=self.log_prob(image, features, inside), channels=None)


class WritesFeatures(CausalDecoder):
    def log_prob(self, image, features, interval=None):
        found = super().log_prob(image, features, interval)
        features.detach().mul_(0.5)
        return found


class DrawsFromWritten(CausalDecoder):
    def draw(self, features, request, sampler):
        found = super().draw(features, request, sampler)
        features.zero_()
        return found


class WritesIntervals(CausalDecoder):
    def log_prob(self, image, features, interval=None):
        found = super().log_prob(image, features, interval)
        if interval is not None:
            interval.high.clamp_(max=0)
        return found


class FeaturesInMemoryOrder(CausalDecoder):
    def log_prob(self, image, features, interval=None):
        height, width = features.shape[2:]
        strides = (features.stride(0), height * width, width, 1)
        return super().log_prob(image, features.as_strided(features.shape, strides), interval)


class DecodesByOneRule(CausalDecoder):
    def draw(self, features, request, sampler):
        return super().draw(features, attrs.evolve(request, rule=DrawRule()), sampler)


DECODERS = {
    OneView: "restricted",
    WalksBlindly: "restricted",
    FreeWithKnown: "restricted",
    OneInterval: "restricted",
    OneInside: "restricted",
    ReversedInside: "restricted",
    RestrictsByInside: "restricted",
    WritesFeatures: "inputs",
    DrawsFromWritten: "inputs",
    WritesIntervals: "inputs",
    FeaturesInMemoryOrder: "layout",
    DecodesByOneRule: "rule",
}


# Mutants of chains ----------------------------------------------------------------------------------------------------


class ForgetsAStage(Chain):
    def log_prob(self, image):
        return self.prior.log_prob(self.views(image)[-1])


class ForgetsThePrior(Chain):
    @property
    def factors(self):
        return list(self.stages)


class CoarsestFirst(Chain):
    @property
    def factors(self):
        return super().factors[::-1]


class CopiedFactors(Chain):
    """A chain whose factors are copies, so that training them does not change the chain."""

    @property
    def factors(self):
        return copy.deepcopy(super().factors)


class OneName(Chain):
    @property
    def factors(self):
        found = super().factors
        for factor in found:
            factor.name = "prior"
        return found


class DepthZero(Chain):
    @property
    def factors(self):
        return [*self.stages, PriorFactor(self.prior, 0)]


class DoubledByChannel(Stage):
    """A stage whose log-likelihoods by channel are those of two images."""

    def at(self, depth):
        return DoubledByChannel(self.view, self.embedding, self.decoder, restricted=self.restricted, depth=depth)

    def log_prob_by_channel(self, image, view=None, condition=None):
        found = super().log_prob_by_channel(image, view, condition)
        return attrs.evolve(found, total=2 * found.total, channels=None)


class OtherByChannel(Chain):
    def __init__(self, stages, prior):
        stages = [DoubledByChannel(s.view, s.embedding, s.decoder, restricted=s.restricted) for s in stages]
        super().__init__(stages, prior)


class ViewlessFactor(Stage):
    """A stage that takes the view of the image if it gets none, so that a missing view is not noticed."""

    def at(self, depth):
        return ViewlessFactor(self.view, self.embedding, self.decoder, restricted=self.restricted, depth=depth)

    def forward(self, image, view=None, condition=None):
        return super().forward(image, self.view_of(image), condition)


class ViewlessFactors(Chain):
    def __init__(self, stages, prior):
        stages = [ViewlessFactor(s.view, s.embedding, s.decoder, restricted=s.restricted) for s in stages]
        super().__init__(stages, prior)


class AllViews(Chain):
    def views(self, image, deepest=None):
        return super().views(image)


class CoarsestView(Chain):
    def views(self, image, deepest=None):
        return super().views(image, deepest)[::-1]


class OneSpec(Chain):
    @property
    def specs(self):
        return [self.image] * 2


class PriorAlone(Chain):
    def log_probs(self, image):
        return super().log_probs(image)[1:]


class HalfLogProbs(Chain):
    def log_probs(self, image):
        return tuple(attrs.evolve(part, log_prob=part.log_prob / 2) for part in super().log_probs(image))


class ImageAlone(Chain):
    def draw_views(self, request, sampler):
        return super().draw_views(request, sampler)[:1]

    def draw(self, request, sampler):
        return super().draw_views(request, sampler)[0]


class OtherViews(Chain):
    """A chain that returns the views of drawn images instead of the views that they were drawn from."""

    def draw_views(self, request, sampler):
        return self.views(super().draw_views(request, sampler)[0])


class OtherImages(Chain):
    """A chain whose `draw` draws other images than `draw_views`."""

    def draw(self, request, sampler):
        return super().draw_views(attrs.evolve(request, seed=request.seed + 1), sampler)[0]


class RulelessViews(Chain):
    def draw_views(self, request, sampler):
        return super().draw_views(attrs.evolve(request, rule=DrawRule()), sampler)

    def draw(self, request, sampler):
        return super().draw_views(request, sampler)[0]


class NoiseOfTheView(Chain):
    """A chain that draws images from a view with the noise of another depth."""

    def draw_from(self, view, request, sampler, *, from_depth=1):
        return super().draw_from(view, attrs.evolve(request, depth=request.depth + 1), sampler, from_depth=from_depth)


class ForgetsKnown(Chain):
    """A chain that ignores known pixels if it draws from a view."""

    def draw_from(self, view, request, sampler, *, from_depth=1):
        return super().draw_from(view, attrs.evolve(request, known=None), sampler, from_depth=from_depth)


class WithoutTheView(Chain):
    def draw_from(self, view, request, sampler, *, from_depth=1):
        return super().draw_from(view, request, sampler, from_depth=from_depth)[:-1]


class AnyDepth(Chain):
    """A chain that draws from depth 1 whatever the depth of the given view."""

    def draw_from(self, view, request, sampler, *, from_depth=1):
        return super().draw_from(view, request, sampler, from_depth=1)


class ForgetsKnownOfViews(Chain):
    """A chain that draws views without regard to the known pixels of the image."""

    def draw_views(self, request, sampler):
        coarsest = self.prior.draw(request.deeper(len(self.stages)), sampler)
        return self.draw_from(coarsest, request, sampler, from_depth=len(self.stages))


class NotExact(Chain):
    """A chain that calls its lower bound exact."""

    exact = True


class Parted(Chain):
    """A chain whose parts, which another chain appends to its own, lack the stages."""

    def parts(self):
        return (), self.prior


CHAINS = {
    ForgetsAStage: "normalization",
    ForgetsThePrior: "factors",
    CoarsestFirst: "factors",
    CopiedFactors: "factors",
    OneName: "factors",
    DepthZero: "factors",
    OtherByChannel: "factors",
    ViewlessFactors: "factors",
    AllViews: "views",
    CoarsestView: "runs",
    OneSpec: "factors",
    PriorAlone: "factors",
    HalfLogProbs: "factors",
    ImageAlone: "views",
    OtherViews: "views",
    OtherImages: "views",
    RulelessViews: "views",
    NoiseOfTheView: "views",
    ForgetsKnown: "views",
    WithoutTheView: "views",
    AnyDepth: "views",
    ForgetsKnownOfViews: "known",
    NotExact: "normalization",
    Parted: "parts",
}


# Tests ----------------------------------------------------------------------------------------------------------------


FAST = [
    *(OneSeed, OneRule, Limitless, Writing, MemoryOrder, Awake, ReversedChannels, Reseeding, SamplesAwake, FlooredBits),
    *(EncodesNeighbors, OneView, WalksBlindly, ReversedInside),
    *(CopiedFactors, OtherImages, ForgetsKnown),
]
"""Mutants of which one or two break each law. The others take the same way through the checks."""


def cases(mutants):
    """The mutants and the laws that they break, as parameters of a test. Those that are not in `FAST` are slow."""
    return [
        pytest.param(kind, law, id=kind.__name__, marks=[] if kind in FAST else pytest.mark.slow)
        for kind, law in mutants.items()
    ]


def law_of(check, build, **options):
    """The law that a component breaks."""
    with pytest.raises(ContractError) as error:
        check(build, None, **options)
    assert str(error.value).startswith(f"{error.value.law}: ")
    return error.value.law


@pytest.mark.parametrize(("kind", "law"), cases(PRIORS))
def test_a_prior_with_a_wrong_method_is_caught(kind, law):
    assert law_of(check_prior, prior(kind), images=TINY) == law


@pytest.mark.parametrize(("network", "law"), cases(NETWORKS))
def test_a_network_that_encodes_pixels_together_is_caught(network, law):
    assert law_of(check_prior, lambda config, image: CausalPrior(network(image, 0)), images=TINY) == law


@pytest.mark.parametrize(("kind", "law"), cases(DECODERS))
def test_a_decoder_with_a_wrong_method_is_caught(kind, law):
    assert law_of(check_decoder, decoder(kind), images=TINY, features=[2]) == law


@pytest.mark.parametrize(("kind", "law"), cases(CHAINS))
def test_a_chain_with_a_wrong_method_is_caught(kind, law):
    # Views of a free chain differ from the views of its drawn images. Only a restricted chain is exact.
    restricted = kind not in (OtherViews, NotExact)
    assert law_of(check_prior, chain(kind, restricted), images=TINY) == law


@pytest.mark.parametrize("restricted", [False, True])
def test_a_chain_keeps_the_contract_of_priors(restricted):
    check_prior(chain(Chain, restricted), None, images=TINY)
