"""The command `recipes`: the recipes that come with auxar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from auxar.commandline import Result, command, paragraph

if TYPE_CHECKING:
    from auxar.recipe.shipped import ShippedRecipe

GROUPS = {
    "": "The quickstart, the models that come trained, photographs, and the models of the paper",
    "small": "Small networks, for a few CPU cores",
    "small/emoji": "Five models of the same emoji, to be compared",
    "small/labels": "Models that are given the label of each image",
    "small/pairs": "Translations of one image to another",
    "small/table1": "Three models of the same photos with the same compute, to be compared",
    "tight": "The views of the paper with convnets and restricted decoders, for exact bits/dim",
    "tight/small": "The model of small/table2_coarse with restricted decoders",
    "tight/small/table1": "The models of small/table1 with restricted decoders",
}
"""The heading of each folder of recipes."""
LABEL = 8
"""Number of characters of a label."""


def _shown(found: list[ShippedRecipe] | str) -> Result:
    import attrs

    if isinstance(found, str):
        return Result(found.splitlines(), {"text": found})
    return Result(list(_lines(found)), [{**attrs.asdict(recipe), "path": str(recipe.path)} for recipe in found])


def _lines(recipes: Sequence[ShippedRecipe]) -> Iterator[str]:
    from auxar.recipe.shipped import FIELDS, first_sentence

    group = None
    for recipe in recipes:
        folder = recipe.name.rpartition("/")[0]
        if folder != group:
            heading = GROUPS.get(folder, folder)
            yield from ([] if group is None else [""])
            yield from (heading, "=" * len(heading))
            group = folder
        yield from ("", recipe.name, *paragraph("", recipe.purpose, LABEL))
        for label, attribute in FIELDS.items():
            if text := getattr(recipe, attribute):
                yield from paragraph(f"{label}:", first_sentence(text), LABEL)
    yield from ("", "auxar run NAME trains a recipe. auxar recipes NAME prints it with its whole header.")


@command("Recipes and plugins", show=_shown)
def recipes(name: str | None = None) -> list[ShippedRecipe] | str:
    """Lists the recipes that come with auxar, or prints one.

    The list has the model, its training time, memory and result. Other commands accept the names wherever they need a
    recipe. `auxar recipes NAME` prints a recipe, for example to change a copy: `auxar recipes quickstart > mine.toml`.

    Args:
        name (RECIPE): print this recipe instead of the list
    """
    from auxar.recipe.shipped import list_recipes, text_of_shipped

    return list_recipes() if name is None else text_of_shipped(name)
