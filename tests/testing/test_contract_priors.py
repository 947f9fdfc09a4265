"""Tests that the contract checks of priors and decoders fail for a fault in any method that a subclass can replace."""

import copy

import attrs
import pytest
import torch
from helpers.contract import tells
from helpers.right_embedding import Features
from helpers.right_network import Net

from auxar.causal import CausalDecoder, CausalPrior
from auxar.errors import UserError
from auxar.interfaces import DrawRule, ImageSpec, PriorFactor, Restriction, Support
from auxar.model import Chain, Stage
from auxar.testing import ContractError, check_decoder, check_prior
from auxar.testing.examples import randomized
from auxar.testing.parts import check_parts
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
    def bits_per_dim(self, image, *condition):
        return super().bits_per_dim(image) * self.image.channels


class UncheckedBits(CausalPrior):
    def bits_per_dim(self, image, *condition):
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


class Sorted(CausalPrior):
    """A prior that draws images in the order of their numbers."""

    def draw(self, request, sampler):
        return super().draw(attrs.evolve(request, numbers=tuple(sorted(request.numbers))), sampler)


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
    OneSeed: "draw: a request with another seed draws the same images (image)",
    OneDepth: "draw: …",
    Sorted: "draw: a drawn image differs between calls or batches; it must depend only on … (seed)",
    SumOfSeedAndNumber: "draw: …",
    OneRule: "rule: for this request, draw must return the images that a sampler … (image, rule, restricted)",
    OneTemperature: "rule: …",
    Limitless: "known: draw must keep known pixels and the limits of the other pixels (image)",
    Writing: "inputs: log_prob changes one of its inputs (before, after)",
    WritesByChannel: "inputs: …",
    WritesFirst: "inputs: …",
    MemoryOrder: "layout: log_prob depends on the memory layout of the images or features (image)",
    Sleeping: "mode: …",
    Awake: "mode: draw must not change the mode …",
    ReversedChannels: "channels: the log-likelihoods of channels before 1 depend on the channels from 1 on (image)",
    Reseeding: "state: log_prob draws from or seeds the random numbers of torch, …",
    ReseedsDraws: "state: …",
    Gradientless: "state: …",
    FlooredBits: "bits: bits_per_dim must be -log_prob / (log 2 · sub-pixels) (image, expected, found)",
    SamplesAwake: "mode: sample must not change the mode …",
}
NETWORKS = {
    EncodesNeighbors: "encode: encode must convert each pixel alone and in the same way at every place (image)",
    EncodesPlaces: "encode: …",
}


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
    OneView: "restricted: a drawn image does not have the view that it is restricted to (image)",
    WalksBlindly: "restricted: a drawn image does not have the view that it is restricted to; pixels … (image)",
    FreeWithKnown: "restricted: …",
    OneInterval: "restricted: …",
    OneInside: "restricted: …",
    ReversedInside: "restricted: restricted log_prob must be the free one minus `inside`, …, also for … (image)",
    RestrictsByInside: "restricted: …",
    WritesFeatures: "inputs: …",
    DrawsFromWritten: "inputs: …",
    WritesIntervals: "inputs: …",
    FeaturesInMemoryOrder: "layout: …",
    DecodesByOneRule: "rule: …",
}


# Mutants of chains ----------------------------------------------------------------------------------------------------


class ForgetsAStage(Chain):
    def log_prob(self, image, *condition):
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
    def log_probs(self, image, *condition):
        return super().log_probs(image)[1:]


class HalfLogProbs(Chain):
    def log_probs(self, image, *condition):
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


class ScalarFactor(Stage):
    """A stage that adds the log-likelihoods of a batch up."""

    def at(self, depth):
        return ScalarFactor(self.view, self.embedding, self.decoder, restricted=self.restricted, depth=depth)

    def forward(self, image, view=None, condition=None):
        return super().forward(image, view, condition).sum()


class ScalarFactors(Chain):
    def __init__(self, stages, prior):
        stages = [ScalarFactor(s.view, s.embedding, s.decoder, restricted=s.restricted) for s in stages]
        super().__init__(stages, prior)

    def log_prob(self, image, *condition):
        return super().log_prob(image).expand(len(image))


class OtherImage(Chain):
    """A chain that is the right one for a brighter image."""

    def views(self, image, deepest=None):
        return super().views((image + 1) % self.image.levels, deepest)


class Parted(Chain):
    """A chain whose parts, which another chain appends to its own, lack the stages."""

    def parts(self):
        return (), self.prior


