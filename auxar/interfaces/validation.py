"""Validators for the fields of attrs classes that hold the options of recipes. They raise `UserError`."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import attrs

from auxar.errors import UserError, shown


def integer(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator that requires an integer, and refuses a boolean. It raises `UserError`."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise UserError(f"{attribute.name} must be an integer, got {shown(value)}")


def finite(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator that requires a finite number, and refuses a boolean. It raises `UserError`."""
    if not _is_number(value) or not -math.inf < value < math.inf:
        raise UserError(f"{attribute.name} must be a finite number, got {shown(value)}")


def positive(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    """An attrs validator that requires a finite number greater than 0. It raises `UserError`."""
    finite(instance, attribute, value)
    if not value > 0:
        raise UserError(f"{attribute.name} must be greater than 0, got {shown(value)}")


def at_least(limit: float) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Returns an attrs validator that requires a number of at least `limit`. It raises `UserError`."""

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not _is_number(value) or not value >= limit:
            raise UserError(f"{attribute.name} must be at least {limit}, got {shown(value)}")

    return check


def at_most(limit: float) -> Callable[[object, attrs.Attribute[Any], Any], None]:
    """Returns an attrs validator that requires a number of at most `limit`. It raises `UserError`.

    Use it for sizes, so that a typing mistake is reported at once instead of exhausting time or memory.
    """

    def check(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
        if not _is_number(value) or not value <= limit:
            raise UserError(f"{attribute.name} must be at most {limit}, got {shown(value)}")

    return check


def _is_number(value: Any) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)
