"""Tests that a recipe loads or gives an error that names the wrong key, and that it is written back unchanged."""

import math
import re
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
import tomli_w
from helpers.tiny_runs import PROJECT, TINY, changed, said
from hypothesis import given, settings
from hypothesis import strategies as st

from auxar.errors import UserError
from auxar.recipe import Recipe, recipe_text
from auxar.recipe.building import build_model
from auxar.recipe.loading import load_recipe, parse_recipe
from auxar.recipe.schema import TrainingConfig
from auxar_optimizers.schedules import Cosine, Exponential

OPTIMIZER, FINITE = "training.optimizer", "expected a finite number"

RECIPES = PROJECT / "recipes"
# Paths of keys that can be set in the tiny recipe, since their parents are tables.
KEYS = [
    *("data", "data.path", "data.split", "data.split.train", "data.crop", "data.limit", "data.broken"),
    *("image", "image.height", "image.levels", "stage", "stage[0]", "stage[0].view", "stage[0].view.factor"),
    *("stage[0].repeat", "stage[0].decoder", "stage[0].decoder.head", "stage[0].embedding.filters", "prior"),
    *("prior.name", "prior.filters", "prior.dropout", "training", "training.steps", "training.epochs"),
    *("training.optimizer", "training.clip", "training.augment", "training.trackers", "training.factor"),
    *("training.factor.prior", "training.factor.stage0.steps", "training.precision", "evaluation"),
    *("evaluation.train_images", "sampling", "sampling.rule", "sampling.sampler", "sampling.rule.reduction", "plugins"),
]


def parse(table: dict[str, Any], *sets: str) -> Recipe:
    return parse_recipe(tomli_w.dumps(table), Path("."), sets)


def tiny(*sets: str, **changes: Any) -> Recipe:
    return parse(changed(tomllib.loads(TINY), **changes), *sets)


def refusal(*sets: str, **changes: Any) -> str:
    return said(tiny, *sets, **changes)


def outcome(text: str, *sets: str) -> str:
    """Returns the error of an invalid recipe. For a valid one, checks that it can be written and read back, and returns
    ""."""
    try:
        recipe = parse_recipe(text, Path("."), sets)
    except UserError as error:
        return str(error) or "an error without a message"
    assert parse_recipe(recipe_text(recipe), Path(".")) == recipe
    return ""


@pytest.mark.parametrize(
    "twin", sorted(RECIPES.glob("tight/small/**/*.toml")), ids=lambda path: str(path.relative_to(RECIPES))
)
def test_twins_differ_in_nothing_but_their_support(twin):
    free = tomllib.loads((RECIPES / twin.relative_to(RECIPES / "tight")).read_text())
    restricted = tomllib.loads(twin.read_text())
    assert {stage.pop("support") for stage in restricted["stage"]} == {"restricted"}
    assert free == restricted


# Any text, any table


@settings(deadline=None, max_examples=150)
@given(
    st.text()
    | st.text(alphabet="[]{}=.,\"'#\n abstdin0123456789")
    | st.tuples(st.integers(0, len(TINY)), st.integers(0, 20), st.text(max_size=5)).map(
        lambda edit: TINY[: edit[0]] + edit[2] + TINY[edit[0] + edit[1] :]
    )
)
def test_any_text_is_a_recipe_or_a_users_mistake(text):
    assert outcome(text) != "an error without a message"


def leaves() -> st.SearchStrategy[Any]:
    numbers = st.integers(-3, 3) | st.integers() | st.floats() | st.sampled_from([2**63, -(2**63) - 1])
    names = st.sampled_from(["", "pixelcnn", "pyramid", "bf16", "map", "prior", "stage0", "steps"])
    return st.booleans() | numbers | names | st.text(max_size=6) | st.dates()


def values() -> st.SearchStrategy[Any]:
    keys = st.sampled_from(["name", "steps", "factor", "prior"]) | st.text(max_size=4)
    return st.recursive(
        leaves(), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=5
    )


def put(table: dict[str, Any], path: str, value: Any) -> None:
    changed(table, **{path.replace("[", "__").replace("]", "").replace(".", "__"): value})


def outcome_of(path: str, value: Any) -> str:
    """Returns the error of the tiny recipe with this value, after checking that it names the key. "" if valid."""
    table = tomllib.loads(TINY)
    if path.endswith("epochs"):
        del table["training"]["steps"]
    put(table, path, value)
    message = outcome(tomli_w.dumps(table))
    table_name = path.split(".")[0].split("[")[0]
    key = path.rpartition(".")[2].split("[")[0]
    if message:
        assert any(line.startswith(table_name) and key in line for line in message.splitlines()), message
    return message


