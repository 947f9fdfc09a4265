"""Reading an evaluated run from its folder for a comparison. No images and no plugins are loaded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import FactorFacts
from auxar.evaluation.stored import read_evaluation
from auxar.files import DamagedFile, is_file
from auxar.model import FLOAT
from auxar.model.factor import CONDITION_FACTOR
from auxar.recipe import Recipe, read_recipe, recipe_table
from auxar.recipe.facts import flat
from auxar.runs.converted import ConvertedFactors
from auxar.runs.layout import RunFolder
from auxar.runs.metrics import read_curves
from auxar.runs.models import find_run

PASSES = 3
"""Cost of a training step for each image, in forward passes: one, and a backward pass that costs about two."""


@attrs.frozen(eq=False)
class EvaluatedRun:
    """An evaluated run, with the data that decides how it can be compared with another run."""

    path: Path
    """The run's folder, or the name of the model that comes trained."""
    evaluation: Evaluation
    views: list[Any]
    """The `view` entry of each stage as it is written in the recipe, the finest stage first."""
    recipe: Mapping[str, Any]
    """The values of all keys of the recipe, by dotted keys such as `training.seed`."""
    notes: list[str]
    """Notes to print below the figures, for example about factors that are not trained."""
    seconds: float | None
    """Training time of all factors together, in seconds. None if the metrics of a factor are missing."""
    multiply_adds: float | None
    """Approximate number of multiply-adds of the training of all factors. None if it is unknown for a factor."""

    def key(self, number: int) -> tuple[bool, list[Any]]:
        """A key of a factor that is equal in two runs if both factors are the same term of their models.

        The views from the image down to this factor must be the same, and both must be decoders or both priors.
        """
        return self.evaluation.factors[number].view is None, self.views[: number + 1]

    def factor_at(self, key: tuple[bool, list[Any]]) -> FactorFacts | None:
        """The factor with a key; None if there is none."""
        factors = enumerate(self.evaluation.factors)
        return next((factor for number, factor in factors if self.key(number) == key), None)


def read_evaluated_run(path: Path, arithmetic: str = FLOAT) -> EvaluatedRun:
    """Reads an evaluated run, with its evaluation in an arithmetic, from its folder.

    `path` is the folder, or the name of a model that comes trained. Such a model has the evaluation in its folder, or a
    newer one in the working directory, which `auxar evaluate` has written.

    Raises `UserError` if there is no such run, if it is not evaluated, or if its files are damaged or do not belong
    together. The message names the run or the file and, if a command can help, suggests the command.
    """
    run = find_run(path)
    file = next((path for each in (run.output, run) if is_file(path := each.evaluation_in(arithmetic))), None)
    if file is None:
        name, option = run.evaluation_in(arithmetic).name, "" if arithmetic == FLOAT else f" --arithmetic {arithmetic}"
        raise UserError(f"{run.name} is not evaluated: it has no {name}; run `auxar evaluate {run.name}{option}`")
    try:
        evaluation = read_evaluation(file)
    except DamagedFile as error:
        raise _outdated(run, str(error)) from None
    if arithmetic != FLOAT and evaluation.digests != ConvertedFactors(run, arithmetic).digests:
        raise UserError(
            f"{file} is an evaluation of other weights than those in {run.name}; run `auxar integers {run.name}`, and "
            f"then `auxar evaluate {run.name} --arithmetic {arithmetic}`"
        )
    recipe = read_recipe(run.recipe)
    views = [stage.view.table for stage in recipe.stage]
    names = [name for name in recipe.factor_names if name != CONDITION_FACTOR]
    if [factor.factor for factor in evaluation.factors] != names:
        raise _outdated(run, f"{file} does not belong to this run's recipe: the factors differ")
    notes = _notes(run, evaluation)
    if file.parent != run.path:
        notes.append(f"evaluated in {file}")
    curves = read_curves(run.path)
    seconds = [curves[name].seconds if name in curves else None for name in names]
    cost = _sum(seconds), _sum(_multiply_adds(recipe, factor) for factor in evaluation.factors)
    return EvaluatedRun(Path(run.name), evaluation, views, dict(flat(recipe_table(recipe))), notes, *cost)


def _multiply_adds(recipe: Recipe, factor: FactorFacts) -> float | None:
    """Approximate number of multiply-adds of a factor's training."""
    config, steps = recipe.training_of(factor.factor), factor.trained_steps
    if factor.multiply_adds is None or steps is None:
        return None
    image = recipe.image
    crop = 1.0 if config.crop is None else math.prod(config.crop) / (image.height * image.width)
    return PASSES * factor.multiply_adds * crop * steps * config.batch_size


def _sum(values: Iterable[float | None]) -> float | None:
    """The sum of values; None if one of them is None."""
    found = [*values]
    return None if None in found else math.fsum(value for value in found if value is not None)


def _outdated(run: RunFolder, what: str) -> UserError:
    """The error for an evaluation that is damaged or does not belong to its run."""
    return UserError(f"{what}; run `auxar evaluate {run.name}` to write a new evaluation")


def _notes(run: RunFolder, evaluation: Evaluation) -> list[str]:
    """Notes on factors that are not trained, were trained after the evaluation, or were trained on other images."""
    notes = []
    missing = evaluation.missing("heldout")
    if since := [name for name in missing if is_file(run.weights(name))]:
        notes.append(f"trained after the evaluation: {', '.join(since)}; `auxar evaluate {run.name}` includes them")
    elif missing:
        notes.append(f"no total, because these factors are not trained yet: {', '.join(missing)}")
    if others := evaluation.trained_elsewhere:
        notes.append(
            "these factors were trained on other images than the training set of the evaluation, perhaps on held-out "
            f"images: {', '.join(others)}"
        )
    own = {factor.factor: factor.history and factor.history.data for factor in evaluation.factors}
    return [*notes, *(f"{name} was trained on {data}" for name, data in own.items() if data is not None)]
