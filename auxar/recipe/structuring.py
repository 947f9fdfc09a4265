"""Tables to attrs classes and back, strictly, with the key's path in every error."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter, transform_error
from cattrs.errors import ForbiddenExtraKeysError, IterableValidationError, IterableValidationNote

from auxar.errors import UserError, did_you_mean, one_line, shown
from auxar.recipe.schema import ComponentChoice

T = TypeVar("T")
LONGEST_TEXT = 10_000
LONGEST_NAME = 100
MOST_UNKNOWN = 3
MOST_PROBLEMS = 12
"""That are told of one table; who mends those finds the others."""


def _strict(*accepted: type) -> Any:
    def structure(value: Any, target: type) -> Any:
        # `bool` is an `int` to Python, but `batch_size = true` is a mistake.
        if type(value) not in accepted:
            quotes = _in_quotes(value) if target is str else ""
            raise TypeError(f"expected {target.__name__}, got {_kind(value)} {shown(value)}{quotes}")
        if target is int and not -(2**63) <= value < 2**63:
            raise ValueError("expected an integer of 64 bits")
        if target is float and not _is_finite(value):
            raise ValueError(f"expected a finite number, got {shown(value)}")
        if target is str and len(value) > LONGEST_TEXT:
            raise ValueError(f"expected at most {LONGEST_TEXT} characters, got {len(value)}: {shown(value)}")
        return target(value)

    return structure


def _in_quotes(value: Any) -> str:
    is_long = isinstance(value, int) and not -(2**63) <= value < 2**63
    return "" if is_long or isinstance(value, dict | list) else f'; in quotes it is a text: "{value}"'


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer beyond all floating-point numbers.
        return False


def _kind(value: Any) -> str:
    names = {dict: "a table", list: "a list", str: "the text", bool: "the boolean", int: "the integer"}
    return names.get(type(value), f"the {type(value).__name__}")


def _texts(value: Any, target: type) -> tuple[str, ...]:
    # cattrs would take a text for the list of its characters.
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f'expected a list of texts, ["…", …], got {_kind(value)} {shown(value)}')
    return tuple(_converter.structure(entry, str) for entry in value)


def _entries(value: Any, target: Any) -> tuple[Any, ...]:
    # cattrs would take any collection, a table for its keys, and quotes all of it where its length is wrong.
    if not isinstance(value, list | tuple):
        raise TypeError("expected a list")
    kinds = get_args(target)
    if kinds[-1] is Ellipsis:
        kinds = kinds[:1] * len(value)
    if len(kinds) != len(value):
        raise ValueError(f"expected a list of {len(kinds)}, got {len(value)}: {shown(value)}")
    found, errors = [], []
    for index, (entry, kind) in enumerate(zip(value, kinds, strict=True)):
        try:
            found.append(_converter.structure(entry, kind))
        except Exception as error:
            error.add_note(IterableValidationNote(f"entry {index}", index, kind))
            errors.append(error)
            if len(errors) > MOST_PROBLEMS:
                break
    if errors:
        raise IterableValidationError("entries that do not fit", errors, target)
    return tuple(found)


def _component(value: Any, target: type) -> ComponentChoice:
    if isinstance(value, str):
        value = {"name": value}
    if not isinstance(value, Mapping):
        raise TypeError(f'expected a component, {{ name = "…", … }}, got {_kind(value)} {shown(value)}')
    if not isinstance(value.get("name"), str):
        raise TypeError('a component needs its name: { name = "…", … }')
    if len(value["name"]) > LONGEST_NAME or not value["name"].isprintable():
        raise ValueError(f"no component has such a name: {shown(value['name'])}")
    return ComponentChoice(value["name"], {key: option for key, option in value.items() if key != "name"})


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    for target, accepted in {int: (int,), float: (float, int), bool: (bool,), str: (str,)}.items():
        converter.register_structure_hook(target, _strict(*accepted))
    converter.register_structure_hook_func(lambda target: get_origin(target) is tuple, _entries)
    converter.register_structure_hook_func(lambda target: target == tuple[str, ...], _texts)
    converter.register_structure_hook(ComponentChoice, _component)
    # Values that name a component come here already made (see recipe/choices.py).
    converter.register_structure_hook_func(lambda target: hasattr(target, "from_recipe"), lambda value, _: value)
    converter.register_unstructure_hook_func(lambda cls: hasattr(cls, "to_recipe"), lambda value: value.to_recipe())
    converter.register_unstructure_hook(ComponentChoice, lambda choice: {"name": choice.name, **choice.options})
    return converter


_converter = _make_converter()


def structure(table: Any, cls: type[T], path: str) -> T:
    """The attrs class `cls` from a table. Raises `UserError` with the path of every key that is wrong."""
    if not isinstance(table, Mapping):
        raise UserError(f"{path}: expected a table, got {_kind(table)} {shown(table)}")
    try:
        return _converter.structure(table, cls)
    except Exception as error:
        problems = transform_error(error, path, _describe)
        lines = [one_line(_path_first(problem)) for problem in problems[:MOST_PROBLEMS]]
        if len(problems) > MOST_PROBLEMS:
            lines.append("… and more")
        raise UserError("\n".join(lines)) from None


def unstructure(value: Any) -> dict[str, Any]:
    """A table of plain values, without the keys that are None (TOML has no null)."""
    return _without_none(_converter.unstructure(value))


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, list | tuple):
        return [_without_none(entry) for entry in value]
    return value


def _describe(error: BaseException, target: type | None) -> str:
    if isinstance(error, KeyError):
        return "this key is required"
    if isinstance(error, ForbiddenExtraKeysError):
        known = [field.name for field in attrs.fields(error.cl) if field.init and field.name != "factor_training"]
        return "; ".join(_unknown_keys(sorted(error.extra_fields), known))
    is_table = target is not None and attrs.has(target) and target is not ComponentChoice
    if is_table and isinstance(error, TypeError | AttributeError):
        # cattrs tells how its own code failed on a value that is no table.
        return "expected a table"
    # attrs validators put more than the message into `args`; the first entry is the sentence.
    return str(error.args[0]) if error.args else str(error)


def _unknown_keys(keys: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    for key in keys[:MOST_UNKNOWN]:
        name = one_line(key, LONGEST_NAME)
        yield f"unknown key '{name}'{did_you_mean(name, known)}"
    if len(keys) > MOST_UNKNOWN:
        yield f"and {len(keys) - MOST_UNKNOWN} more that are unknown"


def _path_first(problem: str) -> str:
    message, _, path = problem.rpartition(" @ ")
    return f"{path.removeprefix('$.').removeprefix('.')}: {message}" if path not in ("$", "") else message
