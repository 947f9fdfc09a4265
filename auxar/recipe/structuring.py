"""Tables of a recipe to attrs classes and back: the strict converter with what only recipes have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from auxar.errors import UserError, shown
from auxar.recipe.schema import ComponentChoice
from auxar.structuring import A_LIST, A_TABLE, LONGEST_TEXT, OF_64_BITS, Hook, Messages, Misfit, StrictConverter

T = TypeVar("T")
LONGEST_NAME = 100
MOST_PROBLEMS = 12
"""Maximum problems reported per table; fixing these reveals the rest."""
BRIEF = {text: f"expected {text}" for text in (A_LIST, A_TABLE)} | {OF_64_BITS: "expected an integer of 64 bits"}
"""Sentences that do not quote the value, which may be a whole table: its path says enough."""


class _RecipeMessages(Messages):
    """Sentences that name the type of a value, since TOML's notation decides on it: 3 and "3" differ."""

    def wrong(self, expected: str, value: Any) -> str:
        if expected in BRIEF:
            return BRIEF[expected]
        quotes = _in_quotes(value) if expected == "str" else ""
        return f"expected {expected}, got {_with_type(value)}{quotes}"

    def too_long(self, text: str) -> str:
        return f"expected at most {LONGEST_TEXT} characters, got {len(text)}: {shown(text)}"


def _in_quotes(value: Any) -> str:
    is_long = isinstance(value, int) and not -(2**63) <= value < 2**63
    return "" if is_long or isinstance(value, dict | list) else f'; in quotes it is a text: "{value}"'


def _with_type(value: Any) -> str:
    names = {dict: "a table", list: "a list", str: "the text", bool: "the boolean", int: "the integer"}
    return f"{names.get(type(value), f'the {type(value).__name__}')} {shown(value)}"


def read_component(value: Any, kind: str = "component") -> ComponentChoice:
    """A component of a kind from its name, or from a table with its name and options."""
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise TypeError(f'expected {_a(kind)}, {{ name = "…", … }}, got {_with_type(value)}')
    if not isinstance(value.get("name"), str):
        raise TypeError(f'{_a(kind)} needs its name: {{ name = "…", … }}')
    if len(value["name"]) > LONGEST_NAME or not value["name"].isprintable():
        raise ValueError(f"no {kind} has such a name: {shown(value['name'])}")
    return ComponentChoice(value["name"], {key: option for key, option in value.items() if key != "name"})


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def write_component(choice: ComponentChoice) -> dict[str, Any]:
    """The table that `read_component` reads back."""
    return {"name": choice.name, **choice.options}


RECIPES = StrictConverter(
    unknown_keys="refused",
    finite=True,
    messages=_RecipeMessages(),
    hooks=[
        Hook(lambda kind: kind is ComponentChoice, lambda value, _: read_component(value), write_component),
        # Options that name a component come here already made (see recipe/choices.py).
        Hook(lambda kind: hasattr(kind, "from_recipe"), lambda value, _: value, lambda value: value.to_recipe()),
    ],
)


def structure(table: Any, cls: type[T], path: str = "") -> T:
    """The attrs class `cls` from a table. Raises `UserError` with the path of every key that is wrong."""
    if not isinstance(table, Mapping):
        raise UserError(f"{path}: expected a table, got {_with_type(table)}")
    try:
        return RECIPES.structure(table, cls, path)
    except Misfit as error:
        more = ["… and more"] if len(error.problems) > MOST_PROBLEMS else []
        raise UserError("\n".join([*error.problems[:MOST_PROBLEMS], *more])) from None


def unstructure(value: Any) -> dict[str, Any]:
    """A table of plain values, without the keys that are None (TOML has no null)."""
    table: dict[str, Any] = _without_none(RECIPES.unstructure(value))
    return table


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [_without_none(entry) for entry in value]
    return value
