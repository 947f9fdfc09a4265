"""Estimated costs of training large models, computed from their layers as in `auxar check`, and not measured."""

from __future__ import annotations

import math
from pathlib import Path

import attrs

from auxar.recipe import Recipe, load_recipe
from auxar.recipe.cost import FactorCost, factor_costs

RECIPE = Path(__file__).parents[2] / "recipes" / "pyramid_celeba.toml"
FLOPS = 30e12
"""Assumed speed of one GPU, in floating-point operations per second."""
GPUS = (1, 8, 64)
"""Numbers of GPUs that training times are given for."""


@attrs.frozen
class Case:
    """A data set and the recipe's settings for it."""

    images: int
    """Number of training images."""
    settings: tuple[str, ...] = ()
    """Settings `key=value` that replace keys of the recipe."""


CASES = {
    "celeba128": Case(192_469),
    "imagenet64": Case(1_281_167, ("image.height=64", "image.width=64", "stage[0].repeat=3", "training.epochs=20")),
}


def costs(case: str) -> str:
    """Formats a Markdown table of the factors' costs, and a sentence with the training time of the slowest factor."""
    recipe, registry = load_recipe(RECIPE, CASES[case].settings)
    factors = factor_costs(recipe, registry)
    work = [training_work(recipe, cost, CASES[case].images) for cost in factors]
    titles = ["factor", "distribution", "parameters", "GFLOP per image", "memory", "images/s"]
    lines = [[*titles, *(f"{count} GPU{'s' if count > 1 else ''}" for count in GPUS)]]
    lines.append(["---", "---", *["---:"] * (len(titles) - 2 + len(GPUS))])
    for cost, operations in zip(factors, work, strict=True):
        per_image = operations_per_image(cost)
        lines.append(
            [
                f"`{cost.factor}`",
                cost.formula.replace("|", "\\|"),
                f"{cost.parameters:,}",
                f"{per_image / 1e9:,.1f}",
                f"{cost.memory / 2**30:.1f} GiB",
                rounded(FLOPS / per_image),
                *_times(operations),
            ]
        )
    parameters = sum(cost.parameters for cost in factors)
    per_image = sum(map(operations_per_image, factors))
    lines.append(["all", "", f"{parameters:,}", f"{per_image / 1e9:,.1f}", "", "", *_times(sum(work))])
    longest = max(range(len(work)), key=work.__getitem__)
    return (
        "\n".join(f"| {' | '.join(line)} |" for line in lines)
        + f"\n\nWith one GPU for each of the {len(factors)} factors, training takes as long as the slowest factor: "
        + f"{_times(work[longest])[0]} for `{factors[longest].factor}`."
    )


def operations_per_image(cost: FactorCost) -> int:
    """Returns the floating-point operations of training on one image.

    A multiply-add is two operations.
    """
    return 2 * cost.training_multiply_adds


def training_work(recipe: Recipe, cost: FactorCost, images: int) -> float:
    """Returns the floating-point operations of a factor's whole training."""
    config = recipe.training_of(cost.factor)
    return config.total_steps(images) * config.batch_size * operations_per_image(cost)


def rounded(value: float) -> str:
    """Formats a positive number with two significant digits, or as a whole number if it has more."""
    digits = max(0, 1 - math.floor(math.log10(value)))
    return f"{value:,.{digits}f}"


def _times(operations: float) -> list[str]:
    return [_duration(operations / FLOPS / count) for count in GPUS]


def _duration(seconds: float) -> str:
    for unit, length in (("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{rounded(seconds / length)} {unit}"
    return f"{rounded(seconds)} s"
