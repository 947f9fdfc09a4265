"""Rules for settings that replace other settings, in [training.factor.NAME], by `--set` and by options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, get_type_hints

import attrs

from auxar.plugins import load_plugins
from auxar.recipe.component_choice import ComponentChoice

LENGTHS = frozenset({"steps", "epochs"})
"""The keys that give the length of training."""
REQUIREMENTS: Mapping[str, tuple[str, str]] = {
    "weight_decay": ("optimizer", "adamw"),
    "decay": ("schedule", "exponential"),
    "final_fraction": ("schedule", "cosine"),
}
"""The keys that apply only to one optimizer or schedule: the key that chooses it, and its name."""
SPLITS = ("train", "heldout", "validation")
"""The keys of [data] that name a split of a data set."""


def replaced(settings: Mapping[str, Any]) -> frozenset[str]:
    """The keys of [training] whose earlier values do not apply any more if `settings` are added.

    A length replaces both keys of the length. An optimizer or schedule replaces the keys that only another one has.
    Values in `settings` apply in any case.
    """
    lengths = LENGTHS if settings.keys() & LENGTHS else frozenset()
    return lengths | {key for key, (choice, name) in REQUIREMENTS.items() if settings.get(choice, name) != name}


def remove_replaced(training: dict[str, Any], key: str) -> None:
    """Removes the settings that a new setting of `key` in `training` replaces.

    `training` is the table [training] or [training.factor.NAME]. A new length in [training] also replaces the lengths
    of single factors. A new optimizer or schedule in [training] leaves factors unchanged that choose their own.
    """
    obsolete = replaced({key: training[key]})
    for other in obsolete - {key}:
        training.pop(other, None)
    factors = training.get("factor")
    for override in factors.values() if isinstance(factors, dict) else ():
        if isinstance(override, dict) and (key in LENGTHS or key not in override):
            for other in obsolete:
                override.pop(other, None)


def merged_training(base: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a factor: the table [training] with the keys of [training.factor.NAME] in place of its own.

    If a factor sets `steps` or `epochs`, for example, neither `steps` nor `epochs` of [training] applies to it. A table
    with options but without a name changes options of the component that [training] names.
    """
    obsolete = replaced(override)
    table = {key: value for key, value in base.items() if key not in obsolete}
    for key, value in override.items():
        own = table.get(key)
        if isinstance(value, Mapping) and "name" not in value and own is not None:
            value = {**({"name": own} if isinstance(own, str) else own), **value}
        table[key] = value
    return table


def with_names(table: Mapping[str, Any], cls: type) -> dict[str, Any]:
    """The table of an attrs class with the name of the default component in each table that gives options only."""
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
    """Removes the settings of a registered data set from a recipe's table if `path`, a new `data.path`, is another one.

    These are the options of the set and the names of its splits. A set is recognized by its options or, if it is from
    an installed plugin, by its name.
    """
    data = table.get("data")
    if not isinstance(data, dict) or path == data.get("path"):
        return
    if "options" in data or data.get("path") in load_plugins().names("dataset"):
        for key in ("options", *SPLITS):
            data.pop(key, None)
