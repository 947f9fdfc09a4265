"""The command `recipes`: the recipes that come with auxar."""

from __future__ import annotations

import re
import textwrap
import tomllib
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from auxar.commandline import WIDTH, Result, command

if TYPE_CHECKING:
    from auxar.recipe.shipped import ShippedRecipe

TIGHT = "tight/"
"""Beginning of the names of recipes that are others with restricted decoders."""
LINE = "{:<24}  {:<15}  {:<16}  {}"
"""A line of the list: name, data set, time and bits/dim."""
TIME = r"(?:about )?[\d.½]+ (?:second|minute|hour)s"
"""The time in the header of a recipe."""
BITS = r"^(?:at most )?[\d.]+ ± [\d.]+(?= bits/dim)"
"""The bits/dim of a recipe's images at the beginning of its results."""


def _shown(found: list[ShippedRecipe] | str) -> Result:
    import attrs

    if isinstance(found, str):
        return Result(found.splitlines(), {"text": found})
    return Result(list(_lines(found)), [{**attrs.asdict(recipe), "path": str(recipe.path)} for recipe in found])


def _lines(recipes: Sequence[ShippedRecipe]) -> Iterator[str]:
    yield LINE.format("recipe", "data", "time", "bits/dim")
    for recipe in recipes:
        if not recipe.name.startswith(TIGHT):
            data = tomllib.loads(recipe.path.read_text(encoding="utf-8"))["data"]["path"]
            found = re.search(TIME, recipe.time), re.search(BITS, recipe.result)
            yield LINE.format(recipe.name, data, *(match[0] if match else "–" for match in found))
    names = ", ".join(recipe.name for recipe in recipes if recipe.name.startswith(TIGHT))
    yield from ("", *textwrap.wrap(f"The same with restricted decoders: {names}", WIDTH, break_on_hyphens=False))
    yield from ("", "auxar run NAME trains a recipe. auxar recipes NAME prints it: its header says more.")


@command("Recipes and plugins", show=_shown)
def recipes(name: str | None = None) -> list[ShippedRecipe] | str:
    """Lists the recipes that come with auxar, or prints one.

    The list has the data set, the training time and the bits/dim on held-out images. Other commands accept the names
    wherever they need a recipe. `auxar recipes NAME` prints a recipe, whose header says more, for example to change a
    copy: `auxar recipes quickstart > mine.toml`.

    Args:
        name (RECIPE): print this recipe instead of the list
    """
    from auxar.recipe.shipped import list_recipes, text_of_shipped

    return list_recipes() if name is None else text_of_shipped(name)
