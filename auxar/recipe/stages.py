"""The stages that a recipe's text writes, for readers that load neither its plugins nor its options."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any

from auxar.recipe.schema import MOST_STAGES
from auxar.recipe.toml import parse_toml


def written_stages(text: str) -> list[Mapping[str, Any]]:
    """The table of every stage from the image down, repeated ones as often as the text says.

    Returns at most `MOST_STAGES` + 1 of them, so that a caller can tell a recipe with too many. Raises `ValueError` for
    text that is not TOML, and `TypeError` or `AttributeError` where stages are not tables or their numbers of
    repetitions no integers.

    Examples:
        >>> [stage["view"] for stage in written_stages("stage = [{ view = 'pyramid', repeat = 2 }]")]
        ['pyramid', 'pyramid']
    """
    return list(islice(_repeated(parse_toml(text).get("stage", [])), MOST_STAGES + 1))


def _repeated(stages: list[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    for stage in stages:
        for _ in range(stage.get("repeat", 1)):
            yield stage
