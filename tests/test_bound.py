"""Tests log p(X, ψ(X)) ≤ log p(X) (paper, equation 5) by enumerating all images and views of small image spaces."""

import math

import attrs
import pytest
import torch
from helpers.bounds import (
    check_bound,
    grayscale,
    pyramid,
    random_models,
)
from helpers.causal_networks import SEEDS, random_images
from hypothesis import given, settings
from hypothesis import strategies as st

import auxar
from auxar.errors import UserError
from auxar.model import CausalDistribution, Chain, Factor, ImageSpec
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_samplers import RasterSampler

# Image specs, each with the views of a chain. All images and views together are few enough to enumerate.
SPACES = {
    "pyramid, 2 levels": (ImageSpec(1, height=2, width=2, levels=2), [pyramid]),
    "pyramid, 3 levels": (ImageSpec(1, height=2, width=2, levels=3), [pyramid]),
    "pyramid, two colors": (ImageSpec(1, height=2, width=4, levels=2), [pyramid]),
    "grayscale, a row": (ImageSpec(3, height=1, width=2, levels=2), [grayscale]),
    "grayscale, a column": (ImageSpec(3, height=2, width=1, levels=2), [grayscale]),
}
CHAIN = (ImageSpec(3, height=2, width=2, levels=2), [pyramid, grayscale])


@pytest.mark.slow
@settings(deadline=None, max_examples=2)
@given(model=random_models(CHAIN))
def test_the_bound_holds_for_grayscale_under_a_pyramid(model):
    check_bound(model)


@settings(deadline=None, max_examples=8)
@given(data=st.data(), seed=SEEDS)
def test_the_log_likelihood_is_the_sum_of_its_factors(data, seed):
    model = data.draw(random_models(data.draw(st.sampled_from([CHAIN, *SPACES.values()]))))
    image = random_images(5, model.image, seed)
    with torch.no_grad():
        found = model.log_probs(image)
        torch.testing.assert_close(sum(each.log_prob for each in found), model.log_prob(image))
        torch.testing.assert_close(model.log_prob(image.to(torch.uint8)), model.log_prob(image))
        bits = model.bits_per_dim(image)
    torch.testing.assert_close(bits, -sum(each.log_prob for each in found) / math.log(2) / model.image.dims)
    assert [each.factor for each in found] == [factor.name for factor in model.factors]
    assert found[-1].factor == "prior"
    assert [each.image for each in found] == model.specs
    assert all(each.log_prob.shape == (5,) for each in found)


def example_model(**changes):
    """Returns a model of a 2×2 pyramid; the arguments replace its parts."""
    image = ImageSpec(1, height=2, width=2, levels=3)
    view = pyramid(image)
    light = components.LightConfig(filters=2, blocks=1, head=logistic_mixture(1))
    embedding = components.embedding(components.EmbeddingConfig(filters=2, blocks_per_group=1), view.view, image)
    parts = {
        "view": view,
        "embedding": embedding,
        "decoder": CausalDistribution(components.light(light, image, 2)),
        "prior": CausalDistribution(components.light(light, view.view)),
    }
    parts |= changes
    prior, decoder = parts.pop("prior"), parts.pop("decoder")
    return Chain([Factor(decoder, **parts), Factor(prior)])


OTHER = ImageSpec(1, height=2, width=2, levels=4)


@pytest.mark.parametrize(
    ("part", "other", "message"),
    [
        ("view", pyramid(OTHER), "embedding's view is 1×1×1 with 3 levels; expected 1×1×1 with 4 levels"),
        (
            "embedding",
            components.embedding(components.EmbeddingConfig(filters=2), pyramid(OTHER).view, OTHER),
            "embedding's view is 1×1×1 with 4",
        ),
        (
            "embedding",
            components.embedding(
                components.EmbeddingConfig(filters=2), attrs.evolve(pyramid(OTHER).view, levels=3), OTHER
            ),
            "embedding's image is 2×2×1 with 4 levels; expected 2×2×1 with 3 levels",
        ),
        (
            "decoder",
            CausalDistribution(components.light(components.LightConfig(filters=2), OTHER, 2)),
            "decoder's image is 2×2×1",
        ),
        (
            "prior",
            CausalDistribution(components.light(components.LightConfig(filters=2), OTHER)),
            "image of prior is 2×2×1",
        ),
        (
            "decoder",
            CausalDistribution(components.light(components.LightConfig(filters=2), attrs.evolve(OTHER, levels=3), 7)),
            "expects 7 channels of features, but the features of the view have 2",
        ),
    ],
)
def test_parts_that_do_not_meet_are_refused(part, other, message):
    with pytest.raises(UserError, match=message):
        example_model(**{part: other})


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (torch.zeros(1, 1, 2, 2), "expected integers"),
        (torch.zeros((1, 3, 2, 2), dtype=torch.int64), "expected shape"),
        (torch.zeros((1, 1, 2, 3), dtype=torch.int64), "expected shape"),
        (torch.zeros((1, 2, 2), dtype=torch.int64), "expected shape"),
    ],
)
def test_what_is_no_image_has_no_likelihood(image, message):
    model = example_model()
    for ask in (model.log_prob, model.log_probs, model.bits_per_dim):
        with pytest.raises(UserError, match=message):
            ask(image)


@pytest.mark.parametrize("value", [-1, 3])
def test_bits_per_dim_refuses_values_out_of_range(value):
    image = torch.tensor([[[[0, 1], [2, value]]]])
    with pytest.raises(UserError, match=r"integers in \[0, 3\), got"):
        example_model().bits_per_dim(image)


@settings(deadline=None, max_examples=4)
@given(model=random_models(CHAIN), seed=SEEDS, batch_size=st.integers(1, 4))
def test_a_sample_is_a_function_of_its_number(model, seed, batch_size):
    sampler, images = RasterSampler(), auxar.ImageModel(model)
    found = images.sample(4, seed=seed, first=3, sampler=sampler).tensor
    assert found.shape == (4, *model.image.shape)
    model.image.check_range(found)
    again = images.sample(4, seed=seed, first=3, batch_size=batch_size, sampler=sampler)
    assert torch.equal(found, again.tensor)
    model.sampler = sampler
    assert torch.equal(found[2:3], images.sample(1, seed=seed, first=5).tensor)
    assert images.sample(0).shape == (0, *model.image.shape)
