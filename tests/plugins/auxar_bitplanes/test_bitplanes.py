"""Tests the view `bitplanes`: it keeps the upper bits, also in chains, and models with it give a lower bound."""

from pathlib import Path

import pytest
import tomli_w
import torch
from helpers.bounds import check_bound, random_models
from helpers.causal_networks import SEEDS, random_images, specs
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.model import INTEGER_DTYPES, ImageSpec, Known, SampleRequest
from auxar.recipe.building import build_model
from auxar.recipe.loading import parse_recipe
from auxar.testing import check_view
from auxar_bitplanes import BitplanesConfig, BitplanesView
from auxar_samplers import RasterSampler


def bitplanes(drop):
    return lambda image: BitplanesView(BitplanesConfig(drop), image)


def of_levels(levels):
    return ImageSpec(1, height=1, width=levels, levels=levels)


@st.composite
def views(draw):
    drop = draw(st.integers(1, 9))
    image = draw(specs(levels=[2**bits for bits in range(drop + 1, 11)]))
    return BitplanesView(BitplanesConfig(drop), image)


@pytest.mark.parametrize("drop", [1, pytest.param(2, marks=pytest.mark.slow), pytest.param(5, marks=pytest.mark.slow)])
def test_the_view_keeps_the_contract(drop):
    sizes = [(1, 1), (3, 2), (4, 5)]
    images = [
        ImageSpec(channels, height=height, width=width, levels=2 ** (drop + more))
        for channels, (height, width), more in zip((1, 3, 2), sizes, (1, 2, 3), strict=True)
    ]
    check_view(BitplanesView, BitplanesConfig(drop), images=images)


@pytest.mark.parametrize("dtype", INTEGER_DTYPES)
@pytest.mark.parametrize(
    ("drop", "expected"),
    [(1, [0, 0, 1, 1, 2, 2, 3, 3]), (2, [0, 0, 0, 0, 1, 1, 1, 1])],
)
def test_every_value_of_three_bits(dtype, drop, expected):
    view = bitplanes(drop)(of_levels(8))
    found = view(torch.arange(8, dtype=dtype).view(1, 1, 1, 8))
    assert found.dtype == dtype
    assert found.flatten().tolist() == expected
    assert view.view == ImageSpec(1, height=1, width=8, levels=2 ** (3 - drop))


@settings(deadline=None, max_examples=60)
@given(view=views(), seed=SEEDS)
def test_the_view_is_the_upper_digits_of_the_binary_number(view, seed):
    image = random_images(2, view.image, seed)
    bits = view.image.levels.bit_length() - 1
    expected = [int(f"{value:0{bits}b}"[: bits - view.drop], 2) for value in image.flatten().tolist()]
    found = view(image)
    assert found.flatten().tolist() == expected
    assert found.shape == image.shape
    view.view.check_range(found)


@settings(deadline=None, max_examples=30)
@given(drops=st.lists(st.integers(1, 3), min_size=2, max_size=3), seed=SEEDS)
def test_what_stages_drop_adds_up(drops, seed):
    spec = ImageSpec(height=2, width=3, levels=1024)
    image = found = random_images(2, spec, seed)
    for drop in drops:
        view = bitplanes(drop)(spec)
        found, spec = view(found), view.view
    whole = bitplanes(sum(drops))(ImageSpec(height=2, width=3, levels=1024))
    assert spec == whole.view
    assert torch.equal(found, whole(image))


@settings(deadline=None, max_examples=30)
@given(view=views(), seed=SEEDS)
def test_a_value_is_known_where_its_pixel_is(view, seed):
    image = random_images(2, view.image, seed)
    mask = random_images(2, view.image, seed + 1)[:, 0] % 2 == 0
    known = view.known(Known(image.where(mask[:, None], -1), mask))
    known.check(view.view, 2)
    assert torch.equal(known.mask, mask)
    assert torch.equal(known.filled(), view(image) * mask[:, None])


