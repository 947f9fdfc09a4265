"""From the text of a recipe to a validated `Recipe`, and back to TOML."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import tomli_w

from auxar.errors import UserError, did_you_mean, is_unicode, one_line, shown
from auxar.files import read_bytes
from auxar.plugins import Kind, Registry, load_plugins, plugin_files
from auxar.recipe.choices import structure_options
from auxar.recipe.schema import MOST_STAGES, ComponentChoice, Recipe, Stage, TrainingConfig
from auxar.recipe.structuring import structure, unstructure
from auxar.recipe.toml import parse_toml

# Settings of the process that trains, not of one factor's training.
COMMON_KEYS = ("precision", "trackers", "parallel")
LENGTHS = frozenset({"steps", "epochs"})
LONGEST_KEY = 100
MOST_PARTS = 20
"""Maximum parts of a setting's key."""
MOST_BYTES = 2**20
"""Bytes of a recipe's text."""


def load_recipe(
    path: str | Path,
    settings: Sequence[str] = (),
    *,
    sampling: Mapping[str, Any] | None = None,
    trust_plugins: bool = False,
    of_a_run: bool = False,
) -> tuple[Recipe, Registry]:
    """The recipe in a file, with `key=value` settings applied, and the registry of all its plugins.

    Values of `sampling` take the place of keys of [sampling], settings included; all are then checked together. Every
    component's options are filled in with their defaults. Raises `UserError` with the key of whatever is wrong, and
    for a run's recipe with plugin files, which are code, unless they are trusted. A recipe is a run's if `of_a_run`
    says so, and if it looks like one.
    """
    path = Path(path)
    with _naming(path):
        recipe = _parse(_text(path), settings, sampling)
        registry = load_plugins(plugin_files(recipe.plugins, path, trusted=trust_plugins, of_a_run=of_a_run))
        return fill_in(recipe, registry), registry


def read_recipe(path: Path) -> Recipe:
    """The recipe in a file as it is written there: no plugin is loaded, and options are not filled in."""
    with _naming(path):
        return _parse(_text(path), ())


def parse_recipe(text: str, folder: Path, settings: Sequence[str] = ()) -> tuple[Recipe, Registry]:
    """`load_recipe` for text; plugin files are looked for relative to `folder`."""
    recipe = _parse(text, settings)
    registry = load_plugins(folder / file for file in recipe.plugins)
    return fill_in(recipe, registry), registry


@contextlib.contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except _Unreadable:
        raise
    except UserError as error:
        raise UserError("\n".join(f"{path}: {one_line(line)}" for line in str(error).split("\n"))) from None


class _Unreadable(UserError):
    """The file itself cannot be read, and its error names it."""


def _text(path: Path) -> str:
    # Unlike `Path.exists` these take a name that the file system refuses for one that is not there.
    if not os.path.exists(path):
        beside = path.parent.glob("*.toml") if os.path.isdir(path.parent) else ()
        near = did_you_mean(path.name, (file.name for file in beside))
        raise _Unreadable(f"recipe {path} cannot be read: No such file or directory{near}")
    try:
        return read_bytes(path, MOST_BYTES).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError("not a recipe: expected UTF-8 text") from None
    except UserError as error:
        raise _Unreadable(f"recipe {error}") from None


def _parse(text: str, settings: Sequence[str], sampling: Mapping[str, Any] | None = None) -> Recipe:
    try:
        table = parse_toml(text)
    except ValueError as error:
        raise UserError(f"not valid TOML: {one_line(str(error))}") from None
    if isinstance(settings, str):
        # Python would take a text for a list of its letters.
        raise UserError(f"expected a list of settings, each key=value, got the text {shown(settings)}")
    for setting in settings:
        _apply(table, setting)
    own = table.get("sampling", {})
    # Anything but a table is an error that is reported with all others.
    if sampling and isinstance(own, Mapping):
        table["sampling"] = {**own, **sampling}
    return _structure_recipe(table)


def recipe_table(recipe: Recipe) -> dict[str, Any]:
    """The recipe as the table its TOML would give."""
    table = unstructure(recipe)
    overrides = table.pop("factor_training")
    if overrides:
        table["training"]["factor"] = {
            name: {key: value for key, value in override.items() if table["training"].get(key) != value}
            for name, override in overrides.items()
        }
    return {key: value for key, value in table.items() if value != []}


def recipe_text(recipe: Recipe) -> str:
    """The recipe as TOML that `parse_recipe` reads back to the same recipe."""
    return tomli_w.dumps(recipe_table(recipe))


def _structure_recipe(table: Mapping[str, Any]) -> Recipe:
    table = dict(table)
    training = table.get("training")
    overrides: Any = {}
    if isinstance(training, Mapping):
        training = dict(training)
        overrides = training.pop("factor", {})
        table["training"] = training
    if "factor_training" in table:
        raise UserError("factor_training: unknown key; write [training.factor.NAME]")
    if isinstance(table.get("stage"), Mapping):
        raise UserError("stage: write [[stage]] with two pairs of brackets: a recipe may have several")
    if isinstance(table.get("stage"), list):
        _check_stages(table["stage"])
    recipe = structure(table, Recipe)
    recipe = attrs.evolve(recipe, stage=_expand(recipe.stage))
    return attrs.evolve(recipe, factor_training=_factor_training(recipe, training or {}, overrides))


