"""Tables to attrs classes and back, strictly, with the key's path in every error."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_origin

import attrs
from cattrs import Converter, transform_error
from cattrs.errors import ForbiddenExtraKeysError

from auxar.errors import UserError, did_you_mean
from auxar.recipe.schema import ComponentChoice

T = TypeVar("T")


def _strict(*accepted: type) -> Any:
    def structure(value: Any, target: type) -> Any:
        # `bool` is an `int` to Python, but `batch_size = true` is a mistake.
        if type(value) not in accepted:
            quotes = (
                f'; in quotes it is a text: "{value}"' if target is str and not isinstance(value, dict | list) else ""
            )
            raise TypeError(f"expected {target.__name__}, got {_kind(value)} {value!r}{quotes}")
        if target is int and not -(2**63) <= value < 2**63:
            raise ValueError("expected an integer of 64 bits")
        if target is float and not math.isfinite(value):
            raise ValueError(f"expected a finite number, got {value!r}")
        return target(value)

    return structure


def _kind(value: Any) -> str:
    names = {dict: "a table", list: "a list", str: "the text", bool: "the boolean", int: "the integer"}
    return names.get(type(value), f"the {type(value).__name__}")


def _texts(value: Any, target: type) -> tuple[str, ...]:
    # cattrs would take a text for the list of its characters.
    if not isinstance(value, list | tuple) or not all(isinstance(entry, str) for entry in value):
        raise ValueError(f'expected a list of texts, ["…", …], got {_kind(value)} {value!r}')
    return tuple(value)


def _component(value: Any, target: type) -> ComponentChoice:
    if isinstance(value, str):
        return ComponentChoice(value)
    if not isinstance(value, Mapping):
        raise TypeError(f'expected a component, {{ name = "…", … }}, got {_kind(value)} {value!r}')
    if not isinstance(value.get("name"), str):
        raise TypeError('a component needs its name: { name = "…", … }')
    return ComponentChoice(value["name"], {key: option for key, option in value.items() if key != "name"})


def _make_converter() -> Converter:
    converter = Converter(forbid_extra_keys=True)
    for target, accepted in {int: (int,), float: (float, int), bool: (bool,), str: (str,)}.items():
        converter.register_structure_hook(target, _strict(*accepted))
    converter.register_structure_hook_func(lambda target: target == tuple[str, ...], _texts)
    converter.register_structure_hook(ComponentChoice, _component)
    converter.register_unstructure_hook(ComponentChoice, lambda choice: {"name": choice.name, **choice.options})
    return converter


_converter = _make_converter()


def structure(table: Any, cls: type[T], path: str) -> T:
    """The attrs class `cls` from a table. Raises `UserError` with the path of every key that is wrong."""
    if not isinstance(table, Mapping):
        raise UserError(f"{path}: expected a table, got {_kind(table)} {table!r}")
    try:
        return _converter.structure(table, cls)
    except Exception as error:
        problems = transform_error(error, path, _describe)
        raise UserError("\n".join(_path_first(problem) for problem in problems)) from None


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
        return "; ".join(f"unknown key '{key}'{did_you_mean(key, known)}" for key in sorted(error.extra_fields))
    if isinstance(error, TypeError | AttributeError) and target is not None:
        # cattrs tells how its own code failed on a value that is no table or no list.
        if attrs.has(target) and target is not ComponentChoice:
            return "expected a table"
        if get_origin(target) is tuple:
            return "expected a list"
    # attrs validators put more than the message into `args`; the first entry is the sentence.
    return str(error.args[0]) if error.args else str(error)


def _path_first(problem: str) -> str:
    message, _, path = problem.rpartition(" @ ")
    return f"{path.removeprefix('$.').removeprefix('.')}: {message}" if path not in ("$", "") else message
