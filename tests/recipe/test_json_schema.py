"""Tests that the JSON Schema of recipes agrees with the code that reads recipes, and that editors' tools accept it."""

from __future__ import annotations

import copy
import functools
import json
import operator
import shutil
import subprocess
import sysconfig
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import attrs
import fastjsonschema
import pytest
import tomli_w
from attrs import validators
from helpers.tiny_runs import PROJECT, VIEW, changed, process_environment

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.plugins import Component, Registry, load_plugins
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.data_config import Crop, DataConfig, Split
from auxar.recipe.json_schema import recipe_schema, schema_text
from auxar.recipe.loading import COMMON_KEYS, _parse, fill_in
from auxar.recipe.schema import EvaluationConfig, SamplingConfig, Stage, TrainingConfig
from auxar.recipe.shipped import with_schema

RECIPES = PROJECT / "recipes"
SHIPPED = sorted(RECIPES.rglob("*.toml"))
SCHEMA = RECIPES / "auxar.schema.json"
REGISTRY = load_plugins()
BASE = """
plugins = []
data = { path = "emoji", split = { validation = 0.1 } }
image = { height = 8, width = 8 }
prior = { name = "pixelcnn", head = { name = "logistic_mixture" } }
evaluation = {}
sampling = { sampler = { name = "cached" } }

[training]
steps = 4
evaluate_every = 2
optimizer = "adamw"
data.path = "emoji"
factor.stage0.data.path = "emoji"

[[stage]]
view = { name = "pyramid" }
embedding = { name = "resnet" }
decoder = { name = "transformer" }
"""
TABLES: dict[str, type] = {
    "data": DataConfig,
    "data.split": Split,
    "data.crop": Crop,
    "image": auxar.ImageSpec,
    "stage[]": Stage,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "sampling": SamplingConfig,
    "condition": ConditionConfig,
}
DEPENDENT = {f"condition.{field.name}" for field in attrs.fields(ConditionConfig)}
DEPENDENT |= {f"{path}data.{key}" for path in ("", "training.") for key in ("shards", "split.validation", "validation")}
DEPENDENT |= {"training.data.depth", "stage.0.decoder.width", "stage.0.decoder.heads"}
"""Keys whose valid values depend on other keys, which the schema does not check."""


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    return recipe_schema(REGISTRY)


@pytest.fixture(scope="module")
def accepts(schema) -> Callable[[dict[str, Any]], bool]:
    return acceptance(schema)


def acceptance(schema: dict[str, Any]) -> Callable[[dict[str, Any]], bool]:
    """Returns a function that tells whether a recipe's table is valid under a schema."""
    validate = fastjsonschema.compile(schema, use_default=False)

    def accepts(table: dict[str, Any]) -> bool:
        try:
            validate(table)
        except fastjsonschema.JsonSchemaValueException:
            return False
        return True

    return accepts


def base(**changes: Any) -> dict[str, Any]:
    table = tomllib.loads(BASE)
    del table["plugins"]
    return changed(table, **changes)


def is_read(table: dict[str, Any]) -> bool:
    try:
        fill_in(_parse(tomli_w.dumps(table), ()), REGISTRY)
    except UserError:
        return False
    return True


# Content


def properties(schema: dict[str, Any], path: str) -> dict[str, Any]:
    for part in path.split("."):
        schema = schema["properties"][part.removesuffix("[]")]
        schema = schema["items"] if part.endswith("[]") else schema.get("anyOf", [schema])[-1]
    assert schema["additionalProperties"] is False
    found: dict[str, Any] = schema["properties"]
    return found


def definition_of(schema: dict[str, Any], kind: str, name: str) -> dict[str, Any]:
    [found] = (
        definition
        for key, definition in schema["definitions"].items()
        if key.startswith(f"{kind}-") and definition.get("title") == name
    )
    return found


def test_every_key_has_a_description_and_its_default():
    schema = recipe_schema(REGISTRY)
    for path, cls in TABLES.items():
        found = properties(schema, path)
        factors = {"factor"} if path == "training" else set()
        assert set(found) == {field.name for field in attrs.fields(cls)} | factors
        assert all(entry["description"] for entry in found.values())
    assert set(schema["properties"]) == {
        *(path.split(".")[0].removesuffix("[]") for path in TABLES),
        "prior",
        "plugins",
        "arithmetic",
    }
    entries = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
    betas = {"type": "array", "items": entries, "minItems": 2, "maxItems": 2, "default": [0.9, 0.999]}
    assert definition_of(schema, "optimizer", "adam")["properties"]["betas"].items() > betas.items()
    own = {field.name for field in attrs.fields(TrainingConfig)} - set(COMMON_KEYS)
    assert set(schema["definitions"]["factor"]["properties"]) == own


