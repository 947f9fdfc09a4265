"""Tests that any recipe gives a result or one readable error."""

from __future__ import annotations

import gc
import importlib
import time
import tomllib
import weakref
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import attrs
import pytest
import tomli_w
from helpers.tiny_runs import PROJECT, TINY, changed

from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.recipe import cost, load_recipe, recipe_text
from auxar.recipe.building import build_model
from auxar.recipe.cost import factor_costs
from auxar.recipe.loading import parse_recipe

SEED, COUNT = 1, 100
SUBSAMPLED = {
    "view": {"name": "subsample"},
    "embedding": {"name": "resnet", "filters": 1, "blocks_per_group": 1},
    "decoder": {"name": "pixelcnn", "filters": 1, "blocks": 1},
}


@pytest.fixture(scope="module")
def fuzz() -> Iterator[ModuleType]:
    """The script that generates recipes and checks them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(PROJECT / "tests" / "fuzz")
        yield importlib.import_module("recipes")


@pytest.fixture
def folder(fuzz, tmp_path) -> Path:
    """A recipe's folder with plugin files, and with things that only look like plugin files."""
    fuzz.furnish(tmp_path / "recipe")
    return tmp_path / "recipe"


def told(text: str, *sets: str, folder: Path = Path(".")) -> str:
    """Returns the error of an invalid recipe, after checking that its lines are short and printable."""
    with pytest.raises(UserError) as caught:
        factor_costs(*parse_recipe(text, folder, sets, trust_plugins=True))
    lines = str(caught.value).split("\n")
    assert len(lines) <= 13
    assert all(line.isprintable() and 0 < len(line) < 1600 for line in lines), lines
    return str(caught.value)


def tiny(**changes: Any) -> str:
    return tomli_w.dumps(changed(tomllib.loads(TINY), **changes))


# The fuzzer itself


def test_recipes_made_at_random(fuzz):
    outcomes = fuzz.outcomes_of(SEED, range(COUNT), fuzz.Limits(seconds=20, memory=2))
    assert [outcome for outcome in outcomes if outcome.kind == "failure"] == []
    kinds = [outcome.kind for outcome in outcomes]
    assert kinds.count("result") >= 3
    assert kinds.count("error") >= COUNT * 2 // 3


def test_a_number_is_always_the_same_recipe(fuzz):
    first = [fuzz.make_case(SEED, number) for number in range(COUNT)]
    assert [fuzz.make_case(SEED, number) for number in reversed(range(COUNT))] == first[::-1]
    assert len({case.recipe for case in first}) > COUNT / 2


def endless() -> None:
    while True:
        pass


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (lambda case, folder: 1 / 0, "ZeroDivisionError: division by zero"),
        (lambda case, folder: time.sleep(5), "hangs: more than 0.2 s"),
        (lambda case, folder: endless(), "hangs: more than 0.2 s"),
        (lambda case, folder: bytearray(2**28) and "", "memory: "),
    ],
)
def test_a_fault_is_a_failure(fuzz, monkeypatch, fault, words):
    monkeypatch.setattr(fuzz, "check_recipe", fault)
    limits = fuzz.Limits(seconds=0.2, memory=fuzz.watching.forget_peak() + 0.1)
    (outcome,) = fuzz.outcomes_of(SEED, [0], limits)
    assert outcome.kind == "failure"
    assert outcome.words.startswith(words)


@pytest.mark.parametrize("message", ["", "a: one\n\nb: two", "x" * 3000, "a: \x1b[2J", "\n".join("a" * 50)])
def test_an_error_that_cannot_be_read_is_a_failure(fuzz, monkeypatch, folder, message):
    def command(*arguments: Any) -> None:
        raise UserError(message)

    monkeypatch.setattr(fuzz, "_command", command)
    with pytest.raises(AssertionError, match="an error"):
        fuzz.check_recipe(fuzz.make_case(SEED, 0), folder)


# Sizes


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("image__height", 65_537, "image: height must be at most 65536, got 65537"),
        ("image__width", 2**63 - 1, "image: width must be at most 65536, got 9223372036854775807"),
        ("image__channels", 5000, "image: channels must be at most 4096, got 5000"),
        ("image__levels", 2**31, "image: levels must be at most 16777216, got 2147483648"),
        ("training__batch_size", 2**40, "training: batch_size must be at most 1048576, got 1099511627776"),
        ("prior__filters", 10**6, "prior: filters must be at most 16384, got 1000000"),
        ("prior__blocks", 257, "prior: blocks must be at most 256, got 257"),
        ("prior__head__components", 2**62, "prior.head: components must be at most 1024, got 4611686018427387904"),
        ("stage__0__repeat", 65, "stage[0]: repeat must be at most 64, got 65"),
        ("stage__0__view__factor", 2**62, "stage[0].view: factor must be at most 65536, got 4611686018427387904"),
        (
            "stage__0__embedding",
            {"name": "resnet", "blocks_per_group": 65},
            "blocks_per_group must be at most 64, got 65",
        ),
        ("prior", {"name": "pixelcnn++", "nr_resnet": 65}, "prior: nr_resnet must be at most 64, got 65"),
        # The nearest valid number of heads is not searched for among all smaller numbers.
        (
            "prior",
            {"name": "transformer", "width": 2**62, "heads": 2**61},
            "prior: width must be at most 16384, got 4611686018427387904",
        ),
        ("prior", {"name": "transformer", "heads": 2000}, "prior: heads must be at most 1024, got 2000"),
    ],
)
def test_sizes_that_nobody_means(key, value, message):
    assert told(tiny(**{key: value})).endswith(message)


