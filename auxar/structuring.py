"""Strict conversion of plain values, from JSON or TOML, to attrs classes. Errors name the path of each wrong value."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
    StructureHandlerNotFoundError,
)
from cattrs.gen import make_dict_structure_fn, override

from auxar.errors import did_you_mean, one_line, shown

T = TypeVar("T")
NOT_FINITE = ("NaN", "Infinity", "-Infinity")
"""Strings that stand for floats in JSON, which has no such numbers."""
NAMES = {int: "an integer", float: "a number", bool: "a boolean", str: "a string"}
"""The names of scalar types in errors."""
NO_KEY = "no key"
"""Metadata key of a field that a table cannot set. Errors do not name such a field among the known keys."""


class Misfit(Exception):
    """The error for values that do not match their type.

    `problems` has one line for each wrong value, which begins with the path of the value.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def table_if_given(hint: Any) -> Any:
    """The attrs class of an optional table, whose default is None; any other type as it is."""
    parts = [part for part in get_args(hint) if part is not type(None)]
    return parts[0] if len(parts) == 1 and len(get_args(hint)) == 2 and attrs.has(parts[0]) else hint


def path_field(cls: type) -> str | None:
    """Name of the first field of an attrs class whose type is or contains a path; None if there is none."""
    return next((name for name, hint in _hints(cls).items() if _has_path(hint, (cls,))), None)


def _has_path(hint: Any, outer: tuple[Any, ...]) -> bool:
    """Whether values of a type have paths. The types `outer` contain the type, and may occur in it again."""
    if isinstance(hint, type) and issubclass(hint, os.PathLike):
        return True
    parts = [*get_args(hint), *({} if hint in outer else _hints(hint)).values()]
    return any(_has_path(part, (*outer, hint)) for part in parts)


def _hints(cls: Any) -> dict[str, Any]:
    """Types of the fields of an attrs class that a table can set, by name. Another type has no fields."""
    hints: dict[str, Any] = {}
    with contextlib.suppress(Exception):  # A plugin may name a type that does not exist.
        hints = get_type_hints(cls)
    fields = attrs.fields(cls) if attrs.has(cls) else ()
    return {field.name: hints.get(field.name) for field in fields if field.init and NO_KEY not in field.metadata}


def with_type(value: Any) -> str:
    """A value for an error, with its type: TOML and JSON distinguish the integer 3 from the string "3"."""
    names = {dict: "a table", list: "a list", str: "the string", bool: "the boolean", int: "the integer"}
    return f"{names.get(type(value), f'the {type(value).__name__}')} {shown(value)}"