def test_every_option_of_every_component_has_a_description(schema):
    for (kind, name), component in REGISTRY.components.items():
        if kind in ("dataset", "model"):
            continue
        definition = definition_of(schema, kind, name)
        options = dict(definition["properties"])
        assert options.pop("name") == {"const": name}
        assert definition["description"]
        assert "name" in definition["required"]
        assert set(options) == {field.name for field in attrs.fields(component.config)}
        assert all(entry["description"] for entry in options.values())
    options = definition_of(schema, "network", "pixelcnn++")["properties"]
    assert options["head"]["default"] == {"name": "logistic_mixture", "components": 10, "centered": True}
    assert options["kernel"]["enum"] == [2, 3]


# Agreement with the code


@pytest.mark.parametrize(
    "changes",
    [
        {"training__step": 3},
        {"training__steps": None},
        {"training__factor__stage0__epochs": 2, "training__factor__stage0__steps": 2},
        {"training__factor__stage_0": {}},
        {"training__factor__prior": {"precision": "bf16"}},
        {"training__optimizer": {"name": "adam", "weight_decay": 0.1}},
        {"factor_training": {}},
        {"stage": {}},
        {"stage__0__view__name": "pyramidd"},
        {"stage__0__decoder__head": {"name": "softmax", "components": 3}},
        {"prior": "resnet"},
        {"sampling__sampler__engine": {"name": "auto", "speed": 3}},
        {"condition": {"kind": "label", "colum": "y", "classes": 2}},
        {"condition": {"kind": "label", "column": "y", "classes": 2, "embedding": "pixcnn"}},
    ],
    ids=str,
)
def test_wrong_recipes_are_refused(accepts, changes):
    table = base(**changes)
    assert not accepts(table)
    assert not is_read(table)


