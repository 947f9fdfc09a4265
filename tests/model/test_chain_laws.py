"""Tests of the laws of chains: factors, views, draws, samples and bits/dim agree with each other."""

import math

import attrs
import pytest
import torch
from helpers.right_embedding import Features
from helpers.right_network import Net
from helpers.values import views_of

from auxar.draw.image_model import ImageModel
from auxar.errors import UserError
from auxar.model import (
    Adjusted,
    Adjustments,
    Ancestral,
    CausalDistribution,
    Chain,
    Factor,
    ImageSpec,
    SampleRequest,
    Values,
)
from auxar.testing.drawing import DistinctSampler
from auxar.testing.examples import random_images, random_known, randomized
from auxar_rules import Tempered
from auxar_subsample import SubsampleConfig, SubsampleView

SPEC = ImageSpec(1, height=4, width=4, levels=3)
RULE = Adjusted(Adjustments(reduction=0.6, temperature=3.0, min_weight=0.3))


@pytest.fixture(scope="module", params=["restricted", "free", "no view"])
def chain(request):
    """A chain with two views, or without a view, with random weights."""
    factors, spec = [], SPEC
    for _ in range(0 if request.param == "no view" else 2):
        view = SubsampleView(SubsampleConfig(2), spec)
        decoder, embedding = CausalDistribution(Net(spec, 2)), Features(None, view.view, spec)
        restricted = request.param == "restricted"
        factors.append(Factor(decoder, view=view, embedding=embedding, restricted=restricted))
        spec = view.view
    return randomized(Chain([*factors, Factor(CausalDistribution(Net(spec, 0)))]), 3, 1.0)


@pytest.fixture
def images():
    return random_images(64, SPEC, 1)


def same(first, second):
    return len(first) == len(second) and all(torch.equal(*pair) for pair in zip(first, second, strict=True))


@torch.no_grad()
def test_the_factors_are_the_terms_of_the_likelihood(chain, images):
    values = chain.values(images)
    nats = [factor(values) for factor in chain.factors]
    assert torch.allclose(sum(nats), chain.log_prob(images), rtol=1e-12)
    assert torch.allclose(chain.bits_per_dim(images), -sum(nats) / (math.log(2) * SPEC.dims), rtol=1e-12)
    assert torch.equal(chain.log_prob(images.to(torch.uint8)), chain.log_prob(images))
    parts = chain.log_probs(images)
    assert [(part.factor, part.image) for part in parts] == [(each.name, each.image) for each in chain.factors]
    assert same([part.log_prob for part in parts], nats)
    for factor, expected in zip(chain.factors, nats, strict=True):
        given, image = factor.given(values.without(factor.variable)), values[factor.variable]
        assert torch.allclose(given.by_channel(image).total, expected, rtol=1e-12)
        assert torch.allclose(given.by_pixel(image).sum((1, 2)), expected, rtol=1e-12)
        if factor.view:
            with pytest.raises(UserError, match=rf"^{factor.name}: p\(.*\) requires a view$"):
                factor(Values({factor.variable: image}))
        with pytest.raises(UserError, match=rf"^values: there are none of the variable '{factor.variable}'"):
            factor(values.without(factor.variable))
    with pytest.raises(UserError, match=r"expected integers in \[0, 3\)"):
        chain.bits_per_dim(torch.full_like(images, 3))


@torch.no_grad()
@pytest.mark.parametrize("kind", ["plain", "rule", "known"])
def test_draws_of_one_request_agree(chain, images, kind):
    """All pixels of the first image, and so of its views, are known."""
    known = random_known(images, SPEC, 2)
    mask = known.mask.clone()
    mask[0] = True
    known = attrs.evolve(known, mask=mask, limits=None)
    numbers, rule = tuple(range(3, 3 + len(images))), RULE if kind == "rule" else Ancestral()
    request = SampleRequest(numbers, 4, rule, known=known if kind == "known" else None)
    values = chain.draw(request, DistinctSampler())
    drawn = chain.by_depth(values)
    assert [view.shape[1:] for view in drawn] == [spec.shape for spec in chain.specs]
    for depth in range(1, len(drawn)):
        again = chain.draw(request, DistinctSampler(), Values({f"view{depth}": drawn[depth]}))
        assert same(chain.by_depth(again), drawn[: depth + 1])
    if kind == "known":
        assert same([view[:1] for view in drawn], views_of(chain, images[:1]))
    elif chain.exact:
        assert same(views_of(chain, drawn[0]), drawn)
    elif kind == "plain":
        assert not same(views_of(chain, drawn[0]), drawn)
    for name in ("image", f"view{len(drawn)}", "condition"):
        with pytest.raises(UserError, match=f"given: '{name}' is no variable that images can be drawn from"):
            chain.draw(request, DistinctSampler(), Values({name: images}))


def test_samples_are_the_draws_of_their_requests(chain):
    rule = Tempered(3.0)
    request = SampleRequest(tuple(range(5, 13)), 6, rule)
    expected = chain.draw(request, DistinctSampler())["image"]
    chain.train()
    frozen = list(chain.modules())[-1].eval()
    drawn = ImageModel(chain).sample(8, rule=rule, seed=6, first=5, sampler=DistinctSampler(), batch_size=3)
    assert torch.equal(drawn.tensor, expected)
    assert ImageModel(chain).sample(0, sampler=DistinctSampler()).shape == (0, *SPEC.shape)
    assert chain.training
    assert not frozen.training
    chain.eval()
