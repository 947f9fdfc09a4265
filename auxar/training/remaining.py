"""The work that is left until all factors of a run are trained."""

from __future__ import annotations

from collections.abc import Sequence

from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.cost import factor_costs
from auxar.runs.layout import RunFolder
from auxar.training.checkpoints import checkpoints, step_of


def later_steps(
    recipe: Recipe, registry: Registry, current: str, later: Sequence[str], run: RunFolder, images: int
) -> float:
    """The number of steps of the factor `current` that take as long as the steps that the factors `later` still need.

    A step is assumed to take time in proportion to its multiply-adds. `images` is the number of training images. The
    newest checkpoint of a factor counts as done.
    """
    costs = {
        cost.factor: cost.training_multiply_adds * recipe.training_of(cost.factor).batch_size
        for cost in factor_costs(recipe, registry)
    }
    work = 0
    for name in later:
        done = next((step_of(path) for path in checkpoints(run.factor(name))), 0)
        work += max(0, recipe.training_of(name).total_steps(images) - done) * costs[name]
    return work / max(1, costs[current])
