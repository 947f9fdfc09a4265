"""Validators of options, for attrs classes that recipes fill in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


def positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """attrs validator: the value is greater than zero."""
    if not value > 0:
        raise ValueError(f"{attribute.name} must be greater than 0, got {value!r}")


def at_most(limit: float) -> Callable[[object, attrs.Attribute[Any], float], None]:
    """attrs validator: the value is `limit` or less.

    Meant for sizes: a typing mistake is reported at once, before the machine runs out of time or memory.
    """

    def check(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
        if value > limit:
            raise ValueError(f"{attribute.name} must be at most {limit}, got {value!r}")

    return check
