"""The check whether a run's folder holds a complete and current evaluation."""

from __future__ import annotations

import logging

from auxar.evaluation.records import Evaluation
from auxar.files import DamagedFile, is_file
from auxar.recipe import Recipe
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record

logger = logging.getLogger("auxar")


def is_evaluated(run: RunFolder, recipe: Recipe) -> bool:
    """Whether the folder holds an evaluation of all factors that is at least as new as their weights.

    A damaged evaluation counts as missing and causes a warning.
    """
    if not is_file(run.evaluation):
        return False
    try:
        evaluation = read_record(run.evaluation, Evaluation)
    except DamagedFile as error:
        logger.warning("%s; the run is evaluated again", error)
        return False
    return evaluation.bits_per_dim.get("heldout") is not None and all(
        run.weights(name).stat().st_mtime <= run.evaluation.stat().st_mtime for name in recipe.factor_names
    )
