"""`auxar check`: validates a recipe and prints the parameters, compute and memory of its factors."""

from __future__ import annotations

import argparse
import logging

from auxar.cli.options import add_json, add_recipe, add_settings, add_trust
from auxar.cli.output import Result

logger = logging.getLogger("auxar")


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `check` to the parser."""
    parser = commands.add_parser(
        "check",
        help="validate a recipe without training",
        description="Validates a recipe and its plugins. Prints the sizes of the image and its views and, for each "
        "factor, its parameters, the multiply-adds of a forward pass for one image, and the memory for training. "
        "Reports a missing folder or file of images, and missing experiment trackers. Images are not read.",
    )
    add_recipe(parser)
    add_settings(parser, "stage[0].decoder.filters=32")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_check)


def _check(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.errors import UserError
    from auxar.model.rule_effects import check_rule
    from auxar.recipe import load_recipe
    from auxar.recipe.building import build_model
    from auxar.recipe.cost import factor_costs
    from auxar.recipe.paths import local_path
    from auxar.report.text import cost_lines
    from auxar.training.trackers import check_trackers

    recipe, registry = load_recipe(options.recipe, options.settings, trust_plugins=options.trust_plugins)
    check_rule(
        build_model(recipe, registry, on="meta"),
        recipe.sampling.draw_rule(),
        recipe.arithmetic.name,
        key="sampling.rule",
    )
    costs, precision = factor_costs(recipe, registry), recipe.training.precision
    record = {
        "recipe": str(options.recipe),
        "precision": precision,
        "factors": [attrs.asdict(cost) for cost in costs],
    }
    # Mistakes that depend on this machine are reported after the costs, which also interest where a recipe cannot run.
    mistake = None
    path, registered = recipe.data.path, registry.names("dataset")
    try:
        check_trackers(recipe.training.trackers)
        is_on_hub = path not in registered and local_path(path, registered) is None
    except UserError as error:
        mistake = error
    else:
        if is_on_hub:
            logger.info(
                "'%s' is no file or folder on this machine: `auxar run` looks for it on the Hugging Face hub", path
            )
    return Result(cost_lines(costs, precision), record, mistake)
