"""Tests of the class `Chain`: its factors, views and specs by depth, and nested chains."""

import math
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers.causal_networks import random_images, randomized
from helpers.tiny_runs import TINY
from torch import nn

from auxar.draw.image_model import ImageModel
from auxar.errors import UserError
from auxar.model import ByChannel, CausalDistribution, Chain, Decoder, Factor, ImageSpec, Known, Prior, SampleRequest
from auxar.recipe.building import build_model, build_views
from auxar.recipe.choices import structure_options
from auxar.recipe.loading import parse_recipe
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers import AutoSampler

IMAGE = ImageSpec(height=8, width=4, levels=32)
LIGHT = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
EMBEDDING = components.EmbeddingConfig(filters=2, blocks_per_group=1)


def stage_of(view, **options):
    embedding = components.embedding(EMBEDDING, view.view, view.image)
    return Factor(CausalDistribution(components.light(LIGHT, view.image, 2)), view=view, embedding=embedding, **options)


@pytest.fixture(scope="module")
def parts():
    """Three stages and a prior with random weights. The views are means over squares, means of these means, and the
    gray values of the latter."""
    means = PyramidView(PyramidConfig(2), IMAGE)
    coarse = PyramidView(PyramidConfig(2), means.view)
    grays = GrayscaleView(GrayscaleConfig(4), coarse.view)
    stages = [stage_of(view, restricted=view is coarse) for view in (means, coarse, grays)]
    prior = CausalDistribution(components.light(LIGHT, grays.view))
    for seed, part in enumerate((*stages, prior)):
        randomized(part, seed)
    return stages, prior


@pytest.fixture(scope="module")
def chain(parts):
    stages, prior = parts
    return Chain([*stages, Factor(prior)])


def nested(parts):
    """Returns chains of the same parts that are nested in different ways."""
    (first, second, third), prior = parts
    return {
        "one by one": Chain([first, Chain([second, Chain([third, Factor(prior)])])]),
        "two in one": Chain([first, Chain([second, third, Factor(prior)])]),
        "one in two": Chain([first, second, Chain([third, Factor(prior)])]),
        "around a whole": Chain([Chain([first, second, third, Factor(prior)])]),
        "around nothing": Chain([first, second, third, Chain([Factor(prior)])]),
    }


class Table(Prior):
    """A prior with only the required methods."""

    def __init__(self, image):
        super().__init__()
        self.image = image

    def log_prob(self, image):
        return torch.full((len(image),), -self.image.dims * math.log(self.image.levels))

    def draw(self, request, sampler):
        return torch.zeros((len(request.numbers), *self.image.shape), dtype=torch.int64)


class Bound(Table):
    exact = False


class Even(Decoder):
    """A decoder with only the required methods."""

    restricts = True

    def __init__(self, image):
        super().__init__()
        self.image, self.features_channels = image, 2

    def log_prob(self, image, features, given=None):
        return torch.full((len(image),), -2.0 if given is not None and given.restricted else -1.0)

    def draw(self, features, request, sampler):
        return torch.zeros((len(request.numbers), *self.image.shape), dtype=torch.int64)


# By depth


def test_a_chain_knows_its_factors_specs_and_views_by_depth(chain):
    assert [factor.name for factor in chain.factors] == ["stage0", "stage1", "stage2", "prior"]
    assert [factor.depth for factor in chain.factors] == [0, 1, 2, 3]
    assert [str(spec) for spec in chain.specs] == [
        "8×4×3 with 32 levels",
        "4×2×3 with 32 levels",
        "2×1×3 with 32 levels",
        "2×1×1 with 4 levels",
    ]
    assert [factor.image for factor in chain.factors] == chain.specs
    assert [factor.view_spec for factor in chain.factors] == [*chain.specs[1:], None]
    assert [factor.restricted for factor in chain.factors] == [False, True, False, False]
    images = random_images(3, IMAGE)
    views = chain.views(images)
    assert views[0] is images
    for stage, image, view in zip(chain.factors[:-1], views, views[1:], strict=False):
        assert torch.equal(stage.view(image), view)
    for deepest in range(6):
        some = chain.views(images, deepest)
        assert len(some) == min(deepest, 3) + 1
        assert all(torch.equal(one, other) for one, other in zip(some, views, strict=False))


def test_weights_of_a_factor_are_named_by_its_parts(chain):
    for factor in chain.factors:
        parts = {"distribution"} if factor.name == "prior" else {"embedding", "distribution"}
        assert {name.split(".")[0] for name in factor.state_dict()} == parts
    own = [parameter for factor in chain.factors for parameter in factor.parameters()]
    assert {id(parameter) for parameter in own} == {id(parameter) for parameter in chain.parameters()}
    assert len(own) == len(list(chain.parameters()))