@settings(deadline=None, max_examples=250)
@given(st.sampled_from(KEYS), values())
def test_a_wrong_value_is_named(path, value):
    outcome_of(path, value)


def paths(node: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Returns the paths of all keys of a table, including nested ones."""
    if isinstance(node, dict):
        return [p for key, value in node.items() for p in ((*path, key), *paths(value, (*path, key)))]
    if isinstance(node, list):
        return [p for index, value in enumerate(node) for p in paths(value, (*path, index))]
    return []


def parent(table: Any, path: tuple[str | int, ...]) -> Any:
    for part in path[:-1]:
        table = table[part]
    return table


ALL_PATHS = paths(tomllib.loads(TINY))


@pytest.mark.parametrize("path", ALL_PATHS, ids=lambda path: ".".join(map(str, path)))
def test_a_key_taken_away_has_a_default_or_is_required(path):
    table = tomllib.loads(TINY)
    del parent(table, path)[path[-1]]
    required = {"data", "path", "image", "height", "width", "prior", "training", "steps", "name"}
    required |= {"view", "embedding", "decoder"}
    # A head, an optimizer or a schedule without a name is the default one.
    default = path[-1] == "name" and path[-2] in ("head", "optimizer", "schedule")
    if path[-1] in required and not default:
        with pytest.raises(UserError, match=str(path[-1])):
            parse(table)
    else:
        parse(table)


# Messages


def test_the_nearest_key_is_suggested():
    assert refusal(training__batchsize=3) == (
        "training: unknown key 'batchsize'; did you mean 'batch_size'? (known: accumulate, augment, batch_size, "
        "checkpoint_every, clip, compile, crop, data, ema, ema_warmup, epochs, evaluate_every, init, "
        "initialization_images, keep_best, keep_checkpoints, limits, limits_cost, log_every, minutes, nonfinite, "
        "optimizer, patience, precision, recompute, sample_every, schedule, seed, steps, trackers, validation_images, "
        "warmup)"
    )
    assert "stage[0].decoder: unknown key 'filter'; did you mean 'filters'?" in refusal(stage__0__decoder__filter=3)
    assert refusal(trainin={}).startswith("unknown key 'trainin'; did you mean 'training'?")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training__batch_size": 0}, "training: batch_size must be greater than 0, got 0"),
        ({"training__optimizer__learning_rate": math.inf}, f"{OPTIMIZER}.learning_rate: {FINITE}, got inf"),
        *(
            (
                {"training__optimizer": {"name": name, "learning_rate": 1e300}},
                f"{OPTIMIZER}: learning_rate must be at most",
            )
            for name in ("adam", "adamw", "muon")
        ),
        ({"training__optimizer": "adaw"}, f"{OPTIMIZER}: no optimizer is named 'adaw'; did you mean 'adamw'?"),
        ({"training__schedule": "exponential"}, "training.schedule.decay: this key is required"),
        ({"training__warmup": -1}, "training: 'warmup' must be >= 0: -1"),
        ({"training__trackers": [3]}, "training.trackers[0]: expected a component, "),
        ({"plugins": "views.py"}, "plugins: expected a list of strings, [\"…\", …], got the string 'views.py'"),
        ({"stage": {"view": "pyramid"}}, "stage: expected a list of tables; write [[stage]] with double brackets"),
        ({"data__resize": "x"}, "data: resize must be one of none, cover, stretch, got 'x'"),
        ({"image__channels": 2}, "image.channels: expected 1 (gray) or 3 (RGB) for images from files, got 2"),
        ({"image__levels": 257}, "image.levels: expected 2 to 256 for images from files, got 257"),
        ({"training__steps": None}, "training: exactly one of steps, epochs and minutes must be given, got none"),
        ({"training__epochs": 2}, "training: exactly one of steps, epochs and minutes must be given, got steps and"),
        ({"training__factor__priör": {}}, "training.factor.priör: no factor is named 'priör'; did you mean 'prior'?"),
        ({"training__factor__prior": 3}, "training.factor.prior: expected a table"),
        ({"training__factor__prior__step": 3}, "training.factor.prior: unknown key 'step'; did you mean 'steps'?"),
        ({"training__factor__prior__steps": "3"}, "training.factor.prior.steps: expected an integer, got the string"),
        ({"training__factor__prior__precision": "bf16"}, "training.factor.prior.precision: this key cannot differ "),
        ({"training__factor": 3}, "training.factor: expected a table for each factor, [training.factor.NAME]"),
        (
            {"training__factor__prior__patience": 3, "data__split__validation": 0.1},
            "training.factor.prior.patience: it needs evaluations during training; set "
            "training.factor.prior.evaluate_every",
        ),
        (
            {"training__evaluate_every": 5},
            "training.evaluate_every: the recipe has no validation images; set data.split.validation, for example to "
            "0.05, or data.validation to the name of a split",
        ),
        (
            {"data__validation": "val", "data__split__validation": 0.1},
            "data.validation: 'val' is given together with data.split.validation = 0.1; remove one of them",
        ),
        ({"data__split__validation": 1}, "data.split: validation must be less than 1, got 1.0"),
    ],
)
def test_wrong_values(changes, message):
    assert refusal(**changes).startswith(message)


@pytest.mark.parametrize("repeat", [1, 2, 3])
def test_a_view_that_does_not_fit_names_its_stage(repeat):
    view = "stage[0].view={ name = 'bitplanes', drop = 3 }"
    recipe = parse_recipe(TINY, Path("."), [f"stage[0].repeat={repeat}", view])
    if repeat <= 2:
        assert build_model(recipe, on="meta").specs[-1].levels == 256 // 8**repeat
    else:
        with pytest.raises(UserError, match=r"stage\[2\]\.view \('bitplanes'\): drop must be at most 1 "):
            build_model(recipe, on="meta")


def test_a_file_that_is_no_text(tmp_path):
    (tmp_path / "picture.toml").write_bytes(b"\x89PNG\xff")
    with pytest.raises(UserError, match=r"picture\.toml: expected a recipe in UTF-8"):
        load_recipe(tmp_path / "picture.toml")


@pytest.mark.parametrize("text", ["a = ", "a = " + "[" * 5000, "[a]\n[a]"])
def test_text_that_is_not_toml(text):
    with pytest.raises(UserError, match="not valid TOML"):
        parse_recipe(text, Path("."))


# Stages and lengths


def test_repeated_stages_are_stages_of_their_own():
    table = tomllib.loads(TINY)
    table["stage"] = [{**table["stage"][0], "repeat": 2}, {**table["stage"][0], "view": {"name": "grayscale"}}]
    recipe = parse(table)
    assert recipe.factor_names == ("stage0", "stage1", "stage2", "prior")
    assert [stage.view.name for stage in recipe.stage] == ["pyramid", "pyramid", "grayscale"]
    assert {stage.repeat for stage in recipe.stage} == {1}
    assert parse_recipe(recipe_text(recipe), Path(".")) == recipe
    assert "repeat" in refusal(stage__0__repeat=10**9)


@given(st.integers(0, 10**6), st.integers(1, 500))
def test_steps_are_steps_and_epochs_follow_from_the_images(count, batch_size):
    assert TrainingConfig(steps=count).total_steps(7) == count
    steps = TrainingConfig(epochs=2, batch_size=batch_size).total_steps(count)
    assert (steps - 1) * batch_size < 2 * count <= steps * batch_size


def test_evaluations_may_be_those_of_one_factor():
    own = {"prior": {"evaluate_every": 2, "patience": 3, "keep_best": True}}
    for data in ({"data__validation": "val"}, {"data__split__validation": 0.1}):
        assert tiny(training__factor=own, **data).training_of("prior").patience == 3


def test_a_factors_own_training():
    own = {"prior": {"epochs": 2.5, "clip": 1}, "stage0": {"batch_size": 8}}
    recipe = tiny(training__factor=own, training__clip=3.0)
    prior, stage = recipe.training_of("prior"), recipe.training_of("stage0")
    assert (prior.steps, prior.epochs, prior.clip, prior.batch_size) == (None, 2.5, 1.0, 4)
    assert (stage.steps, stage.epochs, stage.clip, stage.batch_size) == (4, None, 3.0, 8)
    assert parse_recipe(recipe_text(recipe), Path(".")) == recipe


def test_a_factor_changes_options_or_has_its_own_component():
    base = {"training__optimizer": "adamw:weight_decay=0.1,learning_rate=0.5", "training__schedule": "cosine"}
    own = {"prior": {"optimizer": {"learning_rate": 0.2}}, "stage0": {"optimizer": "adam", "schedule": "constant"}}
    recipe = tiny(**base, training__factor=own)
    prior, stage = recipe.training_of("prior"), recipe.training_of("stage0")
    assert (prior.optimizer.name, prior.schedule.name) == ("adamw", "cosine")
    assert attrs.asdict(prior.optimizer.config) == {"learning_rate": 0.2, "betas": (0.9, 0.999), "weight_decay": 0.1}
    assert (stage.optimizer.config.learning_rate, stage.schedule.name) == (0.001, "constant")
    assert parse_recipe(recipe_text(recipe), Path(".")) == recipe


# --set


def test_settings_reach_any_key():
    recipe = tiny(
        "stage[0].decoder.filters=8",
        "training.factor.prior.steps = 7",
        "data.path=/some where/it's = here",
        "sampling.rule=map",
        "sampling.sampler=raster",
        "data.crop={ left = 1 }",
    )
    assert recipe.stage[0].decoder.options["filters"] == 8
    assert (recipe.training_of("prior").steps, recipe.training_of("stage0").steps) == (7, 4)
    assert recipe.data.path == "/some where/it's = here"
    assert (recipe.sampling.rule.name, recipe.sampling.sampler.name, recipe.data.crop.left) == ("map", "raster", 1)


def test_a_component_that_is_set_replaces_options_of_factors_but_not_their_components():
    own = {"prior": {"schedule": {"decay": 0.9}, "warmup": 2}, "stage0": {"schedule": "exponential:decay=0.8"}}
    table = {"training__schedule": "exponential:decay=0.7", "training__factor": own}

    def found(*settings: str) -> list[Any]:
        return [tiny(*settings, **table).training_of(name).schedule.config for name in ("stage0", "prior")]

    assert found() == [Exponential(0.8), Exponential(0.9)]
    assert found("training.schedule=cosine") == [Exponential(0.8), Cosine()]
    assert found("training.schedule.decay=0.6") == [Exponential(0.8), Exponential(0.9)]
    assert found("training.factor.prior.schedule=cosine") == [Exponential(0.8), Cosine()]
    assert found("training.factor.stage0.schedule.decay=0.5") == [Exponential(0.5), Exponential(0.9)]


def test_a_setting_that_another_one_would_drop_is_refused():
    own = "training.factor.prior.schedule.decay=0.9"
    whole = "training.schedule=exponential:decay=0.7"
    for later in (whole, "training.schedule={ name = 'cosine' }", "training.factor.prior.schedule=cosine"):
        with pytest.raises(UserError, match=f"^--set {re.escape(later)}: it replaces {re.escape(own)}, which is given"):
            tiny(own, later)
    assert tiny(whole, own).training_of("prior").schedule.config == Exponential(0.9)
    assert tiny("training.factor.prior.schedule=cosine", whole).training_of("prior").schedule.config == Cosine()


@pytest.mark.parametrize("given", ["steps", "epochs"])
def test_a_length_set_by_hand_is_that_of_all_factors(given):
    table = tomllib.loads(TINY)
    table["training"]["factor"] = {"prior": {"epochs": 9}, "stage0": {"steps": 8, "clip": 1.0}}
    recipe = parse(table, f"training.{given}=2")
    for factor in recipe.factor_names:
        assert getattr(recipe.training_of(factor), given) == 2
        assert recipe.training_of(factor).total_steps(8) == (2 if given == "steps" else 4)
    assert recipe.training_of("stage0").clip == 1.0


def test_a_factors_length_set_by_hand_may_change_its_unit():
    recipe = tiny("training.factor.prior.steps=3", training__factor={"prior": {"epochs": 9}})
    assert (recipe.training_of("prior").steps, recipe.training_of("prior").epochs) == (3, None)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("\x1b[2J", r"--set \x1b[2J: expected key=value, such as training.steps=100"),
        ("data.path=\udc80", r"--set data.path=\udc80: expected UTF-8 text"),
        *((setting, "expected key=value") for setting in ("=3", "image..height=5", "stage[0.support=free")),
        ("stage[1].repeat=2", "stage.1 does not exist; stage is a list of length 1, numbered from 0"),
        ("stage[\n].repeat=2", r"stage.\n does not exist; stage is a list of length 1, numbered from 0"),
        ("steps=3", "--set steps=3: this key is in a table; did you mean training.steps?"),
        ("seed=3", "--set seed=3: this key is in a table; did you mean training.seed or sampling.seed?"),
        ("stage.first=2", "stage.first does not exist"),
        ("training.steps.deep=2", "training.steps is not a table, so it has no key 'deep'"),
        ("training.steps=" + "9" * 5000, "training.steps: expected an integer, got the string"),
    ],
)
def test_settings_that_cannot_be_applied(setting, message):
    assert message in refusal(setting)


@settings(deadline=None, max_examples=150)
@given(
    st.text(max_size=30)
    | st.builds(lambda key, value: f"{key}={value}", st.sampled_from(KEYS) | st.text(max_size=9), st.text(max_size=9))
)
def test_any_setting_is_applied_or_a_users_mistake(setting):
    assert outcome(TINY, setting) != "an error without a message"
