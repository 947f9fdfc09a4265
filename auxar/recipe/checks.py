"""Validators of a recipe's keys. They also tell the JSON Schema of recipes which values are allowed."""

from __future__ import annotations

import difflib
from typing import Any

import attrs

from auxar.errors import shown
from auxar.validation import checks


@checks(exclusiveMinimum=0, exclusiveMaximum=1)
def fraction(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """Accepts numbers greater than 0 and less than 1."""
    if not 0 < value < 1:
        raise ValueError(f"{attribute.name} must be greater than 0 and less than 1, got {value!r}")


@checks(minimum=0, exclusiveMaximum=1)
def fraction_or_zero(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """Accepts numbers of at least 0 and less than 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{attribute.name} must be at least 0 and less than 1, got {value!r}")


def one_of(*choices: str) -> Any:
    """Returns a validator that accepts these strings."""

    @checks(enum=list(choices))
    def check(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
        if value not in choices:
            near = difflib.get_close_matches(str(value), choices, n=1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            raise ValueError(f"{attribute.name} must be one of {', '.join(choices)}, got {shown(value)}{hint}")

    return check