# Refusals ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("levels", "nearest"),
    [(2, "nearest: 4)"), (3, "nearest: 4)"), (5, "nearest: 4 or 8)"), (255, "nearest: 128 or 256)")],
)
def test_levels_that_are_no_power_of_two_are_refused(levels, nearest):
    with pytest.raises(UserError, match="power of two and at least 4") as error:
        bitplanes(1)(ImageSpec(height=2, width=3, levels=levels))
    assert nearest in str(error.value)
    assert f"2×3×3 with {levels} levels" in str(error.value)


@pytest.mark.parametrize(("bits", "drop"), [(2, 2), (8, 8), (8, 20)])
def test_one_bit_has_to_stay(bits, drop):
    bitplanes(bits - 1)(of_levels(2**bits))
    with pytest.raises(UserError, match=rf"drop must be at most {bits - 1} for .* {bits} bits, got drop = {drop}"):
        bitplanes(drop)(of_levels(2**bits))


def test_nothing_dropped_is_no_view():
    with pytest.raises(ValueError, match="drop"):
        BitplanesConfig(0)


# In a model ----------------------------------------------------------------------------------------------------------

# Images and all their views are few enough to enumerate.
SPACES = {
    "two pixels of two bits": (ImageSpec(1, height=1, width=2, levels=4), [bitplanes(1)]),
    "two rows of two bits": (ImageSpec(1, height=2, width=1, levels=4), [bitplanes(1)]),
    "color of two bits": (ImageSpec(3, height=1, width=1, levels=4), [bitplanes(1)]),
    "two bits at once": (ImageSpec(1, height=1, width=2, levels=8), [bitplanes(2)]),
}
CHAIN = (ImageSpec(1, height=1, width=2, levels=8), [bitplanes(1), bitplanes(1)])


@pytest.mark.parametrize("space", [*SPACES.values(), CHAIN], ids=[*SPACES, "three bits, two bits, one bit"])
@settings(deadline=None, max_examples=5)
@given(data=st.data())
def test_an_image_with_its_upper_bits_is_less_likely_than_the_image(space, data):
    """For every image, p(x, ψ(x)) ≤ p(x)."""
    model = data.draw(random_models(space))
    check_bound(model)


@settings(deadline=None, max_examples=5)
@given(model=random_models((ImageSpec(1, height=2, width=3, levels=16), [bitplanes(2), bitplanes(1)])), seed=SEEDS)
def test_known_pixels_are_held_fixed_in_every_plane(model, seed):
    image = random_images(2, model.image, seed)
    mask = random_images(2, model.image, seed + 1)[:, 0] % 2 == 0
    views = model.draw_views(SampleRequest((0, 1), seed, known=Known(image, mask)), RasterSampler())
    assert len(views) == 3
    for found, given_view in zip(views, model.views(image), strict=True):
        held = mask[:, None].expand_as(found)
        assert torch.equal(found[held], given_view[held])


RECIPE = {
    "data": {"path": "pictures"},
    "image": {"height": 4, "width": 4},
    "stage": [
        {
            "repeat": 3,
            "view": {"name": "bitplanes", "drop": 2},
            "embedding": {"name": "resnet", "filters": 2, "blocks_per_group": 1},
            "decoder": {"name": "pixelcnn", "filters": 2, "blocks": 1},
        }
    ],
    "prior": {"name": "pixelcnn", "filters": 2, "blocks": 1},
    "training": {"steps": 1},
}


def test_a_repeated_stage_of_a_recipe_goes_on_dropping():
    model = build_model(*parse_recipe(tomli_w.dumps(RECIPE), Path(".")), on="meta")
    assert [spec.levels for spec in model.specs] == [256, 64, 16, 4]


def test_a_stage_too_many_is_named_with_what_it_could_drop():
    recipe, registry = parse_recipe(tomli_w.dumps(RECIPE), Path("."), ["stage[0].repeat=4"])
    with pytest.raises(UserError, match=r"stage\[3\]\.view \('bitplanes'\): drop must be at most 1 for"):
        build_model(recipe, registry, on="meta")
