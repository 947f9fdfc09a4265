"""Settings that replace other settings: in [training.factor.NAME], by `--set` and by options of commands."""

import os
from collections.abc import Mapping, Sequence
from typing import Any, get_type_hints

import attrs

from auxar.errors import UserError, is_unicode, naming, one_line, shown
from auxar.plugins import load_plugins
from auxar.recipe.component_choice import ComponentChoice, default_of
from auxar.recipe.data_config import Crop
from auxar.recipe.options import key_parts, keys_in_tables
from auxar.recipe.schema import LENGTHS, Recipe
from auxar.recipe.structuring import component_table, toml_value
from auxar.structuring import table_if_given

SPLITS = ("train", "heldout", "validation")
"""The keys of [data] that name a split of a data set."""
COMPONENTS = ("optimizer", "schedule")
"""The keys of [training] that choose a component for all factors, whose options a factor may set for itself."""
LONGEST_KEY = 100
"""Maximum number of characters of a key in an error message."""


def apply_setting(table: dict[str, Any], setting: str) -> None:
    """Sets one key of the recipe's table from a `key=value` setting.

    Brackets select an entry of a list, as in `stage[0].decoder.filters=32`. Raises `UserError` if there is no such
    table or entry.
    """
    key, equals, text = setting.partition("=")
    parts = key_parts(key)
    with naming(f"--set {one_line(setting, 2 * LONGEST_KEY)}"):
        if not equals or not parts:
            raise UserError("expected key=value, such as training.steps=100")
        if len(parts) == 1 and parts[0] not in attrs.fields_dict(Recipe) and (near := keys_in_tables(parts[0])):
            raise UserError(f"this key is in a table; did you mean {' or '.join(near)}?")
        if not is_unicode(text):
            raise UserError("expected UTF-8 text")
        _set(table, parts, toml_value(text.strip()))


def _set(node: Any, parts: Sequence[str], value: Any) -> None:
    for depth in range(len(parts) - 1):
        index = _index(node, parts[: depth + 1])
        if isinstance(node, dict):
            own = node.get(index, {})
            node[index] = component_table(own) if isinstance(own, str) else own
        node = node[index]
    index = _index(node, parts)
    own = node.get(index) if isinstance(node, dict) else node[index]
    node[index] = _combined(own, value)
    # `node` is the table with the new setting: [training] or [training.factor.NAME].
    if parts[:-1] in (["training"], ["training", "factor", *parts[2:3]]) and isinstance(node, dict):
        remove_replaced(node, parts[-1])


def _index(node: Any, parts: Sequence[str]) -> Any:
    """The key or the number of the entry of `node` that the last of the parts names. `node` is at the others."""
    names = [one_line(part, LONGEST_KEY) for part in parts]
    where, above = ".".join(names), ".".join(names[:-1])
    if isinstance(node, list):
        if parts[-1] not in map(str, range(len(node))):
            raise UserError(f"{where} does not exist; {above} is a list of length {len(node)}, numbered from 0")
        return int(parts[-1])
    if not isinstance(node, dict):
        raise UserError(f"{above} is not a table, so it has no key '{names[-1]}'")
    return parts[-1]


def _combined(own: Any, value: Any) -> Any:
    """The new value of a key: a table with options but without a name changes options of the chosen component."""
    own = component_table(own) if isinstance(own, str) else own
    return {**own, **value} if _has_only_options(value) and isinstance(own, Mapping) and "name" in own else value


def remove_replaced(training: dict[str, Any], key: str) -> None:
    """Removes the settings that a new setting of `key` in `training` replaces.

    `training` is the table [training] or [training.factor.NAME]. A length replaces lengths with other keys. In
    [training], it also replaces the lengths of single factors, and a component, such as a schedule, replaces
    the options that single factors set without naming a component.
    """
    factors = training.get("factor")
    for override in factors.values() if isinstance(factors, dict) else ():
        if isinstance(override, dict):
            is_replaced = key in COMPONENTS and _has_only_options(override.get(key))
            obsolete = LENGTHS if key in LENGTHS else [key] if is_replaced else ()
            for other in () if _has_only_options(training[key]) else obsolete:
                override.pop(other, None)
    for other in set(LENGTHS) - {key} if key in LENGTHS else ():
        training.pop(other, None)


def is_set(table: Any, setting: str) -> bool:
    """Whether the recipe's table has the key of a `key=value` setting, which a later setting may have removed."""
    for part in key_parts(setting.partition("=")[0]):
        if isinstance(table, list):
            table = dict(zip(map(str, range(len(table))), table, strict=True))
        if not isinstance(table, dict) or part not in table:
            return False
        table = table[part]
    return True


def _has_only_options(value: Any) -> bool:
    """Whether a value is a table with options of a component, but without its name."""
    return isinstance(value, Mapping) and "name" not in value


def merged_training(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a factor: the table [training] with the keys of [training.factor.NAME] in place of its own.

    If a factor sets its length, for example `steps`, no length of [training] applies to it. A table with options but
    without a name changes options of the component that [training] names.
    """
    obsolete = LENGTHS if override.keys() & set(LENGTHS) else ()
    table = {key: value for key, value in base.items() if key not in obsolete}
    return table | {key: _combined(table.get(key), value) for key, value in override.items()}


def with_names(table: Mapping[str, Any], cls: type, path: str = "") -> dict[str, Any]:
    """The table of an attrs class, with the default component's name added to each table that has only options.

    Errors name keys that begin with `path`.
    """
    found = dict(table)
    hints = get_type_hints(cls)
    for field in attrs.fields(cls):
        value, hint = found.get(field.name), table_if_given(hints[field.name])
        if hint is Crop and field.name in found:
            found[field.name] = value = _crop_table(value, f"{path}{field.name}")
        if not isinstance(value, Mapping):
            continue
        if hint is ComponentChoice:
            default = default_of(field)
            if "name" not in value and isinstance(default, ComponentChoice):
                found[field.name] = {"name": default.name, **value}
        elif attrs.has(hint):
            found[field.name] = with_names(value, hint, f"{path}{field.name}.")
    return found


def _crop_table(value: Any, path: str) -> Any:
    """The table of `data.crop`, for which the text `random` may stand, or be its name after a setting has added a key.

    Raises `UserError` for another text.
    """
    if isinstance(value, str):
        if value != "random":
            raise UserError(f'{path}: expected a table or "random", got the string {shown(value)}')
        return {"random": True}
    if isinstance(value, Mapping) and value.get("name") == "random":
        return {"random": True, **{key: entry for key, entry in value.items() if key != "name"}}
    return value


def remove_other_options(table: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Removes the options and splits of a registered data set if its new `data.path` is another data set.

    The name of a configuration is removed if the new path is a file or a folder. `table` is the recipe, or a table in
    it, and `changes` has the new paths. A data set is a registered one if it has `data.options`, or if its `data.path`
    is the name of a data set of an installed plugin.
    """
    for key, change in changes.items():
        if key != "data" and isinstance(table.get(key), dict):
            remove_other_options(table[key], change)
    data = table.get("data")
    if "data" not in changes or not isinstance(data, dict) or changes["data"].get("path") == data.get("path"):
        return
    keys = ["config"] if os.path.exists(str(changes["data"].get("path"))) else []
    if "options" in data or data.get("path") in load_plugins().names("dataset"):
        keys += ["options", *SPLITS]
    for key in keys:
        data.pop(key, None)
