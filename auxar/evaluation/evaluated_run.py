"""Reading an evaluated run from its folder for a comparison. No images and no plugins are loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError, one_line
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.stored import read_evaluation
from auxar.files import DamagedFile, is_file, read_bytes
from auxar.model import FLOAT
from auxar.recipe.facts import flat
from auxar.recipe.loading import MOST_BYTES
from auxar.recipe.stages import written_stages
from auxar.recipe.toml import parse_toml, toml_text
from auxar.runs.converted import digests_of
from auxar.runs.format import check_format
from auxar.runs.layout import RunFolder
from auxar.runs.models import find_run


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

    def key(self, number: int) -> tuple[bool, list[Any]]:
        """A key of a factor that is equal in two runs if both factors are the same term of their models.

        The views from the image down to this factor must be the same, and both must be decoders or both priors.
        """
        return self.evaluation.factors[number].view is None, self.views[: number + 1]

    def place(self, key: tuple[bool, list[Any]]) -> int | None:
        """The number of the factor with the given `key`; None if the run has no such factor."""
        return next((number for number in range(len(self.evaluation.factors)) if self.key(number) == key), None)


def read_evaluated_run(path: Path, arithmetic: str = FLOAT) -> EvaluatedRun:
    """Reads an evaluated run, with its evaluation in an arithmetic, from its folder.

    `path` is the folder, or the name of a model that comes trained. Such a model has the evaluation in its folder, or a
    newer one in the working directory, which `auxar evaluate` has written.

    Raises `UserError` if there is no such run, if it is not evaluated, or if its files are damaged or do not belong
    together. The message names the run or the file and, if a command can help, suggests the command.
    """
    run = find_run(path)
    check_format(run.path)
    file = next((path for each in (run.output, run) if is_file(path := each.evaluation_in(arithmetic))), None)
    if file is None:
        name, option = run.evaluation_in(arithmetic).name, "" if arithmetic == FLOAT else f" --arithmetic {arithmetic}"
        raise UserError(f"{run.name} is not evaluated: it has no {name}; run `auxar evaluate {run.name}{option}`")
    evaluation = _evaluation(run, file)
    if arithmetic != FLOAT and evaluation.digests != digests_of(run, arithmetic):
        raise UserError(
            f"{file} is an evaluation of other weights than those in {run.name}; run `auxar integers {run.name}`, and "
            f"then `auxar evaluate {run.name} --arithmetic {arithmetic}`"
        )
    recipe = _recipe(run)
    views = [stage["view"] for stage in recipe["stage"]]
    names = [*(f"stage{number}" for number in range(len(views))), "prior"]
    if [factor.factor for factor in evaluation.factors] != names:
        raise _outdated(run, f"{file} does not belong to this run's recipe: the factors differ")
    notes = _notes(run, evaluation)
    if file.parent != run.path:
        notes.append(f"evaluated in {file}")
    return EvaluatedRun(
        Path(run.name), evaluation, views, {key: value for key, value in flat(recipe) if value != []}, notes
    )


def _evaluation(run: RunFolder, file: Path) -> Evaluation:
    try:
        return read_evaluation(file)
    except DamagedFile as error:
        raise _outdated(run, str(error)) from None


def _recipe(run: RunFolder) -> dict[str, Any]:
    """The recipe as it is written, with a table for each stage. Plugins are not loaded."""
    try:
        text = toml_text(read_bytes(run.recipe, MOST_BYTES))
        stages = [{**stage, "view": stage["view"]} for stage in written_stages(text)]
        return {**parse_toml(text), "stage": stages}
    except ValueError as error:
        raise UserError(f"{run.recipe} is damaged: expected a recipe in TOML: {one_line(str(error))}") from None
    except (TypeError, KeyError, AttributeError):
        raise UserError(
            f"{run.recipe} is damaged: each [[stage]] must be a table with a view, and `repeat` an integer"
        ) from None


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
    return notes
