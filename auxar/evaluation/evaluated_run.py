"""Reads evaluated runs from their folders for a comparison, and computes the means of runs over seeds.

No images and no plugins are loaded. Runs are averaged whose recipes are the same, except for the seed of the training.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import torch

from auxar.errors import UserError
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import Exactness, FactorFacts
from auxar.evaluation.stored import is_of_others, read_evaluation
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
SEED = "training.seed"
"""The key of a recipe in which runs of the same setting may differ."""
RECORDS = ("minutes", "trackers", "log_every", "checkpoint_every")
OTHERS = ("sampling.", "evaluation.", *(f"training.{key}" for key in RECORDS))
"""Beginnings of the keys that do not change a model, which may differ, too."""
FIRST = (".view.name", ".support", "condition.kind", "prior.name")
"""Ends of the keys that come first among those that differ, because they tell most about a model."""


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
        return next((factor for number, factor in enumerate(self.evaluation.factors) if self.key(number) == key), None)


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
    if is_of_others(evaluation, run):
        raise _outdated(run, f"{file} is an evaluation of other weights than those in {run.name}")
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


@attrs.frozen
class Setting:
    """Runs with the same settings, and the mean of their held-out bits/dim over seeds."""

    values: dict[str, Any]
    """The values of the keys in which the compared runs differ; None for a key that a recipe lacks."""
    runs: list[int]
    """Numbers of the runs, from 1. Of several runs with the same seed, the first counts."""
    seeds: list[Any]
    """Seeds of these runs."""
    bits_per_dim: float | None
    """Mean over seeds; None if the bits/dim of a run are unknown."""
    deviation: float | None
    """Sample standard deviation of a single run's bits/dim over seeds; None for a single seed."""
    kind: Exactness
    """Whether these bits/dim are exact or a bound."""


def by_setting(runs: Sequence[EvaluatedRun]) -> list[Setting]:
    """Groups runs by their settings and by the held-out images that they were evaluated on, in the order of the runs.

    Seeds of training, and the keys of drawing, of evaluation and of records, are no settings. A user's own training
    loop has no settings of training.
    """
    recipes = [_settings(run) for run in runs]
    used = dict.fromkeys(key for recipe in recipes for key in recipe)
    # A list that is empty in one recipe may have entries in another, with keys of their own.
    parents = {key.rsplit("[", 1)[0] for key in used if "[" in key}
    differing = [key for key in used if len({repr(recipe.get(key)) for recipe in recipes}) > 1 and key not in parents]
    differing.sort(key=lambda key: next((rank for rank, end in enumerate(FIRST) if key.endswith(end)), len(FIRST)))
    differences = [{key: recipe.get(key) for key in differing} for recipe in recipes]
    groups: dict[str, dict[str, int]] = {}
    for number, run in enumerate(runs):
        group = groups.setdefault(repr([run.evaluation.data.heldout_digest, differences[number]]), {})
        group.setdefault(repr(run.recipe.get(SEED, 0)), number)
    return [_setting(runs, differences, list(group.values())) for group in groups.values()]


def _settings(run: EvaluatedRun) -> dict[str, Any]:
    others = (*OTHERS, "training.") if run.evaluation.weights == "own" else OTHERS
    return {key: value for key, value in run.recipe.items() if key != SEED and not key.startswith(others)}


def _setting(runs: Sequence[EvaluatedRun], differences: Sequence[dict[str, Any]], numbers: Sequence[int]) -> Setting:
    """The setting of the runs with these numbers, from 0, which have different seeds and equal `differences`."""
    own = [runs[number] for number in numbers]
    bits = [run.evaluation.bits_per_dim().value for run in own]
    values = torch.tensor([math.nan if value is None else value for value in bits], dtype=torch.float64)
    known = None not in bits
    return Setting(
        differences[numbers[0]],
        [number + 1 for number in numbers],
        [run.recipe.get(SEED, 0) for run in own],
        values.mean().item() if known else None,
        values.std().item() if known and len(bits) > 1 else None,
        own[0].evaluation.kind,
    )
