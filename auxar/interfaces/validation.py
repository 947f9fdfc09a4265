"""Validators for the fields of attrs classes that hold the options of recipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


def positive(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    """An attrs validator that requires a value greater than 0. It raises `ValueError`.

    Examples:
        >>> import attrs
        >>> from auxar import at_most, positive
        >>> @attrs.frozen
        ... class BlurConfig:
        ...     radius: int = attrs.field(validator=[positive, at_most(100)])
        >>> BlurConfig(radius=0)
        Traceback (most recent call last):
        ValueError: radius must be greater than 0, got 0
    """
    if not value > 0:
        raise ValueError(f"{attribute.name} must be greater than 0, got {value!r}")


def at_most(limit: float) -> Callable[[object, attrs.Attribute[Any], float], None]:
    """Returns an attrs validator that requires a value of at most `limit`. It raises `ValueError`.

    Use it for sizes, so that a typing mistake is reported at once instead of exhausting time or memory.

    Examples:
        >>> import attrs
        >>> from auxar import at_most
        >>> @attrs.frozen
        ... class BlurConfig:
        ...     radius: int = attrs.field(validator=at_most(100))
        >>> BlurConfig(radius=1000)
        Traceback (most recent call last):
        ValueError: radius must be at most 100, got 1000
    """

    def check(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
        if value > limit:
            raise ValueError(f"{attribute.name} must be at most {limit}, got {value!r}")

    return check