class StrictConverter:
    """A converter that accepts exact types only: for example, it refuses a boolean where an integer is expected.

    Integers have at most 64 bits. An integer is accepted as a float.
    Scalars, `Literal`, `pathlib.Path` (as a string), lists, tuples, mappings with string keys, optional values and
    attrs classes are supported and may be nested.

    Args:
        unknown_keys: "refused" if keys without a field in the attrs class are errors, else "ignored".
        finite: Whether floats must be finite. If not, the strings in `NOT_FINITE` are accepted as floats too.
    """

    def __init__(self, *, unknown_keys: Literal["refused", "ignored"], finite: bool) -> None:
        self._refuse_unknown = unknown_keys == "refused"
        self._finite = finite
        self._cattrs = converter = Converter()
        for kind, accepted in {int: (int,), float: (float, int), bool: (bool,), str: (str,)}.items():
            converter.register_structure_hook(kind, self._scalar(*accepted))
        converter.register_structure_hook(Path, self._path)
        converter.register_unstructure_hook(Path, str)
        origin: Callable[[Any], Any] = get_origin
        converter.register_structure_hook_func(lambda kind: origin(kind) in (list, tuple), self._sequence)
        converter.register_structure_hook_func(lambda kind: origin(kind) in (dict, Mapping), self._mapping)
        converter.register_structure_hook_func(lambda kind: origin(kind) is Literal, self._choice)
        converter.register_structure_hook_factory(attrs.has, self._table)

    def add(self, fits: Callable[[Any], bool], read: Callable[[Any, Any], Any], write: Callable[[Any], Any]) -> None:
        """Adds a conversion of the types that `fits` accepts, in place of a conversion field by field.

        `read` converts a plain value, given with its type, to an object, and `write` converts an object back. An error
        that `read` raises is reported with the path of the value.
        """
        self._cattrs.register_structure_hook_func(fits, read)
        self._cattrs.register_unstructure_hook_func(fits, write)

    def structure(self, value: Any, kind: type[T], path: str = "") -> T:
        """Converts a plain value to the type `kind`.

        Raises `Misfit`, with paths that begin with `path`, if the value does not match the type.
        """
        try:
            return self._cattrs.structure(value, kind)
        except Exception as error:  # Validators may raise any exception. cattrs collects them in groups.
            raise Misfit([one_line(problem) for problem in _problems(error, path)]) from None

    def unstructure(self, value: Any) -> Any:
        """Converts an object to plain values, which `structure` can convert back."""
        return self._cattrs.unstructure(value)

    def _scalar(self, *accepted: type) -> Callable[[Any, Any], Any]:
        def read(value: Any, kind: Any) -> Any:
            if kind is float and not self._finite and isinstance(value, str) and value in NOT_FINITE:
                return float(value)
            # `isinstance` would accept `True` as an integer, and `float` would accept the string "1".
            if type(value) not in accepted:
                # Python refuses to write very long integers.
                short = kind is str and isinstance(value, bool | int | float) and abs(value) < 2**63
                advice = f'; write a string in quotes: "{value}"' if short else ""
                raise TypeError(f"expected {NAMES[kind]}, got {with_type(value)}{advice}")
            if kind is float and self._finite:
                if not abs(value) <= sys.float_info.max:
                    raise ValueError(f"expected a finite number, got {shown(value)}")
            elif type(value) is int and not -(2**63) <= value < 2**63:
                raise ValueError(f"expected an integer from -2^63 to 2^63 - 1, got {shown(value)}")
            return kind(value)

        return read

    def _path(self, value: Any, kind: Any) -> Path:
        text: str = self._scalar(str)(value, str)
        if not text or "\0" in text:
            raise ValueError(f"expected the path of a file or folder, got {shown(text)}")
        return Path(text)

    def _choice(self, value: Any, kind: Any) -> Any:
        for choice in get_args(kind):
            # The types are compared too, because 1 == True in Python.
            if type(value) is type(choice) and value == choice:
                return value
        raise ValueError(f"expected one of {', '.join(map(str, get_args(kind)))}, got {with_type(value)}")

    def _sequence(self, value: Any, kind: Any) -> Any:
        # cattrs would accept any collection, read a table as a list of its keys, and quote a long list in full.
        kinds = get_args(kind)
        texts = set(kinds) <= {str, Ellipsis}
        if not isinstance(value, list | tuple) or (texts and not all(isinstance(entry, str) for entry in value)):
            expected = 'a list of strings, ["…", …]' if texts else "a list"
            raise TypeError(f"expected {expected}, got {with_type(value)}")
        if get_origin(kind) is list or kinds[-1:] == (Ellipsis,):
            kinds = kinds[:1] * len(value)
        if len(kinds) != len(value):
            raise ValueError(f"expected a list of {len(kinds)} entries, got {len(value)}: {shown(value)}")
        entries = self._entries(zip(range(len(value)), value, kinds, strict=True), kind)
        return list(entries.values()) if get_origin(kind) is list else tuple(entries.values())

    def _mapping(self, value: Any, kind: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise TypeError(f"expected a table, got {with_type(value)}")
        return self._entries(((key, entry, get_args(kind)[1]) for key, entry in value.items()), kind)

    def _entries(self, entries: Iterable[tuple[Any, Any, Any]], kind: Any) -> dict[Any, Any]:
        """Converts entries, given as (key or index, value, type), and collects their errors."""
        found, errors = {}, []
        for place, entry, own in entries:
            try:
                found[place] = self._cattrs.structure(entry, own)
            except Exception as error:
                error.add_note(IterableValidationNote(f"entry {place}", place, own))
                errors.append(error)
        if errors:
            raise IterableValidationError("some entries are wrong", errors, kind)
        return found

    def _table(self, kind: Any) -> Callable[[Any, Any], Any]:
        own: Any = {field.name: override(omit=True) for field in attrs.fields(kind) if NO_KEY in field.metadata}
        try:
            fill: Any = make_dict_structure_fn(
                kind, self._cattrs, _cattrs_forbid_extra_keys=self._refuse_unknown, **own
            )
        except StructureHandlerNotFoundError as error:
            wrong = [name for name, hint in _hints(kind).items() if hint == error.type_]
            raise TypeError(
                f"the option {' or '.join(map(repr, wrong))} of {kind.__module__}.{kind.__qualname__} has the type "
                f"{error.type_}; expected a type of plain values, such as int, str or tuple[float, ...]"
            ) from None

        def read(value: Any, target: Any) -> Any:
            # Without this check, the error would be about the code that cattrs generates.
            if not isinstance(value, Mapping):
                raise TypeError(f"expected a table, got {with_type(value)}")
            return fill(value, target)

        return read


def _problems(error: BaseException, path: str) -> Iterator[str]:
    """Yields one line for each wrong value, which begins with the path of the value."""
    if isinstance(error, BaseValidationError):
        for part in error.exceptions:
            yield from _problems(part, path + _place(part))
    else:
        place = path.removeprefix(".")
        yield f"{place}: {_sentence(error)}" if place else _sentence(error)


def _place(error: BaseException) -> str:
    """The last part of the path of a wrong value, as ".name" or "[index]"; empty if the error does not name it."""
    for note in getattr(error, "__notes__", ()):
        if isinstance(note, AttributeValidationNote):
            return f".{note.name}"
        if isinstance(note, IterableValidationNote):
            return f"[{note.index!r}]"
    return ""


def _sentence(error: BaseException) -> str:
    if isinstance(error, KeyError):
        return "this key is required"
    if isinstance(error, ForbiddenExtraKeysError):
        known = list(_hints(error.cl))
        return "; ".join(f"unknown key '{key}'{did_you_mean(key, known)}" for key in sorted(error.extra_fields))
    # attrs validators put other values after the message into `args`.
    return str(error.args[0]) if error.args else str(error)
