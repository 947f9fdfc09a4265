"""Tests that records refuse a user's mistakes with messages that name the field."""

import math
from typing import Any

import attrs
import numpy as np
import pytest

from auxar import model, plugins
from auxar.errors import UserError
from auxar.validation import at_most
from auxar_rules import Guided, Tempered

# Their types are hidden from the type checker, because the tests pass values of other types.
Adjustments: Any = model.Adjustments
ImageSpec: Any = model.ImageSpec
Component: Any = plugins.Component


NAME = "name: expected a name that recipes can use, without a colon, got 'a:b'"


@attrs.frozen
class Config:
    """Options."""

    share: Any = attrs.field(default=0, validator=at_most(1))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Adjustments(-0.5), "reduction must be at least 0, got -0.5"),
        (lambda: Adjustments("much"), "reduction must be a finite number, got 'much'"),
        (lambda: Adjustments(math.inf), "reduction must be a finite number, got inf"),
        (lambda: Adjustments(temperature=math.nan), "temperature must be a finite number, got nan"),
        (lambda: Adjustments(temperature=10**400), "temperature must be a finite number, got ≈10^400"),
        (lambda: Adjustments(temperature=True), "temperature must be a finite number, got True"),
        (lambda: Adjustments(temperature=1e-7), "temperature must be at least 1e-06, got 1e-07"),
        (lambda: Tempered(5e-324), "temperature must be at least 1e-06, got 5e-324"),
        (lambda: Guided(1e308), "strength must be at most 1000000, got 1e+308"),
        (lambda: Adjustments(min_weight=1), "min_weight must be less than 1, got 1"),
        (lambda: Adjustments(min_weight=-0.1), "min_weight must be at least 0, got -0.1"),
        (lambda: ImageSpec(height="8", width=8), "height must be an integer, got '8'"),
        (lambda: ImageSpec(height=8, width=8.0), "width must be an integer, got 8.0"),
        (lambda: ImageSpec(height=8, width=0), "width must be greater than 0, got 0"),
        (lambda: ImageSpec(True, height=8, width=8), "channels must be an integer, got True"),
        (lambda: ImageSpec(4097, height=8, width=8), "channels must be at most 4096, got 4097"),
        (lambda: ImageSpec(height=8, width=8, levels=1), "levels must be at least 2, got 1"),
        (lambda: Config(math.nan), "share must be at most 1, got nan"),
        (lambda: Component(3, "x", Config, Config), "kind: expected the name of a kind (view, network, "),
        (lambda: Component("view", "a:b", Config), NAME),
        (lambda: Component("view", "x", Config(), Config), "config must be an attrs class, got Config(share=0)"),
        (lambda: Component("view", "x", Config, None), "build must be a function or a class, got None"),
    ],
)
def test_mistakes_are_user_errors_that_name_the_field(make, message):
    with pytest.raises(UserError) as caught:
        make()
    assert str(caught.value).startswith(message)
    assert message.startswith("kind: expected") or str(caught.value) == message


def test_the_numbers_of_numpy_are_numbers():
    assert ImageSpec(height=np.int64(8), width=8) == ImageSpec(height=8, width=8)
    assert Adjustments(np.float32(0.5)) == Adjustments(0.5)
