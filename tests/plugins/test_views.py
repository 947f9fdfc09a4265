"""Tests that the shipped views compute exactly in integers, round halves up, and agree for all integer dtypes."""

import math
from fractions import Fraction

import attrs
import pytest
import torch
from helpers.causal_networks import SEEDS, random_images
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.model import INTEGER_DTYPES, ImageSpec
from auxar.plugins import load_plugins
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_pyramid import PyramidConfig, PyramidView

DTYPES = st.sampled_from(INTEGER_DTYPES)
HALF = Fraction(1, 2)


@st.composite
def numbers_of_levels(draw, smallest=2):
    """Draws a number of levels; common ones are likely."""
    return draw(st.one_of(st.sampled_from([smallest, 256]), st.integers(smallest, 1000)))


@st.composite
def grayscales(draw):
    levels = draw(st.one_of(st.sampled_from([2, 16]), st.integers(2, 256)))
    height, width = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    image = ImageSpec(3, height=height, width=width, levels=draw(numbers_of_levels(levels)))
    return GrayscaleView(GrayscaleConfig(levels), image)


@st.composite
def pyramids(draw, factors=(2, 3, 4)):
    factor = draw(st.sampled_from(factors))
    height, width = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    image = ImageSpec(
        draw(st.integers(1, 4)), height=height * factor, width=width * factor, levels=draw(numbers_of_levels())
    )
    return PyramidView(PyramidConfig(factor), image)


VIEWS = st.one_of(grayscales(), pyramids())


def dtype_for(dtype, spec):
    """Returns `dtype`, or int64 if `dtype` cannot hold the values of the image."""
    return dtype if spec.levels - 1 <= torch.iinfo(dtype).max else torch.int64


def extreme_images(count, spec, seed):
    """Returns images of the first and the last value only. Their sums are the largest, so an overflow would show."""
    return random_images(count, attrs.evolve(spec, levels=2), seed) * (spec.levels - 1)


def slow_grayscale(view, image):
    """Computes the gray values of one image, nested lists (3, h, w), by exact fractions."""
    gray = []
    for red, green, blue in zip(*torch.tensor(image).flatten(1).tolist(), strict=True):
        luma = math.floor(Fraction(299, 1000) * red + Fraction(587, 1000) * green + Fraction(114, 1000) * blue + HALF)
        gray.append(math.floor(Fraction(luma, view.image.levels) * view.view.levels))
    return torch.tensor(gray).view(view.view.shape).tolist()


def slow_pyramid(factor, image):
    """Computes the means over squares of one image, nested lists (c, h, w), by exact fractions."""
    return [
        [
            [
                math.floor(
                    Fraction(
                        sum(plane[row + i][column + j] for i in range(factor) for j in range(factor)), factor * factor
                    )
                    + HALF
                )
                for column in range(0, len(plane[0]), factor)
            ]
            for row in range(0, len(plane), factor)
        ]
        for plane in image
    ]


def slow(view, image):
    return slow_grayscale(view, image) if isinstance(view, GrayscaleView) else slow_pyramid(view.factor, image)


@settings(deadline=None, max_examples=150)
@given(view=VIEWS, dtype=DTYPES, seed=SEEDS, images=st.sampled_from([random_images, extreme_images]))
def test_a_view_is_what_fractions_rounded_half_up_give(view, dtype, seed, images):
    image = images(2, view.image, seed).to(dtype_for(dtype, view.image))
    before = image.clone()
    found = view(image)
    assert found.tolist() == [slow(view, each) for each in image.tolist()]
    assert found.dtype == image.dtype
    assert torch.equal(image, before)
    view.view.check(found)
    view.view.check_range(found)


def test_a_square_larger_than_the_image_needs_no_more_memory():
    image = random_images(2, ImageSpec(3, height=6, width=6), 0)
    one, other = (PyramidView(PyramidConfig(factor), ImageSpec(3, height=6, width=6)) for factor in (6, 65536))
    assert torch.equal(one(image), other(image))
    assert (other.view.size, other.stride) == ("1×1×3", (65536, 65536))


@pytest.mark.parametrize(
    ("name", "options", "levels"),
    [
        ("pyramid", {"factor": 3}, 256),
        ("grayscale", {"levels": 16}, 256),
        ("grayscale", {"levels": 7}, 11),
        ("bitplanes", {"drop": 3}, 256),
        ("subsample", {"factor": 2}, 256),
    ],
)
def test_a_view_takes_every_value_of_its_range(name, options, levels):
    component = load_plugins().components["view", name]
    view = component.build(component.config(**options), ImageSpec(3, height=6, width=9, levels=levels))
    wanted = random_images(100, view.view, 0).to(torch.int64)
    # Each value of the view is enlarged to a square of the lowest value that it stands for.
    side = -(-6 // view.view.height)
    square = wanted.repeat_interleave(side, 2).repeat_interleave(side, 3)[:, :, :6, :9]
    lowest = -(-square * levels // view.view.levels)
    assert torch.equal(view(lowest.expand(-1, 3, -1, -1)), wanted)


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_grayscale_needs_three_channels(channels):
    with pytest.raises(UserError, match=rf"3 channels.*4×5×{channels}"):
        GrayscaleView(GrayscaleConfig(), ImageSpec(channels, height=4, width=5))


def test_grayscale_needs_no_more_levels_than_the_image_has():
    GrayscaleView(GrayscaleConfig(levels=8), ImageSpec(height=1, width=1, levels=8))
    with pytest.raises(UserError, match=r"levels must be at most 8, .*got 9"):
        GrayscaleView(GrayscaleConfig(levels=9), ImageSpec(height=1, width=1, levels=8))


@pytest.mark.parametrize(("config", "key"), [(PyramidConfig, "factor"), (GrayscaleConfig, "levels")])
def test_a_configuration_that_makes_no_view_is_refused(config, key):
    with pytest.raises(ValueError, match=key):
        config(**{key: 1})


@pytest.mark.parametrize("name", ["bitplanes", "grayscale", "pyramid", "subsample"])
def test_an_image_of_another_shape_or_of_floats_has_no_view(name):
    component = load_plugins().get("view", name, "test")
    view = component.build(component.config(), ImageSpec(3, height=4, width=4))
    with pytest.raises(UserError, match=r"^image: expected shape \(b, 3, 4, 4\), got \(1, 3, 4, 8\)$"):
        view(torch.zeros(1, 3, 4, 8, dtype=torch.int64))
    with pytest.raises(UserError, match=r"^image: expected integers in \[0, 256\), got a tensor of torch.float32$"):
        view(torch.zeros(1, 3, 4, 4))