def scalars() -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields the path and the schema of every key and option of the base recipe that is a scalar or a list of them."""

    def walk(table: dict[str, Any], path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        for key, value in table.get("properties", {}).items():
            while value.get("$ref", "").startswith("#/properties/"):
                value = functools.reduce(operator.getitem, value["$ref"].split("/")[1:], whole)
            if value.keys() & {"enum", "type"} and value.get("type") not in ("object",) and key != "stage":
                yield f"{path}{key}", value
            yield from walk(value, f"{path}{key}.")

    whole: Any = recipe_schema(REGISTRY)
    options = whole["definitions"]
    yield from walk(whole, "")
    yield from walk(whole["properties"]["stage"]["items"], "stage.0.")
    yield from walk(options["factor"], "training.factor.stage0.")
    for path, definition in {
        "stage.0.view.": "view-pyramid",
        "stage.0.embedding.": "embedding-resnet",
        "stage.0.decoder.": "network-transformer",
        "prior.": "network-pixelcnn",
        "prior.head.": "head-logistic_mixture",
    }.items():
        yield from walk(options[definition], path)


SCALARS = dict(scalars())


def agree(accepts: Callable[[dict[str, Any]], bool], key: str, value: Any) -> bool:
    """Whether the schema accepts a value of a key if and only if auxar does."""
    table = base(**{key.replace(".", "__"): value})
    if is_read(table):
        return accepts(table)
    # JSON Schema regards 3.0 as an integer.
    is_integral = isinstance(value, float) and value.is_integer()
    return key.replace(".factor.stage0", "") in DEPENDENT or is_integral or not accepts(table)


def test_the_schema_and_recipes_accept_the_same_values(accepts):
    assert len(SCALARS) > 100
    for key, schema in SCALARS.items():
        values = [*schema.get("enum", ()), "other", "", True, -1, 0.5, 300, [], [0.5], ["a"]]
        for bound in {"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"} & schema.keys():
            values += [schema[bound] - 1, schema[bound], schema[bound] + 1]
        assert [value for value in values if not agree(accepts, key, value)] == [], key
        if "default" in schema and key not in DEPENDENT:
            table = base(**{key.replace(".", "__"): schema["default"]})
            assert accepts(table), key
            assert is_read(table), key


# Plugins


def test_own_plugin_files(accepts, tmp_path, capsys):
    table = base(stage__0__view={"name": "thin", "every": 2})
    assert not accepts(table)
    # The components of a recipe's own plugin files are not known, but those that are known are still checked.
    table["plugins"] = ["thin.py"]
    assert accepts(table)
    assert not accepts(changed(copy.deepcopy(table), prior__filters=0))
    (tmp_path / "thin.py").write_text(VIEW)
    assert main(["plugins", str(tmp_path / "thin.py"), "--schema"]) == 0
    own = json.loads(capsys.readouterr().out)
    assert own["definitions"]["view-thin"]["properties"] == {
        "name": {"const": "thin"},
        "every": {"type": "integer"},
        "share": {"type": "number"},
        "names": {"type": "array", "items": {"type": "string"}, "default": ["a", "b"]},
    }
    accepts_thin = acceptance(own)
    assert accepts_thin(table)
    assert not accepts_thin(changed(copy.deepcopy(table), stage__0__view={"name": "thin", "even": 2}))
    # The view has a required option, so its name alone is not enough.
    assert not accepts_thin(changed(copy.deepcopy(table), plugins=None, stage__0__view="thin"))


class Inside:
    """A choice of a view inside of a view."""

    kind: str | None = "view"

    @classmethod
    def from_recipe(cls, value: Any, registry: Registry, path: str) -> Inside:
        return cls()

    def to_recipe(self) -> Any:
        return "odd view/1"


class Undescribed(Inside):
    """A choice that does not say which kind of component it chooses."""

    kind = None


@attrs.frozen
class OddConfig:
    inner: Inside = attrs.field(factory=Inside)
    other: Undescribed = attrs.field(factory=Undescribed)
    mode: Literal["a", "b"] = "a"
    size: int | None = attrs.field(default=None, validator=validators.optional([validators.gt(1), validators.lt(9)]))
    names: list[str] = attrs.field(factory=list, validator=[validators.min_len(1), validators.max_len(2)])
    count: int = attrs.field(
        default=attrs.Factory(lambda self: 3, takes_self=True), validator=validators.instance_of(int)
    )
    other_than: int = attrs.field(default=0, validator=validators.not_(validators.ge(1)))
    anything: Any = float("inf")
    table: dict[str, float] = attrs.field(factory=dict)


def test_a_plugin_with_unusual_options():
    components: dict[tuple[str, str], Component] = {
        ("view", name): Component("view", name, OddConfig, OddConfig) for name in ("odd view/1", "odd view_1")
    }
    found = recipe_schema(Registry(components, {}))
    json.dumps(found, allow_nan=False)
    assert set(found["definitions"]) >= {"view-odd20view2F1", "view-odd20view_1"}
    options = dict(definition_of(found, "view", "odd view/1")["properties"])
    assert options.pop("inner")["default"] == "odd view/1"
    assert options == {
        "name": {"const": "odd view/1"},
        "other": {"default": "odd view/1"},
        "mode": {"enum": ["a", "b"], "default": "a"},
        "size": {"type": "integer", "exclusiveMinimum": 1, "exclusiveMaximum": 9},
        "names": {"type": "array", "items": {"type": "string"}, "minItems": 1, "maxItems": 2, "default": []},
        "count": {"type": "integer"},
        "other_than": {"type": "integer", "default": 0},
        "anything": {},
        "table": {"type": "object", "additionalProperties": {"type": "number"}, "default": {}},
    }


# Files and editors


def test_the_schema_in_the_repository_is_small_and_each_recipe_names_it(schema):
    text = SCHEMA.read_text("utf-8")
    assert text == schema_text(json.loads(text))
    assert len(text) < 130_000
    assert json.loads(schema_text(schema)) == auxar.recipe_schema()
    for path in SHIPPED:
        first = path.read_text("utf-8").splitlines()[0]
        assert (path.parent / first.removeprefix("#:schema ")).resolve() == SCHEMA


def checked(*files: Path) -> subprocess.CompletedProcess[str]:
    """Checks TOML files with taplo, a tool of editors that the tests require, without a network."""
    taplo = shutil.which("taplo", path=sysconfig.get_path("scripts")) or shutil.which("taplo")
    assert taplo is not None, "taplo is not installed; run `pip install '.[test]'`"
    environment = process_environment(NO_COLOR="1", https_proxy="http://127.0.0.1:9")
    command = [taplo, "lint", "--no-auto-config", *map(str, files)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_a_tool_of_editors_accepts_shipped_recipes_and_reports_mistakes(tmp_path):
    assert checked(*SHIPPED).returncode == 0
    folder = tmp_path / "a b"
    (folder / "deep").mkdir(parents=True)
    shutil.copy(SCHEMA, folder)
    recipe = tmp_path / "mine.toml"
    text = with_schema((RECIPES / "quickstart.toml").read_text("utf-8"), folder / "deep" / ".." / SCHEMA.name)
    recipe.write_text(text, "utf-8")
    assert checked(recipe).returncode == 0
    for right, wrong, message in (
        ("factor = 2", "factor = 1", "2"),
        ('"flip"', '"filp"', "filp"),
        ('"pyramid"', '"pyramidd"', "pyramidd"),
        ("blocks = 2", "block = 2", "block"),
    ):
        recipe.write_text(text.replace(right, wrong, 1), "utf-8")
        report = checked(recipe)
        assert report.returncode == 1
        assert message in report.stderr


@pytest.mark.parametrize("text", ["#:schema ../x.json\n# a\n", "\ufeff#:schema ../x.json\n# a\n", "# a\n"])
def test_the_line_that_names_the_schema_is_replaced_or_added(tmp_path, text):
    line = f"#:schema {(tmp_path / 'x.json').as_uri()}\n"
    assert with_schema(text, tmp_path / "x.json") == line + "# a\n"


def test_options_of_a_data_set_are_those_of_its_class(accepts):
    assert accepts(base(data__path="emoji", data__options={"groups": ["smileys"]}))
    assert not accepts(base(data__path="emoji", data__options={"groups": "smileys"}))
    assert not accepts(base(data__path="emoji", data__options={"group": ["smileys"]}))
    assert not accepts(base(data__path="letters", data__options={"groups": ["smileys"]}))
    assert accepts(base(data__path="letters"))
