"""Tests that the contract checks of priors and decoders fail for a fault in any method that a subclass can replace."""

import attrs
import pytest
import torch
from helpers.contract import alternately, before, breaks, cases, free, is_restricted, mutant, setting, then
from helpers.right_network import Net
from torch import nn

from auxar.errors import UserError
from auxar.model import Ancestral, ByChannel, CausalDistribution, ImageSpec, Prior
from auxar.testing import check_decoder, check_prior
from auxar.testing.causality import check_causality
from auxar.testing.drawing import check_draw, check_requests
from auxar.testing.examples import all_images, randomized
from auxar.testing.modules import check_training
from auxar.testing.networks import Distribution, check_channels
from auxar.testing.networks import check_likelihoods as check_values
from auxar.testing.restricting import check_given, check_large_restricted

TINY = [ImageSpec(1, height=2, width=2, levels=3), ImageSpec(3, height=1, width=1, levels=3)]
"""Image specs with which a mutant is built. The defaults of the checks would take longer."""
COLORS = ImageSpec(2, height=1, width=1, levels=300)


def causal(law, **edits):
    return law, mutant(CausalDistribution, **edits)


def asked(law, **changes):
    """A distribution that draws for another request. The changes compute its parts from the request."""
    return causal(
        law,
        draw=before(request=lambda found: attrs.evolve(found, **{k: change(found) for k, change in changes.items()})),
    )


def by_channel(law, change):
    return causal(law, log_prob_by_channel=then(change))


def given_by_channel(law, change):
    """A decoder whose log-likelihoods by channel are those for other given views."""
    return causal(law, log_prob_by_channel=before(given=change))


def black_corner(self, right, image, *others):
    """The image is changed."""
    found = right(image, *others)
    image[:, 0, 0, 0] = 0
    return found


def awake(self, right, *given):
    """Dropout stays on."""
    found = right(*given)
    self.train()
    return found


def clears_features(self, right, request, sampler, features):
    found = right(request, sampler, features)
    features.zero_()
    return found


def writes_views(self, right, image, features, given=None):
    found = right(image, features, given)
    if given is not None:
        given.view.clamp_(max=0)
    return found


def reversed_inside(found):
    return found if found.inside is None else attrs.evolve(found, inside=found.inside.flip(1))


def of_the_first(given):
    """Given views of which all are the first one."""
    return given and attrs.evolve(given, view=given.view[:1].expand_as(given.view))


def restricts_by_inside(self, right, image, features, given=None):
    """Free likelihoods are restricted as soon as the decoder is asked for the probability of intervals."""
    found = right(image, features, given)
    if given is None or given.restricted:
        return found
    return attrs.evolve(found, total=self.log_prob(image, features, attrs.evolve(given, restricted=True)))


def lenient(self, right, *given):
    return ByChannel(self.log_prob(*given))


def first_if_restricted(self, right, request, *others):
    """Images have the right view, but are not drawn by their probabilities."""
    drawn = right(request, *others)
    return drawn[:1].expand_as(drawn) if is_restricted(request.given) else drawn


def free_if_tall(self, right, image, features, given=None):
    return right(image, features, free(given) if image.shape[2] > 4 else given)


def one_request(request):
    """With a restriction, the seed and the rule are always the same."""
    return attrs.evolve(request, seed=0, rule=Ancestral()) if is_restricted(request.given) else request


def features_of_few(features):
    """The features of the first image for the fifth and later images."""
    images = torch.arange(len(features))
    return features[images.where((images < 4) | (len(images) > 16), 0)]


def one_mask(request):
    """The same known pixels for all images, if there is a restriction."""
    known = request.known
    if known is None or not is_restricted(request.given):
        return known
    return attrs.evolve(known, mask=known.mask[:1].expand_as(known.mask))


