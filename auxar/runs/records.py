"""What a run keeps as JSON, read back strictly: such a file may have been damaged, or written by a stranger."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter, transform_error
from cattrs.errors import IterableValidationError, IterableValidationNote
from cattrs.gen import make_dict_structure_fn

from auxar.errors import one_line, shown
from auxar.files import DamagedFile, parse_json, read_bytes

T = TypeVar("T")
MOST_BYTES = 2**24
"""Bytes of a file of records: an evaluation of forty thousand channels."""
LONGEST_TEXT = 10_000
MOST_PROBLEMS = 5
"""That are told of one file."""


def read_record(path: Path, kind: type[T]) -> T:
    """The record of type `kind`, an attrs class or a list of one, that a file holds as JSON.

    Integers have 64 bits, a number is not taken for a text nor a text for a number, and keys that are not known are
    passed over. Numbers need not be finite: those of a model that diverged are not. Raises `UserError` for a file that
    is missing or larger than `MOST_BYTES`, and `DamagedFile` for one that holds something else.
    """
    content = read_bytes(path, MOST_BYTES)
    try:
        value = parse_json(content)
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: not JSON ({one_line(str(error))})") from None
    try:
        return _converter.structure(value, kind)
    except Exception as error:  # Validators of the classes may raise anything; cattrs gathers it.
        raise DamagedFile(f"{path} is damaged: {_told(error)}") from None


def _strict(*accepted: type) -> Any:
    def structure(value: Any, target: type) -> Any:
        # `bool` is an `int` to Python, and `float` would read a text.
        if type(value) not in accepted:
            raise TypeError(f"expected {target.__name__}, got {shown(value)}")
        if type(value) is int and not -(2**63) <= value < 2**63:
            raise ValueError(f"expected a number of 64 bits, got {shown(value)}")
        if type(value) is str and len(value) > LONGEST_TEXT:
            raise ValueError(f"expected at most {LONGEST_TEXT} characters, got {len(value)}")
        return target(value)

    return structure


def _choice(value: Any, target: Any) -> Any:
    if type(value) is not str or value not in get_args(target):
        raise ValueError(f"expected one of {', '.join(get_args(target))}, got {shown(value)}")
    return value


def _entries(value: Any, target: Any) -> list[Any]:
    # cattrs would take a table for the list of its keys, and a text for that of its characters.
    if type(value) is not list:
        raise TypeError(f"expected a list, got {shown(value)}")
    (kind,) = get_args(target)
    return [_entry(entry, kind, index) for index, entry in enumerate(value)]


def _table(kind: Any) -> Any:
    fill = make_dict_structure_fn(kind, _converter)

    def structure(value: Any, target: Any) -> Any:
        # cattrs would tell how its own code failed.
        if type(value) is not dict:
            raise TypeError(f"expected a table, got {shown(value)}")
        return fill(value, target)

    return structure


def _mapping(value: Any, target: Any) -> dict[str, Any]:
    if type(value) is not dict:
        raise TypeError(f"expected a table, got {shown(value)}")
    kind = get_args(target)[1]
    return {key: _entry(entry, kind, key) for key, entry in value.items()}


def _entry(value: Any, kind: Any, place: int | str) -> Any:
    """One of a list or mapping. What is wrong with it is told with its place."""
    try:
        return _converter.structure(value, kind)
    except Exception as error:
        error.add_note(IterableValidationNote(f"entry {place}", place, kind))
        raise IterableValidationError("an entry that does not fit", [error], kind) from None


def _told(error: Exception) -> str:
    problems = transform_error(error, "", _describe)[:MOST_PROBLEMS]
    found = []
    for problem in problems:
        words, _, place = problem.rpartition(" @ ")
        found.append(one_line(f"{place.removeprefix('.')}: {words}" if place else words))
    return "; ".join(found)


def _describe(error: BaseException, target: type | None) -> str:
    if isinstance(error, KeyError):
        return "this key is required"
    # attrs validators put more than the message into `args`; the first entry is the sentence.
    return str(error.args[0]) if error.args else str(error)


def _make_converter() -> Converter:
    converter = Converter()
    for target, accepted in {int: (int,), float: (float, int), bool: (bool,), str: (str,)}.items():
        converter.register_structure_hook(target, _strict(*accepted))
    converter.register_structure_hook_func(lambda target: get_origin(target) is list, _entries)
    converter.register_structure_hook_func(lambda target: get_origin(target) is dict, _mapping)
    converter.register_structure_hook_func(lambda target: get_origin(target) is Literal, _choice)
    converter.register_structure_hook_factory(attrs.has, _table)
    return converter


_converter = _make_converter()
