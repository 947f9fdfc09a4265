"""Validators for the fields of attrs classes that hold the options of recipes. They raise `UserError`."""

from __future__ import annotations

import difflib
import operator
import sys
from collections.abc import Callable, Iterable
from numbers import Integral, Real
from typing import Any

import attrs

from auxar.errors import UserError, did_you_mean, shown


def integer(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator that requires an integer, and refuses a boolean. It raises `UserError`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UserError(f"{attribute.name} must be an integer, got {shown(value)}")


def finite(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator that requires a finite number, and refuses a boolean. It raises `UserError`.

    Examples:
        >>> import attrs
        >>> from auxar import at_least, below, finite
        >>> @attrs.frozen
        ... class Faded:
        ...     share: float = attrs.field(validator=[finite, at_least(0), below(1)])
        >>> Faded(share=float("nan"))
        Traceback (most recent call last):
        auxar.errors.UserError: share must be a finite number, got nan
    """
    if not _is_number(value) or not abs(value) <= sys.float_info.max:
        raise UserError(f"{attribute.name} must be a finite number, got {shown(value)}")


def positive(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator that requires a finite number greater than 0. It raises `UserError`.

    Examples:
        >>> import attrs
        >>> from auxar import at_most, positive
        >>> @attrs.frozen
        ... class BlurConfig:
        ...     radius: int = attrs.field(validator=[positive, at_most(100)])
        >>> BlurConfig(radius=0)
        Traceback (most recent call last):
        auxar.errors.UserError: radius must be greater than 0, got 0
    """
    finite(instance, attribute, value)
    if not value > 0:
        raise UserError(f"{attribute.name} must be greater than 0, got {shown(value)}")


def at_least(limit: float) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Returns an attrs validator that requires a number of at least `limit`. It raises `UserError`.

    Examples:
        >>> import attrs
        >>> from auxar import at_least
        >>> reduction = attrs.field(validator=at_least(0))
    """
    return _bound("at least", operator.ge, limit)


def at_most(limit: float) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Returns an attrs validator that requires a number of at most `limit`. It raises `UserError`.

    Use it for sizes, so that a typing mistake is reported at once instead of exhausting time or memory.

    Examples:
        >>> import attrs
        >>> from auxar import at_most
        >>> @attrs.frozen
        ... class BlurConfig:
        ...     radius: int = attrs.field(validator=at_most(100))
        >>> BlurConfig(radius=1000)
        Traceback (most recent call last):
        auxar.errors.UserError: radius must be at most 100, got 1000
    """
    return _bound("at most", operator.le, limit)


def below(limit: float) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Returns an attrs validator that requires a number less than `limit`. It raises `UserError`.

    Examples:
        >>> import attrs
        >>> from auxar import below
        >>> share = attrs.field(validator=below(1))
    """
    return _bound("less than", operator.lt, limit)


def one_of(*choices: str) -> Any:
    """Returns a validator that accepts these strings."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"{attribute.name} must be one of {', '.join(choices)}, got {shown(value)}{hint}")

    check.choices = choices  # type: ignore[attr-defined]  # `recipe_schema` lists them.
    return check


def names_among(known: Iterable[str]) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Returns an attrs validator that requires a list of at least one of the `known` names. It raises `UserError`.

    Examples:
        >>> import attrs
        >>> from auxar import names_among
        >>> @attrs.frozen
        ... class ShapesConfig:
        ...     shapes: tuple[str, ...] = attrs.field(validator=names_among(["circle", "square"]))
        >>> ShapesConfig(["cirle"])
        Traceback (most recent call last):
        auxar.errors.UserError: shapes has the unknown name 'cirle'; did you mean 'circle'? (known: circle, square)
    """
    choices = tuple(known)

    def check(instance: object, attribute: attrs.Attribute[Any], names: Any) -> None:
        if not isinstance(names, list | tuple) or not names:
            got = "an empty list" if isinstance(names, list | tuple) else shown(names)
            raise UserError(f'{attribute.name} must be a list of names, such as ["{choices[0]}"], got {got}')
        for name in names:
            if name not in choices:
                raise UserError(
                    f"{attribute.name} has the unknown name {shown(name)}{did_you_mean(str(name), choices)}"
                )

    return check


def _bound(
    words: str, holds: Callable[[Any, float], bool], limit: float
) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """The validator of a number that stands in a relation to a limit."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not _is_number(value) or not holds(value, limit):
            raise UserError(f"{attribute.name} must be {words} {limit}, got {shown(value)}")

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