def test_a_prior_without_views_is_a_chain_of_one_factor():
    table = Table(IMAGE)
    prior = Chain([Factor(table)])
    images = random_images(2, IMAGE)
    [factor] = prior.factors
    assert (factor.name, factor.depth, factor.image, factor.view_spec) == ("prior", 0, IMAGE, None)
    assert prior.specs == [IMAGE]
    [only] = prior.views(images)
    assert only is images
    assert torch.equal(factor(images), prior.log_prob(images))
    [part] = prior.log_probs(images)
    assert (part.factor, part.image) == ("prior", IMAGE)
    [drawn] = prior.draw_views(SampleRequest((0, 1)), AutoSampler())
    assert torch.equal(drawn, prior.draw(SampleRequest((0, 1)), AutoSampler()))
    with pytest.raises(UserError, match="no views to draw from"):
        prior.draw_from(images, SampleRequest((0, 1)), AutoSampler())
    assert (prior.image, prior.exact) == (IMAGE, True)
    assert torch.equal(table.log_prob(images), prior.log_prob(images))


# Chains of chains


@pytest.mark.parametrize("name", ["one by one", "two in one", "one in two", "around a whole", "around nothing"])
def test_a_chain_whose_prior_is_a_chain_is_the_chain_of_all_stages(parts, chain, name):
    other = nested(parts)[name]
    assert [(factor.name, factor.depth) for factor in other.factors] == [
        (factor.name, factor.depth) for factor in chain.factors
    ]
    assert (other.image, other.specs, other.exact) == (chain.image, chain.specs, False)
    images = random_images(3, IMAGE)
    mask = torch.zeros(3, IMAGE.height, IMAGE.width, dtype=torch.bool)
    mask[:, :3] = True
    sampler = AutoSampler()
    with torch.no_grad():
        assert torch.equal(other.log_prob(images), chain.log_prob(images))
        for one, same in zip(other.log_probs(images), chain.log_probs(images), strict=True):
            assert (one.factor, one.image) == (same.factor, same.image)
            assert torch.equal(one.log_prob, same.log_prob)
        for known in (None, Known(images, mask)):
            request = SampleRequest((0, 7, 2), 5, known=known)
            pairs = zip(other.draw_views(request, sampler), chain.draw_views(request, sampler), strict=True)
            assert all(torch.equal(one, same) for one, same in pairs)
            assert torch.equal(other.draw(request, sampler), chain.draw(request, sampler))


def test_stages_that_were_put_elsewhere_keep_their_depth(parts):
    stages, prior = parts
    below = Chain([*stages[1:], Factor(prior)])
    Chain([*stages[:1], below])
    assert [factor.name for factor in below.factors] == ["stage0", "stage1", "prior"]
    assert [stage.depth for stage in stages] == [0, 0, 0]


def test_a_chain_is_exact_if_all_of_it_is(parts):
    (_, coarse, _), prior = parts
    assert Chain([coarse, Factor(Table(coarse.view.view))]).exact
    assert not Chain([coarse, Factor(Bound(coarse.view.view))]).exact
    assert not Chain([*parts[0], Factor(prior)]).exact


def test_stages_that_do_not_meet_are_refused(parts):
    (first, second, third), prior = parts
    with pytest.raises(
        UserError, match=r"^the image of stage1 is 2×1×3 with 32 levels; expected 4×2×3 with 32 levels$"
    ):
        Chain([first, third, Factor(prior)])
    with pytest.raises(UserError, match=r"^the image of prior is 2×1×1 with 4 levels; expected 2×1×3 with 32 levels$"):
        Chain([first, second, Factor(prior)])


