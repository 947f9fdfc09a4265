"""The evaluation that a run's folder holds."""

from __future__ import annotations

import logging

from auxar.evaluation.records import Evaluation
from auxar.files import DamagedFile
from auxar.recipe import Recipe
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record

logger = logging.getLogger("auxar")


def is_evaluated(run: RunFolder, recipe: Recipe) -> bool:
    """Whether the folder holds an evaluation of all factors, made after all of them were put there.

    A damaged evaluation counts as none, with a warning.
    """
    if not run.evaluation.is_file():
        return False
    try:
        evaluation = read_record(run.evaluation, Evaluation)
    except DamagedFile as error:
        logger.warning("%s; it is made again", error)
        return False
    return evaluation.bits_per_dim.get("heldout") is not None and all(
        run.weights(name).stat().st_mtime <= run.evaluation.stat().st_mtime for name in recipe.factor_names
    )
