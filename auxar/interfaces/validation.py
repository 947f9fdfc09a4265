"""Validators for the fields of attrs classes that hold the options of recipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

V = TypeVar("V", bound=Callable[..., None])


def checks(**keywords: Any) -> Callable[[V], V]:
    """Returns a decorator for attrs validators that states what they check, as keywords of JSON Schema.

    `recipe_schema` adds these keywords to the schema of the option, so that editors check it too.

    Examples:
        >>> @checks(multipleOf=2)
        ... def even(instance, attribute, value):
        ...     if value % 2:
        ...         raise ValueError(f"{attribute.name} must be even, got {value!r}")
    """

    def mark(validator: V) -> V:
        validator.json_schema = keywords  # type: ignore[attr-defined]
        return validator

    return mark


@checks(exclusiveMinimum=0)
def positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """An attrs validator that requires a value greater than 0. It raises `ValueError`."""
    if not value > 0:
        raise ValueError(f"{attribute.name} must be greater than 0, got {value!r}")


def at_most(limit: float) -> Callable[[object, attrs.Attribute[Any], float], None]:
    """Returns an attrs validator that requires a value of at most `limit`. It raises `ValueError`.

    Use it for sizes, so that a typing mistake is reported at once instead of exhausting time or memory.
    """

    @checks(maximum=limit)
    def check(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
        if value > limit:
            raise ValueError(f"{attribute.name} must be at most {limit}, got {value!r}")

    return check
