"""Reads the stored evaluations of a run, and checks whether they are complete and current."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from auxar.evaluation.records import Evaluation
from auxar.files import DamagedFile, entries, is_file
from auxar.interfaces import FLOAT
from auxar.recipe import Recipe
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record

logger = logging.getLogger("auxar")

MOST_ARITHMETICS = 8
"""Maximum number of evaluations in other arithmetics that are read."""


def is_evaluated(run: RunFolder, recipe: Recipe) -> bool:
    """Whether the folder holds evaluations of all factors that are at least as new as their weights.

    There must be one in floating point and, if the recipe has another arithmetic, one in this arithmetic. A damaged
    evaluation counts as missing and causes a warning.
    """
    return all(
        _is_current(run, run.evaluation_in(arithmetic), recipe) for arithmetic in {FLOAT, recipe.arithmetic.name}
    )


def other_evaluations(folder: Path, evaluation: Evaluation) -> list[Evaluation]:
    """Reads the evaluations in other arithmetics than floating point that belong to `evaluation`.

    Those of other weights or images are left out. Raises `DamagedFile` if a file is not an evaluation.
    """
    found = [read_record(path, Evaluation) for path in entries(folder, "evaluation-*.json")[:MOST_ARITHMETICS]]
    return [each for each in found if each.cost and all(_agrees(each, evaluation, name) for name in each.cost)]


def _agrees(other: Evaluation, evaluation: Evaluation, images: str) -> bool:
    """Whether `other` was compared with the bits/dim of `evaluation` on a set of images."""
    bits, expected = other.bits_per_dim.get(images), evaluation.bits_per_dim.get(images)
    if bits is None or expected is None:
        return False
    return math.isclose(bits - other.cost[images].bits_per_dim, expected, abs_tol=1e-9)


def _is_current(run: RunFolder, path: Path, recipe: Recipe) -> bool:
    if not is_file(path):
        return False
    try:
        evaluation = read_record(path, Evaluation)
    except DamagedFile as error:
        logger.warning("%s; the run is evaluated again", error)
        return False
    return evaluation.bits_per_dim.get("heldout") is not None and all(
        run.weights(name).stat().st_mtime <= path.stat().st_mtime for name in recipe.factor_names
    )
