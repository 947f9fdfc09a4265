"""`auxar check`: validate a recipe and say what it would cost."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_settings, add_trust


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb to the parser."""
    parser = verbs.add_parser(
        "check",
        help="validate a recipe without training",
        description="Validates a recipe and its plugins, and prints the chain of images, and for each factor its "
        "parameters, the multiply-adds of one image's forward pass and the memory that training takes.",
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE")
    add_settings(parser, "stage[0].decoder.filters=32")
    add_trust(parser)
    parser.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> None:
    from auxar.recipe import load_recipe
    from auxar.recipe.cost import factor_costs
    from auxar.report.text import cost_lines

    recipe, registry = load_recipe(options.recipe, options.settings, trust_plugins=options.trust_plugins)
    print("\n".join(cost_lines(factor_costs(recipe, registry))))
