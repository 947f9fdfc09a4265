"""`auxar check`: validates a recipe and prints the parameters, compute and memory of its factors."""

from __future__ import annotations

import argparse

from auxar.cli.options import add_json, add_recipe, add_settings, add_trust
from auxar.cli.output import Result


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `check` to the parser."""
    parser = verbs.add_parser(
        "check",
        help="validate a recipe without training",
        description="Validates a recipe and its plugins. Prints the sizes of the image and its views and, for each "
        "factor, its parameters, the multiply-adds of a forward pass for one image, and the memory for training. "
        "Images are not read.",
    )
    add_recipe(parser)
    add_settings(parser, "stage[0].decoder.filters=32")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.recipe import load_recipe
    from auxar.recipe.cost import factor_costs
    from auxar.report.text import cost_lines

    recipe, registry = load_recipe(options.recipe, options.settings, trust_plugins=options.trust_plugins)
    costs, precision = factor_costs(recipe, registry), recipe.training.precision
    record = {
        "recipe": str(options.recipe),
        "precision": precision,
        "factors": [attrs.asdict(cost) for cost in costs],
    }
    return Result(cost_lines(costs, precision), record)