def _check_stages(stages: Sequence[Any]) -> None:
    """Raises `UserError` for too many stages, even if each of them is valid."""
    repeats = [stage.get("repeat", 1) if isinstance(stage, Mapping) else 1 for stage in stages]
    # An invalid `repeat` is reported later, under its own key.
    total = sum(repeat if type(repeat) is int and 0 < repeat <= MOST_STAGES else 1 for repeat in repeats)
    if total > MOST_STAGES:
        raise UserError(f"stage: expected at most {MOST_STAGES} stages, repeated ones counted each time, got {total}")


def _expand(stages: Sequence[Stage]) -> tuple[Stage, ...]:
    return tuple(attrs.evolve(stage, repeat=1) for stage in stages for _ in range(stage.repeat))


def _factor_training(recipe: Recipe, base: Mapping[str, Any], overrides: Any) -> dict[str, TrainingConfig]:
    if not isinstance(overrides, Mapping):
        raise UserError("training.factor: expected tables, [training.factor.NAME]")
    merged = {}
    for name, override in overrides.items():
        path = f"training.factor.{one_line(name, LONGEST_KEY)}"
        if name not in recipe.factor_names:
            name = one_line(name, LONGEST_KEY)
            raise UserError(f"{path}: no factor is named '{name}'{did_you_mean(name, recipe.factor_names)}")
        if not isinstance(override, Mapping):
            raise UserError(f"{path}: expected a table")
        # A factor's own length replaces the common one, in whichever unit either is given.
        length = LENGTHS if override.keys() & LENGTHS else frozenset()
        table = {key: value for key, value in base.items() if key not in length}
        merged[name] = structure({**table, **override}, TrainingConfig, path)
        for key in COMMON_KEYS:
            if getattr(merged[name], key) != getattr(recipe.training, key):
                raise UserError(f"{path}.{key}: all factors of a run share it; set training.{key}")
    return merged


def fill_in(recipe: Recipe, registry: Registry) -> Recipe:
    """The recipe with every option of every component. Raises `UserError` for unknown components and options."""

    def resolve(kind: Kind, choice: ComponentChoice, path: str) -> ComponentChoice:
        component = registry.get(kind, choice.name, path)
        config: Any = structure_options(choice.options, component.config, path, registry)
        return ComponentChoice(choice.name, unstructure(config))

    def resolve_stage(index: int, stage: Stage) -> Stage:
        path = f"stage[{index}]"
        return attrs.evolve(
            stage,
            view=resolve("view", stage.view, f"{path}.view"),
            embedding=resolve("embedding", stage.embedding, f"{path}.embedding"),
            decoder=resolve("decoder", stage.decoder, f"{path}.decoder"),
        )

    sampler = resolve("sampler", recipe.sampling.sampler, "sampling.sampler")
    return attrs.evolve(
        recipe,
        stage=tuple(resolve_stage(index, stage) for index, stage in enumerate(recipe.stage)),
        prior=resolve("prior", recipe.prior, "prior"),
        sampling=attrs.evolve(recipe.sampling, sampler=sampler),
    )


def _apply(table: dict[str, Any], setting: str) -> None:
    """Sets one key of the table from `key=value`; `stage[0].decoder.filters=32` reaches into a list."""
    key, equals, text = setting.partition("=")
    parts = [part for part in re.split(r"[.\[\]]+", key.strip()) if part]
    setting = one_line(setting, 2 * LONGEST_KEY)
    if not equals or not parts or len(parts) > MOST_PARTS:
        raise UserError(f"--set {setting}: expected key=value, such as training.steps=100")
    if not is_unicode(text):
        raise UserError(f"--set {setting}: expected UTF-8 text")
    value = _value(text.strip())
    node: Any = table
    names = [one_line(part, LONGEST_KEY) for part in parts]
    for depth, part in enumerate(parts):
        where, above = ".".join(names[: depth + 1]), ".".join(names[:depth])
        last = depth == len(parts) - 1
        if isinstance(node, list):
            entries = {str(entry): entry for entry in range(len(node))}
            if part not in entries:
                raise UserError(f"--set {setting}: {where} does not exist; there are entries 0 … {len(node) - 1}")
            index: Any = entries[part]
        elif isinstance(node, dict):
            if part.isdigit() and part not in node:
                raise UserError(f"--set {setting}: {where} does not exist; {above} has no entries")
            index = part
            if not last:
                node.setdefault(index, {})
        else:
            raise UserError(f"--set {setting}: {above} is a value, not a table")
        if last:
            node[index] = value
        else:
            node = node[index]
    if parts[-1] in LENGTHS and parts[0] == "training":
        # The last table reached holds the length: of all factors, or of one.
        _replace_length(node, parts[-1])


def _replace_length(training: dict[str, Any], keep: str) -> None:
    """Removes lengths that a setting replaces: in the other unit, and of single factors if it is for all of them."""
    for key in LENGTHS - {keep}:
        training.pop(key, None)
    factors = training.get("factor")
    for override in factors.values() if isinstance(factors, dict) else ():
        if isinstance(override, dict):
            for key in LENGTHS:
                override.pop(key, None)


def _value(text: str) -> Any:
    # Anything that is not a TOML value is taken as text, so that paths need no quotes.
    try:
        table = parse_toml(f"value = {text}")
    except ValueError:
        return text
    return table["value"] if len(table) == 1 else text
