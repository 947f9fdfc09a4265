"""Tests that the JSON Schema of recipes agrees with the classes that read recipes, and that editors accept it."""

import json
import shutil
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import attrs
import fastjsonschema
import pytest
import tomli_w
from helpers.tiny_runs import PROJECT, VIEW, changed, process_environment, tiny

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.plugins import Component, Registry, load_plugins
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.data_config import DataConfig, Split
from auxar.recipe.json_schema import recipe_schema, schema_text
from auxar.recipe.loading import COMMON_KEYS, _parse, fill_in
from auxar.recipe.schema import EvaluationConfig, SamplingConfig, Stage, TrainingConfig
from auxar.recipe.shipped import with_schema

RECIPES = PROJECT / "recipes"
SHIPPED = sorted(RECIPES.rglob("*.toml"))
SCHEMA = RECIPES / "auxar.schema.json"
REGISTRY = load_plugins()
TABLES: dict[str, type] = {
    "data": DataConfig,
    "data.split": Split,
    "image": auxar.ImageSpec,
    "stage[]": Stage,
    "training": TrainingConfig,
    "evaluation": EvaluationConfig,
    "sampling": SamplingConfig,
    "condition": ConditionConfig,
}


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


@pytest.fixture(scope="module")
def accepts() -> Callable[[dict[str, Any]], bool]:
    return acceptance(recipe_schema(REGISTRY))


def base(**changes: Any) -> dict[str, Any]:
    own: dict[str, Any] = {
        "sampling__sampler": {"name": "cached"},
        "training__optimizer": "adamw",
        "training__augment": ["flip"],
        "training__factor": {"stage0": {"data": {"path": "emoji"}}},
    }
    return changed(tiny(Path("emoji"), **own), **changes)


def is_read(table: dict[str, Any]) -> bool:
    try:
        fill_in(_parse(tomli_w.dumps(table), ()), REGISTRY)
    except UserError:
        return False
    return True


def properties(schema: dict[str, Any], path: str) -> dict[str, Any]:
    for part in path.split("."):
        schema = schema["properties"][part.removesuffix("[]")]
        schema = schema["items"] if part.endswith("[]") else schema
    assert schema["additionalProperties"] is False
    found: dict[str, Any] = schema["properties"]
    return found


def test_every_key_has_a_description_and_its_default():
    schema = recipe_schema(REGISTRY)
    for path, cls in TABLES.items():
        found = properties(schema, path)
        factors = {"factor"} if path == "training" else set()
        assert set(found) == {field.name for field in attrs.fields(cls)} | factors
        assert all(entry.get("description") for name, entry in found.items() if (path, name) != ("data", "crop"))
    assert set(schema["properties"]) == {*(path.split(".")[0].removesuffix("[]") for path in TABLES)} | {
        *("prior", "plugins", "arithmetic")
    }
    training = properties(schema, "training")
    assert (training["batch_size"]["type"], training["batch_size"]["default"]) == ("integer", 16)
    own = {field.name for field in attrs.fields(TrainingConfig)} - set(COMMON_KEYS)
    assert set(training["factor"]["additionalProperties"]["properties"]) == own


def test_every_option_of_every_component_has_a_description():
    definitions = recipe_schema(REGISTRY)["definitions"]
    for (kind, name), component in REGISTRY.components.items():
        if kind in ("dataset", "model", "command"):
            continue
        definition = next(
            own for key, own in definitions.items() if key.startswith(f"{kind}-") and own["title"] == name
        )
        options = dict(definition["properties"])
        assert options.pop("name") == {"const": name}
        assert definition["description"]
        assert "name" in definition["required"]
        assert set(options) == {field.name for field in attrs.fields(component.config)}
        assert all(entry["description"] for entry in options.values())


