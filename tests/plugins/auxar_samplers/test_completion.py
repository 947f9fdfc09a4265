"""Tests of known pixels that are refused."""

import pytest
import torch
from helpers.causal_networks import generator

from auxar.errors import UserError
from auxar.model import DrawSource, ImageSpec, Interval, Known, SampleRequest
from auxar_pixelcnn import components

IMAGE = ImageSpec(3, height=4, width=5, levels=8)
VALUES = torch.randint(8, (2, 3, 4, 5), generator=generator(0))
MASK = torch.rand((2, 4, 5), generator=generator(0)) < 0.5
RANGE = r"known values: expected integers in \[0, 8\), got"
SHAPE = r"known values: expected shape \(b, 3, 4, 5\), got"
BOOLEANS = r"known mask: expected booleans of shape \(2, 4, 5\), got torch"
WRONG = {
    "values of another type": (VALUES.double(), MASK, rf"{RANGE} a tensor of torch\.float64"),
    "values of another shape": (VALUES[:, :1], MASK, rf"{SHAPE} \(2, 1, 4, 5\)"),
    "values of too few": (VALUES[:1], MASK, r"known values: expected 2 images \(one for each image to draw\), got 1"),
    "values too large": (VALUES + 8, MASK, rf"{RANGE} 0 … 15"),
    "a mask that is no tensor": (VALUES, MASK.tolist(), "known mask: expected a tensor of booleans, got .*list"),
    "a mask of another type": (VALUES, MASK.int(), rf"{BOOLEANS}\.int32"),
    "a mask of another shape": (VALUES, MASK.mT, rf"{BOOLEANS}\.bool of shape \(2, 5, 4\)"),
    "masks of too few": (VALUES, MASK[:1], rf"{BOOLEANS}\.bool of shape \(1, 4, 5\)"),
}


@pytest.mark.parametrize(("values", "mask", "message"), WRONG.values(), ids=WRONG)
def test_what_cannot_be_known_is_refused(values, mask, message):
    with pytest.raises(UserError, match=message):
        Known(values, mask).check(IMAGE, 2)


def test_known_pixels_are_checked_before_anything_is_drawn():
    network = components.light(components.LightConfig(filters=2, blocks=1), IMAGE)
    with pytest.raises(UserError, match=RANGE):
        DrawSource.of(network, SampleRequest((0, 1), known=Known(VALUES + 8, MASK)))


@pytest.mark.parametrize(
    ("low", "high", "message"),
    [
        (VALUES - 8, VALUES, r"known limits \(lowest\): expected integers in \[0, 8\), got -8"),
        (VALUES, VALUES + 8, r"known limits \(highest\): expected integers in \[0, 8\), got 8 "),
        (VALUES, VALUES[:1], r"known limits \(highest\): expected shape \(2, 3, 4, 5\), got \(1, 3, 4, 5\)"),
        (VALUES * 0 + 5, VALUES * 0 + 4, r"the lowest value 5 is above the highest value 4 at index \(0, 0, 0, 0\)"),
    ],
)
def test_limits_that_no_value_has_are_refused(low, high, message):
    with pytest.raises(UserError, match=message):
        Known(VALUES, torch.zeros_like(MASK), Interval(low, high)).check(IMAGE, 2)


def test_only_values_that_are_known_and_limits_of_others_are_checked():
    odd = torch.where(MASK[:, None], 9, VALUES)
    Known(VALUES, MASK, Interval(odd, VALUES)).check(IMAGE, 2)
    Known(VALUES, MASK, Interval(VALUES, odd)).check(IMAGE, 2)
    mask = torch.zeros_like(MASK)
    Known(VALUES + 8, mask).check(IMAGE, 2)
    mask[1, 2, 3] = True
    with pytest.raises(UserError, match="known values"):
        Known(VALUES + 8, mask).check(IMAGE, 2)
