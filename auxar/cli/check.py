"""`auxar check`: validates a recipe and prints the parameters, compute and memory of its factors."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_settings, add_trust


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `check` to the parser."""
    parser = verbs.add_parser(
        "check",
        help="validate a recipe without training",
        description="Validates a recipe and its plugins. Prints the sizes of the image and its views and, for each "
        "factor, its parameters, the multiply-adds of a forward pass for one image, and the memory for training. "
        "Images are not read.",
    )
    parser.add_argument("recipe", type=Path, metavar="RECIPE", help="a recipe, such as recipes/quickstart.toml")
    add_settings(parser, "stage[0].decoder.filters=32")
    add_trust(parser)
    parser.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> None:
    from auxar.interfaces.rule_use import IN_RECIPE, check_rule
    from auxar.recipe import load_recipe
    from auxar.recipe.building import build_model
    from auxar.recipe.cost import factor_costs
    from auxar.report.text import cost_lines

    recipe, registry = load_recipe(options.recipe, options.settings, trust_plugins=options.trust_plugins)
    check_rule(build_model(recipe, registry, on="meta"), recipe.sampling.draw_rule(), spelling=IN_RECIPE)
    print("\n".join(cost_lines(factor_costs(recipe, registry), recipe.training.precision)))
