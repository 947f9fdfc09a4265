"""Tests the view `subsample`: it keeps pixels, takes images of any size, and models with it give a lower bound."""

import pytest
import torch
from helpers.bounds import check_bound, random_models
from helpers.causal_networks import SEEDS, SIZES, random_images, randomized, specs
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from auxar.errors import UserError
from auxar.model import INTEGER_DTYPES, CausalDistribution, Chain, Embedding, Factor, ImageSpec, Known, SampleRequest
from auxar.plugins import load_plugins
from auxar.testing import check_view
from auxar_heads import logistic_mixture
from auxar_pixelcnn import components
from auxar_samplers import RasterSampler
from auxar_subsample import SubsampleConfig, SubsampleView


def subsample(factor):
    return lambda image: SubsampleView(SubsampleConfig(factor), image)


@st.composite
def views(draw):
    return SubsampleView(SubsampleConfig(draw(st.integers(2, 4))), draw(specs(SIZES, levels=(2, 256))))


@pytest.mark.parametrize("factor", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_the_view_keeps_the_contract(factor):
    check_view(SubsampleView, SubsampleConfig(factor))


def test_the_view_is_registered():
    component = load_plugins().get("view", "subsample", "view")
    view = component.build(component.config(), ImageSpec(height=6, width=8))
    assert view.view == ImageSpec(height=3, width=4)


@pytest.mark.parametrize("dtype", INTEGER_DTYPES)
def test_every_other_pixel_of_a_small_image(dtype):
    image = torch.arange(15, dtype=dtype).view(1, 1, 3, 5)
    found = subsample(2)(ImageSpec(1, height=3, width=5))(image)
    assert found.dtype == dtype
    assert found.tolist() == [[[[0, 2, 4], [10, 12, 14]]]]


@settings(deadline=None, max_examples=80)
@given(view=views(), seed=SEEDS)
def test_each_pixel_is_one_of_the_image_as_it_is(view, seed):
    image = random_images(2, view.image, seed)
    found = view(image)
    rows, columns = (range(0, side, view.factor) for side in view.image.shape[1:])
    assert (view.view.height, view.view.width) == (len(rows), len(columns))
    expected = [[[[plane[r][c] for c in columns] for r in rows] for plane in each] for each in image.tolist()]
    assert found.tolist() == expected
    view.view.check(found)


@settings(deadline=None, max_examples=30)
@given(factors=st.tuples(st.integers(2, 3), st.integers(2, 3)), spec=specs(levels=(256,)), seed=SEEDS)
def test_stages_multiply(factors, spec, seed):
    image = random_images(1, spec, seed)
    first = subsample(factors[0])(spec)
    second = subsample(factors[1])(first.view)
    once = subsample(factors[0] * factors[1])(spec)
    assert second.view == once.view
    assert torch.equal(second(first(image)), once(image))


@settings(deadline=None, max_examples=20)
@given(view=views(), seed=SEEDS)
def test_the_view_shares_no_memory_with_its_image(view, seed):
    image = random_images(1, view.image, seed)
    before = image.clone()
    view(image).add_(1)
    assert torch.equal(image, before)


@settings(deadline=None, max_examples=60)
@given(view=views(), seed=SEEDS)
def test_a_pixel_is_known_where_it_is_in_the_image(view, seed):
    image = random_images(2, view.image, seed)
    mask = random_images(2, view.image, seed + 1)[:, 0] % 2 == 0
    known = view.known(Known(image.where(mask[:, None], -1), mask))
    known.check(view.view, 2)
    for row in range(view.view.height):
        for column in range(view.view.width):
            assert torch.equal(known.mask[:, row, column], mask[:, row * view.factor, column * view.factor])
    assert torch.equal(known.filled(), view(image) * known.mask[:, None])


@pytest.mark.parametrize("factor", [1, 0, -2])
def test_a_factor_that_makes_no_view_is_refused(factor):
    with pytest.raises(ValueError, match="factor"):
        SubsampleConfig(factor)


# In a model ----------------------------------------------------------------------------------------------------------

# Images and all their views are few enough to enumerate.
SPACES = {
    "a square": (ImageSpec(1, height=2, width=2, levels=3), [subsample(2)]),
    "two squares": (ImageSpec(1, height=2, width=4, levels=2), [subsample(2)]),
}
UNEVEN = {
    "three by three": (ImageSpec(1, height=3, width=3, levels=2), [subsample(2)]),
    "a row of color": (ImageSpec(3, height=1, width=3, levels=2), [subsample(3)]),
}


def uneven_models(space):
    """Draws models with an embedding for any size, since the shipped one needs sides that the factor divides."""
    image, (build,) = space
    view = build(image)

    class NearestEmbedding(Embedding):
        def __init__(self):
            super().__init__()
            self.image, self.view, self.features_channels = image, view.view, 2
            self.mix = nn.Conv2d(view.view.channels, 2, 1)

        def forward(self, values):
            features = self.mix(values.to(self.mix.weight.dtype))
            wide = features.repeat_interleave(view.factor, 2).repeat_interleave(view.factor, 3)
            return wide[:, :, : image.height, : image.width]

    light = components.LightConfig(filters=3, blocks=1, head=logistic_mixture(2))
    decoder, prior = (
        CausalDistribution(components.light(light, image, 2)),
        CausalDistribution(components.light(light, view.view)),
    )
    return SEEDS.map(
        lambda seed: randomized(Chain([Factor(decoder, view=view, embedding=NearestEmbedding()), Factor(prior)]), seed)
    )


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_an_image_with_every_other_pixel_is_less_likely_than_the_image(space, data):
    """For every image, p(x, ψ(x)) ≤ p(x)."""
    model = data.draw(random_models(space))
    check_bound(model)


@pytest.mark.parametrize("space", UNEVEN.values(), ids=UNEVEN)
@settings(deadline=None, max_examples=6)
@given(data=st.data())
def test_the_bound_holds_where_the_factor_does_not_divide_a_side(space, data):
    model = data.draw(uneven_models(space))
    check_bound(model)


def test_the_shipped_embedding_says_which_sizes_it_needs():
    view = subsample(2)(ImageSpec(height=5, width=6))
    with pytest.raises(UserError, match="the same whole multiple of those of its view 3×3×3"):
        components.embedding(components.EmbeddingConfig(), view.view, view.image)


@settings(deadline=None, max_examples=5)
@given(model=uneven_models((ImageSpec(1, height=3, width=4, levels=256), [subsample(2)])), seed=SEEDS)
def test_known_pixels_are_held_fixed_at_both_sizes(model, seed):
    image = random_images(2, model.image, seed)
    mask = random_images(2, model.image, seed + 1)[:, 0] % 2 == 0
    fine, coarse = model.draw_views(SampleRequest((0, 1), seed, known=Known(image, mask)), RasterSampler())
    expected = model.views(image)
    for found, given_view, held in ((fine, expected[0], mask), (coarse, expected[1], mask[:, ::2, ::2])):
        held = held[:, None].expand_as(found)
        assert torch.equal(found[held], given_view[held])
