"""Whether a run is finished, so that `auxar run` has nothing left to do."""

from __future__ import annotations

from collections.abc import Mapping

from auxar.errors import UserError
from auxar.evaluation.stored import is_evaluated
from auxar.files import is_file
from auxar.recipe import Recipe
from auxar.report.reading import FigureEntry
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record
from auxar.training.lengths import is_trained


def is_finished(run: RunFolder, recipe: Recipe, steps: Mapping[str, int]) -> bool:
    """Whether all factors are trained and evaluated, and the samples, figures and report of the recipe exist.

    The report is written last, so it is not older than the recipe and the evaluation if they have not changed since.
    `steps` are the numbers of steps of the factors.
    """
    if not all(is_trained(run, name, count) for name, count in steps.items()):
        return False
    if not is_evaluated(run, recipe) or not is_file(run.report):
        return False
    if run.report.stat().st_mtime < max(run.recipe.stat().st_mtime, run.evaluation.stat().st_mtime):
        return False
    if not recipe.sampling.images:
        return True
    if not is_file(run.samples / "samples.json"):
        return False
    return not recipe.sampling.figure_rows or has_figures(run)


def has_figures(run: RunFolder) -> bool:
    """Whether the figures of a run are drawn: their record, which is written last, and all pictures that it names."""
    try:
        entries = read_record(run.figures / "figures.json", list[FigureEntry])
    except UserError:
        return False
    return all(is_file(run.figures / entry.file) for entry in entries)
