"""Tests of the class `Chain`: its factors, views and specs by depth, and nested chains."""

from typing import Any

import pytest
import torch
from helpers.causal_networks import random_images, randomized
from helpers.chains import EMBEDDING, LIGHT
from helpers.right_network import Bound, Flat
from helpers.values import values_of, views_of
from torch import nn

from auxar.draw.image_model import ImageModel
from auxar.errors import UserError
from auxar.model import CausalDistribution, Chain, Decoder, Factor, ImageSpec, Values
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers import AutoSampler

IMAGE = ImageSpec(height=8, width=4, levels=32)


def stage_of(view, image=None, channels=2, **options):
    embedding = components.embedding(EMBEDDING, view.view, view.image)
    decoder = CausalDistribution(components.light(LIGHT, image or view.image, channels))
    return Factor(decoder, view=view, embedding=embedding, **options)


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
    views = views_of(chain, images)
    assert views[0] is images
    for stage, image, view in zip(chain.factors[:-1], views, views[1:], strict=False):
        assert torch.equal(stage.view(image), view)
    for deepest in range(6):
        some = chain.by_depth(chain.with_views(Values({"image": images}), deepest))
        assert len(some) == min(deepest, 3) + 1
        assert all(torch.equal(one, other) for one, other in zip(some, views, strict=False))


# Chains of chains


def test_a_chain_whose_prior_is_a_chain_is_the_chain_of_all_stages(parts, chain):
    (first, second, third), prior = parts
    inner, images = Chain([third, Factor(prior)]), random_images(3, IMAGE)
    for other in (Chain([first, Chain([second, inner])]), Chain([first, second, inner]), Chain([chain])):
        assert [(each.name, each.depth) for each in other.factors] == [
            (each.name, each.depth) for each in chain.factors
        ]
        assert (other.image, other.specs, other.exact) == (chain.image, chain.specs, False)
        with torch.no_grad():
            assert torch.equal(other.log_prob(images), chain.log_prob(images))


def test_stages_that_were_put_elsewhere_keep_their_depth(parts):
    stages, prior = parts
    below = Chain([*stages[1:], Factor(prior)])
    Chain([*stages[:1], below])
    assert [factor.name for factor in below.factors] == ["stage0", "stage1", "prior"]
    assert [stage.depth for stage in stages] == [0, 0, 0]


def test_a_chain_is_exact_if_all_of_it_is(parts):
    (_, coarse, _), prior = parts
    assert Chain([coarse, Factor(Flat(coarse.view.view))]).exact
    assert not Chain([coarse, Factor(Bound(coarse.view.view))]).exact
    assert not Chain([*parts[0], Factor(prior)]).exact


OTHER, COARSE = (ImageSpec(height=height, width=height // 2, levels=4) for height in (8, 4))


def other_embedding(view, image):
    return components.embedding(EMBEDDING, view, image)


MISTAKES: dict[str, Any] = {
    "a factor alone": (lambda first, prior: Chain(first), r"factors: expected a list, got .*write Chain\(\[…\]\)"),
    "a distribution": (lambda first, prior: Chain([first, prior]), r"expected a Factor or a Chain, .*write Factor"),
    "stages that do not meet": (
        lambda first, prior: Chain([first, Factor(prior)]),
        r"^the image of prior is 2×1×1 with 4 levels; expected 4×2×3 with 32 levels$",
    ),
    "nothing": (lambda first, prior: Chain([]), "expected a factor without a view, or a chain, as the last one"),
    "no prior": (lambda first, prior: Chain([first]), "expected a factor without a view, or a chain, as the last one"),
    "a network": (lambda first, prior: Factor(prior.network), r"write CausalDistribution\(network\)"),
    "a view alone": (lambda first, prior: Factor(prior, view=first.view), "a view and its embedding, or neither"),
    "another role": (lambda first, prior: Factor(Even(IMAGE)), "expected a Prior, because there is neither a view"),
    "an embedding of another view": (
        lambda first, prior: Factor(first.distribution, view=first.view, embedding=other_embedding(COARSE, IMAGE)),
        "embedding's view is 4×2×3 with 4 levels; expected 4×2×3 with 32 levels",
    ),
    "an embedding of another image": (
        lambda first, prior: Factor(
            first.distribution, view=first.view, embedding=other_embedding(first.view.view, OTHER)
        ),
        "embedding's image is 8×4×3 with 4 levels; expected 8×4×3 with 32 levels",
    ),
    "a decoder of another image": (
        lambda first, prior: stage_of(first.view, image=OTHER),
        "decoder's image is 8×4×3 with 4",
    ),
    "other features": (
        lambda first, prior: stage_of(first.view, channels=7),
        "expects 7 channels of features, but the features of the view have 2",
    ),
    "unused features": (
        lambda first, prior: Factor(first.distribution),
        "expects 2 channels of features, but there is neither a view nor a condition",
    ),
    "fewer views": (
        lambda first, prior: first(values_of(first, random_images(4, IMAGE), random_images(1, first.view.view))),
        "image: expected a row for each of the 1 of view1, got 4",
    ),
}


@pytest.mark.parametrize(("wrong", "message"), MISTAKES.values(), ids=MISTAKES)
def test_mistakes_are_told_with_their_cure(parts, wrong, message):
    (first, *_), prior = parts
    with pytest.raises(UserError, match=message):
        wrong(first, prior)


def test_images_that_do_not_match_a_network_are_refused(parts):
    _, prior = parts
    image = torch.zeros(1, *prior.image.shape, dtype=torch.int64)
    for likelihood in (prior.log_prob, prior.log_prob_by_channel):
        for wrong, message in (
            (image.float(), r"\[0, 4\), got a tensor of torch.float32"),
            (image[0], r"shape \(b, 1, 2, 1\)"),
        ):
            with pytest.raises(UserError, match=f"^image: expected .*{message}"):
                likelihood(wrong)


# Evaluation mode


def test_sampling_restores_the_mode_of_every_part_even_if_it_fails(monkeypatch):
    prior = Flat(IMAGE)
    prior.frozen = nn.Dropout().eval()
    model = ImageModel(Chain([Factor(prior)]))

    def draw(self, request, sampler):
        assert not any(module.training for module in self.modules())
        raise RuntimeError("it cannot draw")

    monkeypatch.setattr(Flat, "draw", draw)
    with pytest.raises(RuntimeError, match="it cannot draw"):
        model.sample(1, sampler=AutoSampler())
    assert (prior.training, prior.frozen.training) == (True, False)
