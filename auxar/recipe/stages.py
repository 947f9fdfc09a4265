"""Reads the stages from the text of a recipe, without loading plugins or checking options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from auxar.recipe.schema import MOST_STAGES
from auxar.recipe.toml import parse_toml


def written_stages(text: str) -> list[Mapping[str, Any]]:
    """Returns the table of every stage, from the image down. A stage with `repeat = n` occurs n times.

    At most `MOST_STAGES + 1` tables are returned, so that a caller can detect a recipe with too many stages. Raises
    `ValueError` if the text is not TOML, and `TypeError` or `AttributeError` if a stage is not a table or its `repeat`
    is not an integer.

    Examples:
        >>> [stage["view"] for stage in written_stages("stage = [{ view = 'pyramid', repeat = 2 }]")]
        ['pyramid', 'pyramid']
    """
    return list(islice(_repeated(parse_toml(text).get("stage", [])), MOST_STAGES + 1))


def _repeated(stages: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for stage in stages:
        for _ in range(stage.get("repeat", 1)):
            yield stage