WRONG_SAMPLER: dict[str, Any] = {"sampler": "auto"}
WRONG_DEPTH: dict[str, Any] = {
    "view": None,
    "request": SampleRequest((0,)),
    "sampler": AutoSampler(),
    "from_depth": "a",
}
MISTAKES: dict[str, Any] = {
    "a factor alone": (lambda first, prior: Chain(first), r"factors: expected a list, got .*write Chain\(\[…\]\)"),
    "a distribution": (lambda first, prior: Chain([first, prior]), r"expected a Factor or a Chain, .*write Factor"),
    "nothing": (lambda first, prior: Chain([]), "expected a factor without a view, or a chain, as the last one"),
    "no prior": (lambda first, prior: Chain([first]), "expected a factor without a view, or a chain, as the last one"),
    "a network": (lambda first, prior: Factor(prior.network), r"write CausalDistribution\(network\)"),
    "a view alone": (lambda first, prior: Factor(prior, view=first.view), "a view and its embedding, or neither"),
    "another role": (lambda first, prior: Factor(Even(IMAGE)), "expected a Prior, because there is neither a view"),
    "unused features": (
        lambda first, prior: Factor(first.distribution),
        "expects 2 channels of features, but there is neither a view nor a condition",
    ),
    "fewer views": (
        lambda first, prior: first(random_images(4, IMAGE), random_images(1, first.view.view)),
        "expected a view for each of 4 images, got 1",
    ),
    "a depth as text": (
        lambda first, prior: Chain([Factor(prior)]).draw_from(**WRONG_DEPTH),
        "from_depth: expected an integer",
    ),
}


