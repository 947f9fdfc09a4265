"""Converts labels and attributes, from data sets or from users, to numbers."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from auxar.errors import UserError, did_you_mean, shown
from auxar.model import Condition

MOST_DIGITS = 9
"""Maximum number of digits of a label in a text."""


def vector_values(value: Any, condition: Condition) -> list[int]:
    """The numbers of a condition: of a label, by `label_number`, or of each attribute, by `attribute_values`."""
    return [label_number(value, condition)] if condition.kind == "label" else attribute_values(value, condition)


def label_number(value: Any, condition: Condition) -> int:
    """Converts a label to its number: an integer, also as a text or a float, or the name of a class.

    Raises `UserError` if it is no class of the condition.

    Examples:
        >>> from auxar.model import ImageSpec
        >>> label = Condition("label", ImageSpec(1, height=1, width=1, levels=2), ("cat", "dog"))
        >>> label_number("dog", label), label_number("0", label)
        (1, 0)
        >>> label_number("dgo", label)
        Traceback (most recent call last):
        auxar.errors.UserError: the label 'dgo' is no class; did you mean 'dog'? (known: cat, dog)
    """
    names, classes = condition.names, condition.spec.levels
    if isinstance(value, str):
        if value in names:
            return names.index(value)
        if not (value.isascii() and value.isdigit() and len(value) <= MOST_DIGITS):
            advice = did_you_mean(value, names) if names else "; condition.names gives names to the classes"
            raise UserError(f"the label {shown(value)} is no class{advice}")
        value = int(value)
    if isinstance(value, bool | np.bool_) or (isinstance(value, float | np.floating) and float(value).is_integer()):
        value = int(value)
    if not isinstance(value, int | np.integer) or not 0 <= value < classes:
        raise UserError(f"the label {shown(value)} is no class; expected an integer from 0 to {classes - 1}")
    return int(value)


def attribute_values(value: Any, condition: Condition) -> list[int]:
    """Converts attributes to a number for each, 1 if it holds and 0 if not.

    `value` is a list of the names of those that hold, a text with such names and commas, a list with a number for each
    attribute, or a table with a number for each. Numbers are 0 and 1, booleans, or -1 and 1 as in CelebA.

    Raises `UserError` if the value has another form, or if an attribute is unknown or missing.
    """
    names = condition.names
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, Mapping):
        # A data set may have more attributes than the model is given.
        if missing := [name for name in names if name not in value]:
            raise UserError(f"the attribute '{missing[0]}' is missing{did_you_mean(missing[0], list(map(str, value)))}")
        return [_held(value[name], name) for name in names]
    if not isinstance(value, list | tuple | np.ndarray):
        raise UserError(f"the attributes are {shown(value)}; expected a list of names or numbers, or a table")
    if all(isinstance(entry, str) for entry in value):  # An empty list names no attribute.
        for entry in value:
            if entry not in names:
                raise UserError(f"the attribute {shown(entry)} is unknown{did_you_mean(entry, names)}")
        return [int(name in value) for name in names]
    if len(value) != len(names):
        raise UserError(f"there are {len(value)} attributes; expected {len(names)}")
    return [_held(entry, name) for entry, name in zip(value, names, strict=True)]


def _held(value: Any, name: str) -> int:
    if isinstance(value, bool | int | float | np.generic) and value in (-1, 0, 1):
        return int(value == 1)
    raise UserError(f"the attribute '{name}' is {shown(value)}; expected true or false, 1 or 0, or 1 or -1")
