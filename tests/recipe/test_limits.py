"""Tests of the limits of sizes in recipes, and that values are quoted in messages so that they can be read."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from helpers.tiny_runs import TINY, changed
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.recipe.cost import factor_costs
from auxar.recipe.loading import parse_recipe

SUBSAMPLED = {
    "view": {"name": "subsample"},
    "embedding": {"name": "resnet", "filters": 1, "blocks_per_group": 1},
    "decoder": {"name": "pixelcnn", "filters": 1, "blocks": 1},
}


def outcome(text: str, *sets: str) -> str:
    """Returns the error of an invalid recipe, after checking that its lines are short and printable, or ""."""
    try:
        factor_costs(parse_recipe(text, Path("."), sets))
    except UserError as error:
        lines = str(error).split("\n")
        assert len(lines) <= 13
        assert all(line.isprintable() and 0 < len(line) < 1600 for line in lines), lines
        return str(error)
    return ""


def told(text: str, *sets: str) -> str:
    message = outcome(text, *sets)
    assert message, "it is valid"
    return message


def tiny(**changes: Any) -> str:
    return tomli_w.dumps(changed(tomllib.loads(TINY), **changes))


# Sizes


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image__height", 65_537, "image: height must be at most 65536, got 65537"),
        ("training__batch_size", 2**40, "training: batch_size must be at most 1048576, got 1099511627776"),
        ("prior__filters", 10**6, "prior: filters must be at most 16384, got 1000000"),
        ("stage__0__repeat", 65, "stage[0]: repeat must be at most 64, got 65"),
        ("stage__0__view__factor", 2**62, "stage[0].view: factor must be at most 65536, got 4611686018427387904"),
    ],
)
def test_sizes_that_nobody_means(key, value, message):
    assert told(tiny(**{key: value})).endswith(message)


LARGE = st.sampled_from([0, 1, 3, 64, 255, 256, 1024, 16_384, 65_536, 2**20, 2**24, 2**31, 2**62, -(2**63), 10**30])
SIZES = ["image__height", "image__width", "image__levels", "prior__filters", "prior__head__components"]
SIZES += ["training__batch_size", "training__accumulate", "stage__0__view__factor"]


@settings(deadline=None, max_examples=12)
@given(changes=st.dictionaries(st.sampled_from(SIZES), LARGE, max_size=4))
def test_any_sizes_give_costs_or_one_error(changes):
    outcome(tiny(**changes))


def test_stages_are_counted_together():
    stages = [SUBSAMPLED | {"repeat": 20}] * 4
    assert told(tiny(stage=stages)) == "stage: expected at most 64 stages, counting repetitions, got 80"
    assert "got 65" in told(tiny(stage=[SUBSAMPLED] * 65))
    recipe = parse_recipe(tiny(stage=[SUBSAMPLED | {"repeat": 32}] * 2), Path("."))
    assert len(recipe.stage) == 64


def test_layers_are_counted_together():
    embedding = SUBSAMPLED["embedding"] | {"blocks_per_group": 10}
    text = tiny(stage=[SUBSAMPLED | {"embedding": embedding, "repeat": 30}])
    assert "expected a model of at most 5000 layers, got 5" in told(text)


@pytest.mark.parametrize(
    "changes",
    [{"prior": {"name": "transformer", "blocks": 1}}, {"prior__filters": 16_384, "training__batch_size": 2**20}],
)
def test_tensors_that_no_machine_can_hold(changes):
    text = tiny(stage=None, image={"height": 65_536, "width": 65_536}, **changes)
    assert told(text) == "prior: expected tensors of less than 2^63 bytes; the image, batch or network is too large"


# Quoted values


def test_a_few_of_many_mistakes_are_told():
    message = told(tiny(stage=[{"view": 1}] * 64))
    first, *_, last = message.splitlines()
    assert first == 'stage[0].view: expected a component, "NAME" or { name = "NAME", … }, got the integer 1'
    assert last == "… and more problems, shown once these are fixed"


def test_an_integer_that_cannot_be_written_is_told_by_its_size():
    assert told(TINY.replace("ema_warmup", "").replace("steps = 4", "steps = 4\nema_warmup = 0x" + "f" * 4000)) == (
        "training.ema_warmup: expected a boolean, got the integer ≈10^4816"
    )
    assert "expected a finite number, got ≈10^400" in told(TINY.replace("ema = 0.9", "ema = 1" + "0" * 400))