def restricting(law, change, **edits):
    """A decoder that does not offer the probability of intervals, and changes restricted log-likelihoods."""

    def log_prob(self, right, image, features, given=None):
        found = right(image, features, given)
        return change(found, image) if is_restricted(given) else found

    def log_prob_by_channel(self, right, image, features, given=None):
        found = right(image, features, given)
        return attrs.evolve(found, total=self.log_prob(image, features, given), channels=None, inside=None)

    return causal(law, log_prob=log_prob, log_prob_by_channel=log_prob_by_channel)


PRIORS = {
    "one seed": asked("draw", seed=lambda request: 0),
    "one depth": asked("draw", depth=lambda request: 0),
    "sorted": asked("batch", numbers=lambda request: tuple(sorted(request.numbers))),
    "first numbers": asked("draw", numbers=lambda request: tuple(range(len(request.numbers)))),
    # Number 1 of seed 0 is number 0 of seed 1.
    "sum of seed and number": asked(
        "draw",
        seed=lambda request: 0,
        numbers=lambda request: tuple(number + request.seed for number in request.numbers),
    ),
    "one rule": asked("rule", rule=lambda request: Ancestral()),
    "limitless": asked("known", known=lambda request: request.known and attrs.evolve(request.known, limits=None)),
    "writes by channel": causal("inputs", log_prob_by_channel=black_corner),
    "awake": causal("mode", draw=awake),
    "reversed channels": by_channel("channels", lambda found: attrs.evolve(found, channels=found.channels.flip(1))),
    "wrong total": by_channel("channels", lambda found: attrs.evolve(found, total=found.total + 1)),
    "wrong shares": by_channel("channels", lambda found: attrs.evolve(found, channels=found.total[:, None])),
    "scalar": causal("shape", log_prob=then(torch.Tensor.sum)),
    "another image": causal("spec", __init__=setting(image=COLORS)),
}
DECODERS = {
    "one view": asked("restricted", given=lambda request: of_the_first(request.given)),
    "draws freely": asked("restricted", given=lambda request: free(request.given)),
    "draws the first": causal("draws", draw=first_if_restricted),
    "free by channel": given_by_channel("channels", free),
    "one inside": given_by_channel("restricted", lambda given: given if is_restricted(given) else of_the_first(given)),
    "lenient": causal("restricted", log_prob=then(lambda nats: nats.clamp(min=-1e3)), log_prob_by_channel=lenient),
    "reversed inside": by_channel("restricted", reversed_inside),
    "wrong inside": by_channel(
        "restricted", lambda found: found if found.inside is None else attrs.evolve(found, inside=found.inside - 0.01)
    ),
    "restricts by inside": causal("given", log_prob_by_channel=restricts_by_inside),
    "draws from written": causal("inputs", draw=clears_features),
    # A view is also given in memory that several values share, which cannot be written.
    "writes views": causal("runs", log_prob=writes_views),
}
LARGER = {
    "free if tall": causal("restricted", log_prob=free_if_tall, log_prob_by_channel=free_if_tall),
    "one request": causal("rule", draw=before(request=one_request)),
    "features of few": causal("rule", draw=before(features=features_of_few)),
}
"""Decoders that are right for tiny images and small batches."""
SINGLE = {
    "too likely": (*causal("range", log_prob=then(lambda nats: nats + 100)), check_values),
    "alternating": (*causal("determinism", log_prob=alternately(lambda nats: nats - 1)), check_values),
    "total alone": (*by_channel("channels", lambda found: found.total), check_channels),
    "doubled channels": (
        *by_channel("channels", lambda found: attrs.evolve(found, channels=found.channels * 2)),
        check_channels,
    ),
    "short integers": (*causal("draw", draw=then(torch.Tensor.int)), check_draw),
    "brighter": (*causal("range", draw=then(lambda drawn: drawn + 1)), check_draw),
    "too unlikely": (*restricting("restricted", lambda nats, image: nats - 0.01), check_given),
    "one mask": (*asked("known", known=one_mask), check_given),
    "restricts by batch": (*restricting("batch", lambda nats, image: nats - len(image)), check_large_restricted),
    "coarse": (
        *restricting("precision", lambda nats, image: nats * (1.1 if nats.dtype == torch.float32 else 1.0)),
        check_large_restricted,
    ),
}
"""Faults that the checks before do not find."""