RIGHT: list[dict[str, Any]] = [
    {},
    {"training__optimizer": {"learning_rate": 0.1}},
    {"training__factor__stage0__optimizer": {"weight_decay": 0.1}},
    {"data__crop": "random", "image__height": 4},
    {"data__path": "emoji", "data__options": {"groups": ["smileys"]}},
    {"stage__0__decoder__head": "softmax"},
]
WRONG: list[dict[str, Any]] = [
    {"training__step": 3},
    {"training__steps": "many"},
    {"training__factor__prior": {"precision": "bf16"}},
    {"training__optimizer": {"name": "adam", "weight_decay": 0.1}},
    {"training__optimizer": {"learning_rat": 0.1}},
    {"factor_training": {}},
    {"stage": {}},
    {"stage__0__decoder__head": {"name": "softmax", "components": 3}},
    {"stage__0__support": "restrict"},
    {"sampling__sampler__engine": {"name": "auto", "speed": 3}},
    {"condition": {"kind": "label", "colum": "y", "classes": 2}},
]


@pytest.mark.parametrize("changes", RIGHT + WRONG, ids=str)
def test_the_schema_accepts_the_recipes_that_are_read(accepts, changes):
    table, right = base(**changes), changes in RIGHT
    assert accepts(table) is right
    assert is_read(table) is right


def test_own_plugin_files(accepts, tmp_path, capsys):
    table = base(stage__0__view={"name": "thin", "every": 2})
    assert accepts(table), "components of plugin files are not known"
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
    assert not accepts_thin(base(stage__0__view={"name": "thin", "even": 2}))


@attrs.frozen
class OddConfig:
    mode: Literal["a", "b"] = "a"
    size: int | None = None
    sides: tuple[int, float] = (1, 2.0)
    count: int = attrs.field(default=attrs.Factory(lambda self: 3, takes_self=True))
    anything: Any = float("inf")
    table: dict[str, float] = attrs.field(factory=dict)


Lost = attrs.make_class("Lost", {"lost": attrs.field(type="NoType", factory=lambda: 1 / 0)})  # type: ignore[call-overload]


def test_a_plugin_with_unusual_options():
    components: dict[tuple[str, str], Component] = {
        ("view", name): Component("view", name, OddConfig, OddConfig) for name in ("odd view/1", "odd view_1")
    }
    components["view", "lost"] = Component("view", "lost", Lost)
    definitions = recipe_schema(Registry(components, {}))["definitions"]
    json.dumps(definitions, allow_nan=False)
    assert definitions["view-lost"]["properties"] == {"name": {"const": "lost"}, "lost": {}}
    assert set(definitions) >= {"view-odd20view2F1", "view-odd20view_1"}
    assert definitions["view-odd20view2F1"]["properties"] == {
        "name": {"const": "odd view/1"},
        "mode": {"enum": ["a", "b"], "default": "a"},
        "size": {"type": "integer"},
        "sides": {"type": "array", "default": [1, 2.0]},
        "count": {"type": "integer"},
        "anything": {},
        "table": {"type": "object", "default": {}},
    }


def test_the_schema_in_the_repository_is_small_and_each_recipe_names_it():
    text = SCHEMA.read_text("utf-8")
    assert text == schema_text(json.loads(text))
    assert len(text) < 110_000
    assert json.loads(schema_text(recipe_schema(REGISTRY))) == auxar.recipe_schema()
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
    for right, wrong in (("factor = 2", "factor = []"), ("batch_size", "batchsize"), ("blocks = 2", "block = 2")):
        assert right in text
        recipe.write_text(text.replace(right, wrong, 1), "utf-8")
        assert checked(recipe).returncode == 1


@pytest.mark.parametrize("text", ["#:schema ../x.json\n# a\n", "\ufeff#:schema ../x.json\n# a\n", "# a\n"])
def test_the_line_that_names_the_schema_is_replaced_or_added(tmp_path, text):
    line = f"#:schema {(tmp_path / 'x.json').as_uri()}\n"
    assert with_schema(text, tmp_path / "x.json") == line + "# a\n"
