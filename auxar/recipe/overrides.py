"""Settings that replace other settings: in [training.factor.NAME], by `--set` and by options of commands."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

import attrs

from auxar.plugins import load_plugins
from auxar.recipe.component_choice import ComponentChoice
from auxar.recipe.structuring import component_table

LENGTHS = frozenset({"steps", "epochs"})
"""The keys that give the length of training."""
SPLITS = ("train", "heldout", "validation")
"""The keys of [data] that name a split of a data set."""


def remove_replaced(training: dict[str, Any], key: str) -> None:
    """Removes the settings that a new setting of `key` in `training` replaces.

    `training` is the table [training] or [training.factor.NAME]. `steps` replaces `epochs`, and the other way
    round. In [training], both also replace the lengths of single factors, and a component, such as a schedule, replaces
    the options that single factors set without naming a component.
    """
    factors = training.get("factor")
    for override in factors.values() if isinstance(factors, dict) else ():
        if isinstance(override, dict):
            is_replaced = key in ("optimizer", "schedule") and _has_only_options(override.get(key))
            obsolete = LENGTHS if key in LENGTHS else {key} if is_replaced else set()
            for other in () if _has_only_options(training[key]) else obsolete:
                override.pop(other, None)
    for other in LENGTHS - {key} if key in LENGTHS else ():
        training.pop(other, None)


def _has_only_options(value: Any) -> bool:
    """Whether a value is a table with options of a component, but without its name."""
    return isinstance(value, Mapping) and "name" not in value


def merged_training(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a factor: the table [training] with the keys of [training.factor.NAME] in place of its own.

    If a factor sets `steps` or `epochs`, for example, neither `steps` nor `epochs` of [training] applies to it. A table
    with options but without a name changes options of the component that [training] names.
    """
    obsolete = LENGTHS if override.keys() & LENGTHS else frozenset()
    table = {key: value for key, value in base.items() if key not in obsolete}
    for key, value in override.items():
        own = table.get(key)
        if _has_only_options(value) and isinstance(own, str | Mapping):
            value = {**(component_table(own) if isinstance(own, str) else own), **value}
        table[key] = value
    return table


def with_names(table: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """The table of an attrs class, with the default component's name added to each table that has only options."""
    found = dict(table)
    hints = get_type_hints(cls)
    for field in attrs.fields(cls):
        value, hint = found.get(field.name), hints[field.name]
        if not isinstance(value, Mapping):
            continue
        if hint is ComponentChoice:
            default: Any = field.default
            if "name" not in value and isinstance(default, attrs.Factory) and not default.takes_self:  # type: ignore
                found[field.name] = {"name": default.factory().name, **value}
        elif attrs.has(hint):
            found[field.name] = with_names(value, hint)
    return found


def remove_other_options(table: dict[str, Any], path: object) -> None:
    """Removes the options and splits of a registered data set if `path`, the new `data.path`, is another data set.

    `table` is the recipe. Its data set is a registered one if the recipe has `data.options`, or if its `data.path` is
    the name of a data set of an installed plugin.
    """
    data = table.get("data")
    if not isinstance(data, dict) or path == data.get("path"):
        return
    if "options" in data or data.get("path") in load_plugins().names("dataset"):
        for key in ("options", *SPLITS):
            data.pop(key, None)
