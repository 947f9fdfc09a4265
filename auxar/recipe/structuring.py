"""Parses TOML, and converts tables of a recipe to instances of attrs classes and back, with choices of components."""

import tomllib
from collections.abc import Mapping
from typing import Any, TypeVar

import tomli_w

from auxar.errors import UserError, shown
from auxar.recipe.component_choice import ComponentChoice
from auxar.structuring import Misfit, StrictConverter, with_type

T = TypeVar("T")
MOST_PROBLEMS = 12
"""Maximum number of problems that are reported at once."""


def parse_toml(text: str) -> dict[str, Any]:
    """Parses TOML text to a table. Raises `ValueError` if the text is not TOML, or is nested too deeply.

    Examples:
        >>> parse_toml("a.b = [1, 2]")
        {'a': {'b': [1, 2]}}
    """
    try:
        return tomllib.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def toml_value(text: str) -> Any:
    """The value that a TOML text stands for. A text that is not a TOML value stands for itself, so that paths and names
    need no quotes.

    Examples:
        >>> toml_value("[1, 2]"), toml_value("runs/a")
        ([1, 2], 'runs/a')
    """
    return parse_toml(f"value = {text}")["value"] if is_value(text) else text


def toml_text(value: str | float) -> str:
    """A string, a number or a boolean as TOML on one line."""
    return tomli_w.dumps({"value": value}).removeprefix("value = ").rstrip("\n")


def is_value(text: str) -> bool:
    """Whether a text is a TOML value."""
    try:
        return len(parse_toml(f"value = {text}")) == 1
    except ValueError:
        return False


def read_component(value: Any, kind: str = "component") -> ComponentChoice:
    """Reads the choice of a component from its name, from a table with its name and options, or from a text with both.

    The text is `NAME:option=value,option=value`, the form of the command line. `kind` is used in error messages. Raises
    `TypeError` or `ValueError` if the value has another form.

    Examples:
        >>> read_component("reduced:reduction=0.5,min_weight=0")
        ComponentChoice(name='reduced', options={'reduction': 0.5, 'min_weight': 0})
    """
    if isinstance(value, str):
        name, colon, options = value.partition(":")
        value = {**(options_in(options, value) if colon else {}), "name": name}
    if not isinstance(value, Mapping):
        raise TypeError(f'expected {_a(kind)}, "NAME" or {{ name = "NAME", … }}, got {with_type(value)}')
    if not isinstance(value.get("name"), str):
        raise TypeError(f'{_a(kind)} needs the key `name` with a string: {{ name = "NAME", … }}')
    if not all(isinstance(key, str) for key in value):
        raise TypeError(f"expected {_a(kind)} whose options have names, got {shown(dict(value))}")
    return ComponentChoice(value["name"], {key: option for key, option in value.items() if key != "name"})


def options_in(text: str, whole: str) -> dict[str, Any]:
    """The options in a text `option=value,option=value`. A value that is not valid TOML is a string.

    Raises `ValueError`, which quotes `whole`, if an option has no value or is given twice.
    """
    options: dict[str, Any] = {}
    # A comma in a list or a string does not end a value: a value that is not valid TOML may go on after the comma.
    entries = text.split(",")
    while entries:
        found = [",".join(entries[: n + 1]).partition("=") for n in range(len(entries))]
        count = next((n for n, (_, _, value) in enumerate(found) if is_value(value)), 0)
        (key, equals, value), entries = found[count], entries[count + 1 :]
        key = key.strip()
        if not equals or not key or key in options or key == "name":
            raise ValueError(f"expected NAME:option=value,option=value with different options, got {shown(whole)}")
        options[key] = toml_value(value.strip())
    return options


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def component_table(text: str) -> dict[str, Any]:
    """The table that a text `NAME:option=value` stands for. A text of another form becomes the name in a table."""
    try:
        return read_component(text).table
    except ValueError:
        return {"name": text}


RECIPES = StrictConverter(unknown_keys="refused", finite=True)
RECIPES.add(lambda kind: kind is ComponentChoice, lambda value, _: read_component(value), lambda value: value.table)
# Options that choose a component pass unchanged: `structure_options` (recipe/choices.py) has already created the
# choice.
RECIPES.add(lambda kind: hasattr(kind, "from_recipe"), lambda value, _: value, lambda value: value.to_recipe())


def structure(table: Any, cls: type[T], path: str = "") -> T:
    """Creates an instance of the attrs class `cls` from a table.

    Raises `UserError` with the paths of invalid keys, at most `MOST_PROBLEMS` of them.
    """
    if not isinstance(table, Mapping):
        raise UserError(f"{path or 'recipe'}: expected a table, got {with_type(table)}")
    try:
        return RECIPES.structure(table, cls, path)
    except Misfit as error:
        more = ["… and more problems, shown once these are fixed"] if len(error.problems) > MOST_PROBLEMS else []
        raise UserError("\n".join([*error.problems[:MOST_PROBLEMS], *more])) from None


def unstructure(value: Any) -> dict[str, Any]:
    """Converts an attrs instance to a table of plain values. Entries that are None are left out: TOML has no null."""
    table: dict[str, Any] = _without_none(RECIPES.unstructure(value))
    return table


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    return [_without_none(entry) for entry in value] if isinstance(value, list | tuple) else value
