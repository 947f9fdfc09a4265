"""Plain values, as JSON and TOML give them, to attrs classes: strictly, with the path of every value that is wrong."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeVar, get_args, get_origin

import attrs
from cattrs import Converter
from cattrs.errors import (
    AttributeValidationNote,
    BaseValidationError,
    ForbiddenExtraKeysError,
    IterableValidationError,
    IterableValidationNote,
)
from cattrs.gen import make_dict_structure_fn

from auxar.errors import did_you_mean, one_line, shown

T = TypeVar("T")
LONGEST_TEXT = 10_000
LONGEST_KEY = 100
"""Characters of an unknown key that an error quotes."""
MOST_UNKNOWN = 3
"""Unknown keys of a table that an error names."""
MOST_ENTRIES = 12
"""Wrong entries of a list or mapping that are collected; fixing these reveals the rest."""
A_LIST, A_TABLE, OF_64_BITS = "a list", "a table", "a number of 64 bits"
NO_KEY = "no key"
"""Metadata of a field that no table may set, so that errors do not suggest it."""


class Misfit(Exception):
    """Values that do not fit their type. `problems` holds a line for each, the path of the value first."""

    def __init__(self, problems: Sequence[str], reason: Exception) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems
        self.reason = reason


class Messages:
    """Sentences about a value that is wrong. A kind of file that its users write by hand may say more."""

    def wrong(self, expected: str, value: Any) -> str:
        """The sentence for a value of another type, or an integer of too many bits."""
        return f"expected {expected}, got {shown(value)}"

    def too_long(self, text: str) -> str:
        """The sentence for a text of more than `LONGEST_TEXT` characters."""
        return f"expected at most {LONGEST_TEXT} characters, got {len(text)}"


@attrs.frozen
class Hook:
    """How values of some types are read, for types that need more than their fields.

    An error of `read` is reported with the path of the value, and a `Misfit` with the paths below it.
    """

    fits: Callable[[Any], bool]
    """Whether a type is one of them."""
    read: Callable[[Any, Any], Any]
    """From a plain value and the type to the object."""
    write: Callable[[Any], Any] | None = None
    """From the object back to plain values; without it, an attrs class is written field by field."""


class StrictConverter:
    """Reads exact types only: a boolean is no integer, and a text is neither a number nor a list of its characters.

    Integers have 64 bits and texts an end; an integer may stand for a float. Lists, tuples, mappings with text keys,
    `Literal`, optional values and nested attrs classes may contain one another.

    Args:
        unknown_keys: Whether keys that an attrs class does not have are an error.
        finite: Whether floats must be finite.
        messages: Sentences of the errors.
        hooks: Types that are read in their own way; of several that fit, the last counts.
    """

    def __init__(
        self,
        *,
        unknown_keys: Literal["refused", "ignored"],
        finite: bool,
        messages: Messages | None = None,
        hooks: Iterable[Hook] = (),
    ) -> None:
        self._refuse_unknown = unknown_keys == "refused"
        self._finite = finite
        self._messages = messages or Messages()
        self._hooks = tuple(hooks)
        self._cattrs = self._make_converter()

    def structure(self, value: Any, kind: type[T], path: str = "") -> T:
        """The value as `kind`. Raises `Misfit`, whose paths begin with `path`, if it does not fit."""
        try:
            return self._cattrs.structure(value, kind)
        except Exception as error:  # Validators of the classes may raise anything; cattrs gathers it.
            raise Misfit([one_line(problem) for problem in _problems(error, path)], error) from None

    def unstructure(self, value: Any) -> Any:
        """Plain values that `structure` reads back."""
        return self._cattrs.unstructure(value)

    def _make_converter(self) -> Converter:
        converter = Converter()
        for target, accepted in {int: (int,), float: (float, int), bool: (bool,), str: (str,)}.items():
            converter.register_structure_hook(target, self._scalar(*accepted))
        converter.register_structure_hook_func(lambda kind: _origin(kind) in (list, tuple), self._sequence)
        converter.register_structure_hook_func(lambda kind: _origin(kind) in (dict, Mapping), self._mapping)
        converter.register_structure_hook_func(lambda kind: _origin(kind) is Literal, self._choice)
        converter.register_structure_hook_factory(attrs.has, self._table)
        for hook in self._hooks:
            converter.register_structure_hook_func(hook.fits, hook.read)
            if hook.write is not None:
                converter.register_unstructure_hook_func(hook.fits, hook.write)
        return converter

    def _scalar(self, *accepted: type) -> Callable[[Any, Any], Any]:
        def read(value: Any, kind: Any) -> Any:
            # `isinstance` would take `True` for an integer, and `float` would read a text.
            if type(value) not in accepted:
                raise TypeError(self._messages.wrong(kind.__name__, value))
            if kind is float and self._finite:
                if not _is_finite(value):
                    raise ValueError(f"expected a finite number, got {shown(value)}")
            elif type(value) is int and not -(2**63) <= value < 2**63:
                raise ValueError(self._messages.wrong(OF_64_BITS, value))
            if kind is str and len(value) > LONGEST_TEXT:
                raise ValueError(self._messages.too_long(value))
            return kind(value)

        return read

    def _choice(self, value: Any, kind: Any) -> Any:
        for choice in get_args(kind):
            # 1 is `True` to Python.
            if type(value) is type(choice) and value == choice:
                return value
        raise ValueError(self._messages.wrong(f"one of {', '.join(map(str, get_args(kind)))}", value))

    def _sequence(self, value: Any, kind: Any) -> Any:
        # cattrs would take any collection, a table for the list of its keys, and would quote all of a long one.
        kinds = get_args(kind)
        texts = set(kinds) <= {str, Ellipsis}
        if not isinstance(value, list | tuple) or (texts and not all(isinstance(entry, str) for entry in value)):
            raise TypeError(self._messages.wrong('a list of texts, ["…", …]' if texts else A_LIST, value))
        if _origin(kind) is list or kinds[-1:] == (Ellipsis,):
            kinds = kinds[:1] * len(value)
        if len(kinds) != len(value):
            raise ValueError(f"expected a list of {len(kinds)}, got {len(value)}: {shown(value)}")
        entries = self._entries(zip(range(len(value)), value, kinds, strict=True), kind)
        return list(entries.values()) if _origin(kind) is list else tuple(entries.values())

    def _mapping(self, value: Any, kind: Any) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise TypeError(self._messages.wrong(A_TABLE, value))
        return self._entries(((key, entry, get_args(kind)[1]) for key, entry in value.items()), kind)

    def _entries(self, entries: Iterable[tuple[Any, Any, Any]], kind: Any) -> dict[Any, Any]:
        """Places, values and types of entries to the entries that were read."""
        found, errors = {}, []
        for place, entry, own in entries:
            try:
                found[place] = self._cattrs.structure(entry, own)
            except Exception as error:
                error.add_note(IterableValidationNote(f"entry {place}", place, own))
                errors.append(error)
                if len(errors) > MOST_ENTRIES:
                    break
        if errors:
            raise IterableValidationError("entries that do not fit", errors, kind)
        return found

    def _table(self, kind: Any) -> Callable[[Any, Any], Any]:
        fill: Any = make_dict_structure_fn(kind, self._cattrs, _cattrs_forbid_extra_keys=self._refuse_unknown)

        def read(value: Any, target: Any) -> Any:
            # cattrs would report how its own code failed on the value.
            if not isinstance(value, Mapping):
                raise TypeError(self._messages.wrong(A_TABLE, value))
            return fill(value, target)

        return read


def _problems(error: BaseException, path: str) -> Iterator[str]:
    """A line for each value that is wrong, its path first."""
    if isinstance(error, Misfit):  # A hook called a converter: its paths continue this one.
        error = error.reason
    if isinstance(error, BaseValidationError):
        for part in error.exceptions:
            yield from _problems(part, path + _place(part))
    else:
        place = path.removeprefix(".")
        yield f"{place}: {_sentence(error)}" if place else _sentence(error)


def _place(error: BaseException) -> str:
    """The last part of the path to the value that an error is about, with its dot or brackets."""
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
        known = [field.name for field in attrs.fields(error.cl) if field.init and NO_KEY not in field.metadata]
        return "; ".join(_unknown_keys(sorted(error.extra_fields), known))
    # attrs validators put more than the message into `args`; the first entry is the sentence.
    return str(error.args[0]) if error.args else str(error)


def _unknown_keys(keys: Sequence[str], known: Sequence[str]) -> Iterator[str]:
    for key in keys[:MOST_UNKNOWN]:
        name = one_line(key, LONGEST_KEY)
        yield f"unknown key '{name}'{did_you_mean(name, known)}"
    if len(keys) > MOST_UNKNOWN:
        yield f"and {len(keys) - MOST_UNKNOWN} more that are unknown"


def _origin(kind: Any) -> Any:
    return get_origin(kind)


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # An integer beyond all floating-point numbers.
        return False