@pytest.mark.parametrize(("wrong", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_with_their_cure(parts, wrong, message):
    (first, *_), prior = parts
    with pytest.raises(UserError, match=message):
        wrong(first, prior)


@pytest.mark.parametrize("by_channel", [False, True])
def test_images_that_do_not_match_a_network_are_refused(parts, by_channel):
    stages, prior = parts
    decoder = stages[0].distribution
    features = torch.zeros(1, 2, 8, 4, dtype=torch.float64)
    likelihoods = [
        (prior, prior.log_prob_by_channel if by_channel else prior.log_prob, []),
        (decoder, decoder.log_prob_by_channel if by_channel else decoder.log_prob, [features]),
    ]
    for part, likelihood, others in likelihoods:
        image = torch.zeros(1, *part.image.shape, dtype=torch.int64)
        likelihood(image, *others)
        top = part.image.levels
        for wrong, message in (
            (image.float(), f"image: expected integers in [0, {top}), got a tensor of torch.float32"),
            (image[0], f"image: expected shape (b, {str(part.image.shape)[1:]}, got {part.image.shape}"),
        ):
            with pytest.raises(UserError, match=f"^{re.escape(message)}$"):
                likelihood(wrong, *others)


# Drawing from a view


@pytest.mark.parametrize("from_depth", [1, 2, 3])
@pytest.mark.parametrize("known", [False, True])
def test_images_are_drawn_again_from_any_of_their_drawn_views(chain, from_depth, known):
    request = SampleRequest((4, 0), 3)
    if known:
        mask = torch.zeros(2, IMAGE.height, IMAGE.width, dtype=torch.bool)
        mask[:, :4, :2] = True
        request = attrs.evolve(request, known=Known(random_images(2, IMAGE), mask))
    with torch.no_grad():
        views = chain.draw_views(request, AutoSampler())
        again = chain.draw_from(views[from_depth], request, AutoSampler(), from_depth=from_depth)
    assert len(again) == from_depth + 1
    assert all(torch.equal(one, other) for one, other in zip(again, views, strict=False))
    assert again[-1] is views[from_depth]


@pytest.mark.parametrize("from_depth", [-1, 0, 4])
def test_a_depth_without_a_view_is_refused(chain, from_depth):
    with pytest.raises(UserError, match=f"^from_depth = {from_depth}: expected the depth of a view, 1 … 3$"):
        chain.draw_from(random_images(1, IMAGE), SampleRequest((0,)), AutoSampler(), from_depth=from_depth)


def test_a_chain_drawn_further_down_has_the_noise_of_that_depth(parts, chain):
    """The chain of the remaining stages, drawn with the noise of depth 1, gives the same views as the whole chain."""
    stages, prior = parts
    request = SampleRequest((1, 6), 2)
    with torch.no_grad():
        whole = chain.draw_views(request, AutoSampler())
        below = Chain([*stages[1:], Factor(prior)]).draw_views(request.deeper(), AutoSampler())
    assert all(torch.equal(one, other) for one, other in zip(below, whole[1:], strict=True))
    assert request.deeper(3).depth == request.deeper().deeper().deeper().depth == 3


# Evaluation mode


class Failing(Table):
    """A prior with a frozen part in evaluation mode, whose draws fail for every image number but 0."""

    def __init__(self, image):
        super().__init__(image)
        self.frozen = nn.Dropout()
        self.frozen.eval()

    def draw(self, request, sampler):
        assert not any(module.training for module in self.modules())
        if 1 in request.numbers:
            raise RuntimeError("it cannot draw image 1")
        return super().draw(request, sampler)


def test_sampling_restores_the_mode_of_every_part_even_if_it_fails():
    prior = Failing(IMAGE)
    model = ImageModel(Chain([Factor(prior)]))
    model.sample(1, sampler=AutoSampler())
    assert (prior.training, prior.frozen.training) == (True, False)
    with pytest.raises(RuntimeError, match="it cannot draw image 1"):
        model.sample(2, sampler=AutoSampler())
    assert (prior.training, prior.frozen.training) == (True, False)


# Conditions


def inputs_of(model, factor, images):
    return model.views(images)[factor.depth : factor.depth + 2]


@pytest.mark.parametrize("depth", range(4))
def test_a_factor_refuses_a_condition_that_it_does_not_take(chain, depth):
    factor = chain.factors[depth]
    inputs = inputs_of(chain, factor, random_images(2, IMAGE))
    view = inputs[1] if len(inputs) > 1 else None
    for ask in (factor, factor.log_prob_by_channel, factor.initialize):
        with pytest.raises(UserError, match=rf"^{factor.name}: p\(.*\) does not accept a condition$"):
            ask(inputs[0], view, torch.zeros(2))
        with pytest.raises(UserError, match="does not accept a condition"):
            ask(inputs[0], view, condition=torch.zeros(2))
    with torch.no_grad():
        assert torch.equal(factor(inputs[0], view, None), factor(*inputs))


def test_a_factor_needs_its_view_and_no_other(chain):
    images = random_images(2, IMAGE)
    *stages, prior = chain.factors
    for stage in stages:
        with pytest.raises(UserError, match=rf"^{stage.name}: p\(.* | .*\) requires a view$"):
            stage(inputs_of(chain, stage, images)[0])
    view = chain.views(images)[-1]
    with pytest.raises(UserError, match=r"^prior: p\(2×1×1\) does not accept a view$"):
        prior(view, view)


# Channel by channel


@pytest.mark.parametrize("depth", range(4))
def test_channels_of_a_factor_add_up(chain, depth):
    factor = chain.factors[depth]
    inputs = inputs_of(chain, factor, random_images(3, IMAGE))
    with torch.no_grad():
        found = factor.log_prob_by_channel(*inputs)
        torch.testing.assert_close(found.total, factor(*inputs))
    assert found.channels.shape == (3, factor.image.channels)
    torch.testing.assert_close(found.channels.sum(1), found.total)
    # A free decoder reports the probability of the possible values if its view has a support.
    assert (found.inside is None) == (depth in (1, 3))


def test_parts_that_do_not_tell_channels_apart_give_totals(parts):
    (_, coarse, _), _ = parts
    embedding, image = coarse.embedding, coarse.image
    view = coarse.view(random_images(2, image))
    for restricted, nats in ((False, -1.0), (True, -2.0)):
        stage = Factor(Even(image), view=coarse.view, embedding=embedding, restricted=restricted)
        found = stage.log_prob_by_channel(random_images(2, image), view)
        assert isinstance(found, ByChannel)
        assert (found.total.tolist(), found.channels, found.inside) == ([nats] * 2, None, None)
    factor = Factor(Table(image))
    found = factor.log_prob_by_channel(random_images(2, image))
    assert torch.equal(found.total, factor(random_images(2, image)))
    assert (found.channels, found.inside) == (None, None)


# Built from a recipe


def test_first_weights_are_drawn_prior_first_and_then_from_the_coarsest_stage_up():
    """If this order changed, the same seed would give other initial weights."""
    recipe, registry = parse_recipe(TINY, Path("."), ["stage[0].repeat=2"])
    torch.manual_seed(5)
    found = build_model(recipe, registry)
    assert [factor.name for factor in found.factors] == ["stage0", "stage1", "prior"]
    torch.manual_seed(5)
    views = build_views(recipe, registry)

    def make(kind, choice, *fit):
        component = registry.get(kind, choice.name, "here")
        return component.build(structure_options(choice.options, component.config, kind, registry), *fit)

    expected = [make("prior", recipe.prior, views[-1].view, 0)]
    for view, stage in zip(reversed(views), reversed(recipe.stage), strict=True):
        expected.append(make("embedding", stage.embedding, view.view, view.image))
        expected.append(make("decoder", stage.decoder, view.image, expected[-1].features_channels))
    assert isinstance(found, Chain)
    order = [
        found.factors[-1].network,
        *(part for stage in reversed(found.factors[:-1]) for part in (stage.embedding, stage.network)),
    ]
    for part, other in zip(order, expected, strict=True):
        for (name, own), (same, value) in zip(part.state_dict().items(), other.state_dict().items(), strict=True):
            assert (name, torch.equal(own, value)) == (same, True)