@pytest.mark.parametrize(("law", "kind"), cases(PRIORS))
def test_a_prior_with_a_wrong_method_is_caught(law, kind):
    breaks(law, check_prior, lambda config, image: kind(Net(image, 0)), None, images=TINY)


@pytest.mark.parametrize(("law", "kind"), cases(DECODERS))
def test_a_decoder_with_a_wrong_method_is_caught(law, kind):
    breaks(
        law, check_decoder, lambda config, image, channels: kind(Net(image, channels)), None, images=TINY, features=[2]
    )


@pytest.mark.parametrize(("law", "kind"), cases(LARGER))
@pytest.mark.filterwarnings("ignore:the laws normalization, draws and restricted were not checked")
def test_a_decoder_that_is_wrong_for_larger_images_is_caught(law, kind):
    images = [ImageSpec(1, height=5, width=6, levels=16)]
    breaks(law, check_decoder, lambda config, image, n: kind(Net(image, n)), None, images=images, features=[2])


def distribution(kind=CausalDistribution, image=TINY[0]):
    """A decoder with random weights, as the checks take it."""
    return Distribution(randomized(kind(Net(image, 2)), 0), image, 2)


@pytest.mark.parametrize(("law", "kind", "check"), cases(SINGLE))
def test_a_check_finds_the_fault(law, kind, check):
    breaks(law, check, distribution(kind), 0)


def check_network(model, seed):
    check_causality(model.network, model.features(1, seed), seed)


@pytest.mark.parametrize("check", [check_values, check_channels, check_network, check_training, check_draw])
def test_a_right_decoder_of_more_levels_than_a_byte_holds_passes(check):
    check(distribution(image=COLORS), 0)


@pytest.mark.parametrize(
    "kind", [CausalDistribution, restricting("", lambda nats, image: nats)[1]], ids=["causal", "without inside"]
)
@pytest.mark.parametrize("check", [check_given, check_large_restricted, check_requests])
def test_a_right_restricted_decoder_passes(check, kind):
    check(distribution(kind), 0)


def test_channels_of_images_of_one_pixel_are_checked_by_default():
    def build(config, image):
        if image.dims > 20:
            raise UserError("too large")
        return PRIORS["reversed channels"][1](Net(image, 0))

    breaks("channels", check_prior, build, None)


class Table(Prior):
    """A valid prior without a causal network: a table with the probability of each image of a tiny space."""

    def __init__(self, config, image, trained=True):
        super().__init__()
        if image.levels**image.dims > 300:
            raise UserError(f"{image} has too many images")
        self.image, logits = image, torch.zeros(image.levels**image.dims)
        if trained:
            self.logits = nn.Parameter(logits)
        else:
            self.register_buffer("logits", logits)

    def log_prob(self, image):
        dims = self.image.dims
        places = torch.tensor([self.image.levels**k for k in range(dims - 1, -1, -1)])
        return self.logits.log_softmax(0)[(image.long().flatten(1) * places).sum(1)]

    def draw(self, request, sampler):
        known = request.known
        edges = self.logits.softmax(0).cumsum(0)
        found = torch.searchsorted(edges, request.uniforms((1,)).to(edges.dtype)).clamp(max=len(edges) - 1)
        images = all_images(self.image)[found.flatten()]
        return images if known is None else images.clamp(known.lowest(), known.highest(self.image.levels))


def test_a_prior_need_not_be_a_causal_network():
    check_prior(Table, None)
    breaks("normalization", check_prior, mutant(Table, log_prob=then(lambda nats: 2 * nats)), None)


@pytest.mark.slow
def test_a_prior_may_have_no_trainable_parameters():
    check_prior(lambda config, image: Table(config, image, trained=False), None)