def test_stages_are_counted_together():
    stages = [SUBSAMPLED | {"repeat": 20}] * 4
    assert told(tiny(stage=stages)) == "stage: expected at most 64 stages, counting repetitions, got 80"
    assert "got 5000" in told("[[stage]]\n" * 5000)
    recipe, _ = parse_recipe(tiny(stage=[SUBSAMPLED | {"repeat": 32}] * 2), Path("."))
    assert len(recipe.stage) == 64


@pytest.mark.parametrize("sampler", ["auto", "cached"])
def test_layers_are_counted_together(sampler):
    embedding = SUBSAMPLED["embedding"] | {"blocks_per_group": 10}
    text = tiny(stage=[SUBSAMPLED | {"embedding": embedding, "repeat": 30}], sampling={"sampler": sampler})
    assert "expected a model of at most 5000 layers, got 5" in told(text)


@pytest.mark.parametrize(
    "changes",
    [
        {"prior": {"name": "transformer", "blocks": 1}},
        {"prior__filters": 16_384, "training__batch_size": 2**20},
        {"prior__filters": 16_384, "sampling__sampler": "cached", "training__batch_size": 2**20},
    ],
)
def test_tensors_that_no_machine_can_hold(changes):
    text = tiny(stage=None, image={"height": 65_536, "width": 65_536}, **changes)
    assert told(text) == "prior: expected tensors of less than 2^63 bytes; the image, batch or network is too large"


def test_a_model_that_was_counted_is_freed(monkeypatch):
    parameters: list[weakref.ref[Any]] = []

    def build(*arguments: Any, **options: Any) -> Any:
        model = build_model(*arguments, **options)
        parameters.extend(weakref.ref(parameter) for parameter in model.parameters())
        return model

    monkeypatch.setattr(cost, "build_model", build)
    factor_costs(*parse_recipe(TINY, Path(".")))
    gc.collect()
    assert len(parameters) > 100
    assert [parameter for parameter in parameters if parameter() is not None] == []


def test_a_spec_has_limits_in_python_too():
    with pytest.raises(UserError, match="height must be at most 65536, got 65537"):
        ImageSpec(height=65_537, width=1)
    assert attrs.evolve(ImageSpec(height=1, width=1), levels=2**24).levels == 2**24


# Quoted values


LONG = "9" * 1_000_000


def test_a_few_of_many_mistakes_are_told():
    message = told(tiny(stage=[{"view": 1}] * 64))
    first, *_, last = message.splitlines()
    assert first == 'stage[0].view: expected a component, "NAME" or { name = "NAME", … }, got the integer 1'
    assert last == "… and more problems, shown once these are fixed"


def test_an_integer_that_cannot_be_written_is_told_by_its_size():
    assert told(TINY.replace("flip", "").replace("steps = 4", "steps = 4\nflip = 0x" + "f" * 4000)) == (
        "training.flip: expected a boolean, got the integer ≈10^4816"
    )
    assert "expected a finite number, got ≈10^400" in told(TINY.replace("ema = 0.9", "ema = 1" + "0" * 400))


# Text


def test_depth_has_an_end():
    assert told("x = " + "[" * 100_000) == "not valid TOML: nested too deeply"


# Settings


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("data.path=\udc80", r"--set data.path=\udc80: expected UTF-8 text"),
        ("\x1b[2J", r"--set \x1b[2J: expected key=value, such as training.steps=100"),
        ("a\nb", r"--set a\nb: expected key=value, such as training.steps=100"),
        ("stage[\n]=1", r"--set stage[\n]=1: stage.\n does not exist; stage is a list of length 1, numbered from 0"),
    ],
)
def test_settings_are_quoted_so_that_they_can_be_read(setting, message):
    assert message in told(TINY, setting)


def test_a_setting_sets_one_key():
    recipe, _ = parse_recipe(TINY, Path("."), ["data.path=3\nother = 4"])
    assert recipe.data.path == "3\nother = 4"
    assert parse_recipe(recipe_text(recipe), Path("."))[0] == recipe


# Plugin files


def test_what_is_no_plugin_file_is_told(fuzz, folder):
    for name in [*importlib.import_module("cases").NO_PLUGINS, "broken.py", "odd.py", LONG]:
        assert told(tiny(plugins=[name]), folder=folder).startswith("plugins"), name


def test_what_is_no_recipe_is_told(folder):
    (folder / "recipe.toml").write_bytes(b"\xff")
    for name in ("recipe.toml", "folder.py", "loop.py", "missing.toml", "x" * 300):
        with pytest.raises(UserError):
            load_recipe(folder / name)
