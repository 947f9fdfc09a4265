"""`auxar recipes`: lists the recipes that come with auxar, or prints one of them."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from auxar.cli.options import add_json
from auxar.cli.output import Result, paragraph

if TYPE_CHECKING:
    from auxar.recipe.shipped import ShippedRecipe

GROUPS = {
    "": "The quickstart, the model that comes trained, and the models of the paper",
    "small": "Small networks, for a few CPU cores",
    "small/emoji": "Five models of the same emoji, to be compared",
    "small/labels": "Models that are given the label of each image",
    "small/pairs": "Translations of one image to another",
    "small/table1": "Three models of the same photos with the same compute, to be compared",
    "tight": "The same models with restricted decoders, for exact bits/dim",
    "tight/small": "Small networks with restricted decoders",
    "tight/small/table1": "The models of small/table1 with restricted decoders",
}
"""The heading of each folder of recipes."""
LABEL = 8
"""Number of characters of a label."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `recipes` to the parser."""
    parser = commands.add_parser(
        "recipes",
        help="list the recipes that come with auxar, or print one of them",
        description="Lists the recipes that come with auxar: the model, its training time, memory and result. Other "
        "commands accept the names wherever they need a recipe. `auxar recipes show NAME` prints a recipe, for "
        "example to change a copy: `auxar recipes show quickstart > mine.toml`.",
    )
    parser.add_argument("action", nargs="?", metavar="show", help="print one recipe instead of the list")
    parser.add_argument("name", nargs="?", metavar="NAME", help="the name of the recipe to print")
    add_json(parser)
    parser.set_defaults(command=_recipes)


def _recipes(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.errors import UserError, one_line
    from auxar.recipe.shipped import list_recipes, text_of_shipped

    if options.action is None:
        recipes = list_recipes()
        records = [{**attrs.asdict(recipe), "path": str(recipe.path)} for recipe in recipes]
        return Result(list(_lines(recipes)), records)
    if options.action != "show":
        action = one_line(options.action)
        raise UserError(f"recipes {action}: `auxar recipes show {action}` prints a recipe")
    if options.name is None:
        raise UserError("recipes show: expected the name of a recipe; `auxar recipes` lists them")
    if options.json:
        raise UserError("recipes show: --json applies to the list only")
    return Result(text_of_shipped(options.name).splitlines())


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
    yield from ("", "auxar run NAME trains a recipe. auxar recipes show NAME prints it with its whole header.")
