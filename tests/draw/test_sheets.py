"""Tests that sheets show every pixel in its place and with its value."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from helpers.causal_networks import random_images
from helpers.sheets import cells, enlarged
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.draw.sheets import MARGIN, TITLE, labeled, sheet, to_uint8
from auxar.errors import UserError
from auxar.model import ImageSpec


@st.composite
def specs(draw, side=6):
    return ImageSpec(
        draw(st.sampled_from([1, 3])),
        height=draw(st.integers(1, side)),
        width=draw(st.integers(1, side)),
        levels=draw(st.integers(2, 1000)),
    )


@settings(deadline=None, max_examples=50)
@given(levels=st.integers(2, 5000))
def test_values_are_scaled_exactly_and_rounded_up(levels):
    spec = ImageSpec(1, height=1, width=levels, levels=levels)
    shown = to_uint8(torch.arange(levels).view(1, 1, 1, levels), spec)
    expected = [math.ceil(Fraction(255 * x, levels - 1)) for x in range(levels)]
    assert shown.dtype == np.uint8
    assert shown.shape == (1, 1, levels, 3)
    assert (shown == np.array(expected)[None, None, :, None]).all()


@settings(deadline=None, max_examples=60)
@given(spec=specs(), count=st.integers(1, 9), columns=st.integers(1, 10), zoom=st.integers(1, 4))
def test_every_image_lies_unchanged_in_its_place(spec, count, columns, zoom):
    images = random_images(count, spec)
    picture = sheet(images, spec, columns=columns, zoom=zoom)
    rows = math.ceil(count / columns)
    assert picture.mode == "RGBA"
    assert picture.size == (
        MARGIN + columns * (spec.width * zoom + MARGIN),
        MARGIN + rows * (spec.height * zoom + MARGIN),
    )
    shown = cells(picture, rows, columns, spec.height * zoom, spec.width * zoom)
    for index, colors in enumerate(to_uint8(images, spec)):
        assert np.array_equal(shown[divmod(index, columns)], colors.repeat(zoom, 0).repeat(zoom, 1))
    opaque = (np.asarray(picture)[..., 3] == 255).sum()
    assert opaque == count * spec.height * spec.width * zoom**2


@pytest.mark.parametrize(
    ("side", "count", "size"),
    [(8, 16, 4 * 130 + 2), (32, 16, 4 * 130 + 2), (128, 4, 2 * 130 + 2), (200, 1, 204), (32, 100, 10 * 66 + 2)],
)
def test_the_size_is_chosen_for_the_eye(side, count, size):
    spec = ImageSpec(height=side, width=side)
    picture = sheet(random_images(count, spec), spec)
    assert picture.size == (size, size)


def test_a_sheet_needs_an_image_and_room_for_it():
    spec = ImageSpec(height=2, width=2)
    with pytest.raises(UserError, match="no images"):
        sheet(random_images(0, spec), spec)
    with pytest.raises(UserError, match="columns: expected an integer from 1 to 10,000, got 0"):
        sheet(random_images(1, spec), spec, columns=0)
    with pytest.raises(UserError, match="at least 1"):
        sheet(random_images(1, spec), spec, zoom=0)


@pytest.mark.parametrize("values", [[0] * 64 + [255] * 64, [0] * 43 + [128] * 43 + [255] * 42])
def test_growth_of_a_view_whose_size_does_not_divide(values):
    count = len(set(values))
    coarse, fine = (ImageSpec(1, height=1, width=width, levels=count) for width in (count, 128))
    columns = [("", torch.arange(count).view(1, 1, 1, count), coarse), ("", random_images(1, fine), fine)]
    assert cells(labeled(columns), 1, 2, 1, 128)[0, 0, 0, :, 0].tolist() == values


@pytest.mark.parametrize(
    ("title", "height", "width"), [("a", 64, 128), ("twice as wide as the images of it", 132, 264)]
)
def test_labeled_columns_show_each_image_below_its_title_and_beside_its_name(title, height, width):
    """The columns are at least as wide as the titles, and coarse images are enlarged to the size of the others."""
    fine, coarse = ImageSpec(height=16, width=32), ImageSpec(1, height=3, width=6, levels=3)
    titles, names = ["", title, "last"], ["", "second", "third: 1.25"]
    specs = enumerate((fine, coarse, fine))
    columns = [(titles[number], random_images(3, spec, number), spec) for number, spec in specs]
    picture = labeled(columns, names)
    assert picture.width == 8 * len(names[2]) + MARGIN + 3 * (width + MARGIN)
    assert picture.height == TITLE + MARGIN + 3 * (height + MARGIN)
    shown = cells(picture, 3, 3, height, width)
    for column, (_, images, spec) in enumerate(columns):
        for row, colors in enumerate(to_uint8(images, spec)):
            assert np.array_equal(shown[row, column], enlarged(colors, height, width))
    ink = np.asarray(picture)[..., 3] > 0
    left = picture.width - 3 * (width + MARGIN)
    above = [bool(ink[:TITLE, left + column * (width + MARGIN) :][:, :width].any()) for column in range(3)]
    beside = [bool(ink[TITLE + MARGIN + row * (height + MARGIN) :, : left - MARGIN][:height].any()) for row in range(3)]
    assert (above, beside) == ([bool(title) for title in titles], [bool(name) for name in names])


def test_columns_may_end_early_and_those_that_cannot_be_shown_are_left_out():
    spec, other = ImageSpec(height=2, width=2), ImageSpec(2, height=2, width=2)
    columns = [("", random_images(count, own), own) for count, own in ((2, spec), (3, other), (1, spec))]
    shown = np.asarray(labeled(columns, zoom=1))
    assert shown.shape == (2 * 4 + MARGIN, 2 * 4 + MARGIN, 4)
    assert (shown[..., 3] == 255).sum() == 3 * 4
    for none in ([], columns[1:2]):
        with pytest.raises(UserError, match="no images to show"):
            labeled(none)