NAMES = "factors: for `specs` of 2 depths, the factors must be named ['stage0', 'prior'], got …"
AGAIN = "views: draw_from the view that draw_views drew at depth 1 must draw the same images, and end with … (image)"
SAMPLED = "sample: sample must return the images that draw returns for the same numbers, seed, rule and … (image)"
PARTS = {
    ForgetsAStage: "factors: the log-likelihoods of the factors must add up to log_prob (image, expected)",
    ForgetsThePrior: NAMES.replace("…", "['stage0'] and 2 entries of `views`"),
    CoarsestFirst: NAMES.replace("…", "['prior', 'stage0'] and 2 entries of `views`"),
    CopiedFactors: "factors: the parameters of the factors must be those of the model, not copies of them or …",
    OneName: NAMES.replace("…", "['prior', 'prior'] and 2 entries of `views`"),
    DepthZero: "factors: the factor prior must have depth 1, the image 1×1×1 with 3 levels and the view None, as in …, "
    "got depth 0, the image 1×1×1 with 3 levels and the view None",
    OtherByChannel: "factors: the total of log_prob_by_channel of the factor stage0 differs from … (expected)",
    ViewlessFactors: "factors: the factor stage0 does not require its view; it must raise UserError",
    AllViews: "views: with deepest = 0, `views` must return the depths 0 … 0 (image)",
    CoarsestView: "runs: the factor stage0 failed with RuntimeError: …",
    OneSpec: "factors: the factor stage0 must have depth 0, …, got depth 0, …",
    PriorAlone: "factors: log_probs must give the log-likelihood of each factor, ordered by depth (image)",
    HalfLogProbs: "factors: log_probs must give the log-likelihood of each factor, ordered by depth (image)",
    ImageAlone: "views: draw_views must return the image and its views, of shapes [(64, 1, 2, 2), (64, 1, 1, 1)], "
    "got [(64, 1, 2, 2)]",
    OtherViews: AGAIN,
    OtherImages: "views: draw and draw_views must draw the same image for the same request (image)",
    RulelessViews: "views: draw and draw_views must draw the same image for the same request (image)",
    NoiseOfTheView: AGAIN,
    ForgetsKnown: AGAIN.replace("images, and", "images, with known pixels, and"),
    WithoutTheView: AGAIN,
    AnyDepth: "views: draw_from accepts from_depth = 0, at which the model has no view; it must raise UserError, but "
    "raised RuntimeError: …",
    ForgetsKnownOfViews: "known: if all pixels of an image are known, draw_views must return its views (image)",
    NotExact: "views: the views of a drawn image differ from the views that …, … (image)",
    Parted: "parts: a Chain of the stages and the prior that `parts` returns must have the same specs and … (image)",
    ScalarFactors: "factors: the factor stage0 must return log-likelihoods of shape (64,), got … of shape ()",
    OtherImage: "views: the first entry of `views` must be the image (image)",
    UncheckedBits: "bits: bits_per_dim accepts a value outside [0, levels); it must raise UserError",
    FromZero: SAMPLED,
    SeedZero: SAMPLED,
    Ancestral: SAMPLED,
    SameKnown: SAMPLED,
}
"""Faults that `check_parts` alone finds, which takes a tenth of a second."""


# Tests ----------------------------------------------------------------------------------------------------------------


FAST = [
    *(OneSeed, OneRule, Limitless, Writing, MemoryOrder, Awake, Reseeding, SamplesAwake, FlooredBits),
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
        check_prior(lambda config, image: CausalPrior(network(image, 0)), None, images=TINY)
    tells(error, message)


@pytest.mark.parametrize(("kind", "message"), cases(DECODERS))
def test_a_decoder_with_a_wrong_method_is_caught(kind, message):
    with pytest.raises(ContractError) as error:
        check_decoder(decoder(kind), None, images=TINY, features=[2])
    tells(error, message)


@pytest.mark.parametrize(("kind", "message"), PARTS.items(), ids=lambda value: getattr(value, "__name__", ""))
def test_a_chain_or_prior_with_a_wrong_part_is_caught(kind, message):
    # Views of a free chain differ from the views of its drawn images. Only a restricted chain is exact.
    build = chain(kind, kind not in (OtherViews, NotExact)) if issubclass(kind, Chain) else prior(kind)
    with pytest.raises(ContractError) as error:
        check_parts(randomized(build(None, TINY[0]), 0, 1.0), 0)
    tells(error, message)


def test_channels_of_images_of_one_pixel_are_checked_by_default():
    def build(config, image):
        if image.dims > 20:
            raise UserError("too large")
        return ReversedChannels(Net(image, 0))

    with pytest.raises(ContractError) as error:
        check_prior(build, None)
    tells(error, PRIORS[ReversedChannels])


@pytest.mark.parametrize("restricted", [False, True])
def test_a_chain_keeps_the_contract_of_priors(restricted):
    check_prior(chain(Chain, restricted), None, images=TINY)
