"""Reads the stored evaluations of a run, and checks whether they are complete and current."""

from __future__ import annotations

import logging
import math
from pathlib import Path

from auxar.evaluation.records import Evaluation
from auxar.files import DamagedFile, entries, is_file
from auxar.model import FLOAT
from auxar.recipe import Recipe
from auxar.runs.converted import digests_of
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
    if not is_evaluated_in_floats(run, recipe):
        return False
    if recipe.arithmetic.name == FLOAT:
        return True
    others = other_evaluations(run.path, read_record(run.evaluation, Evaluation))
    return recipe.arithmetic.name in [each.arithmetic for each in others]


def is_evaluated_in_floats(run: RunFolder, recipe: Recipe) -> bool:
    """Whether the folder holds an evaluation in floating point of all factors that is at least as new as their weights.

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


def other_evaluations(folder: Path, evaluation: Evaluation) -> list[Evaluation]:
    """Reads the evaluations in other arithmetics than floating point that belong to `evaluation`.

    Evaluations of other weights, images or converted factors are left out, and so are damaged files, with a warning.
    """
    found = []
    for path in entries(folder, "evaluation-*.json")[:MOST_ARITHMETICS]:
        try:
            other = read_record(path, Evaluation)
            digests = digests_of(RunFolder(folder), other.arithmetic)
        except DamagedFile as error:
            logger.warning("%s; it is left out", error)
            continue
        if other.cost and other.digests == digests and all(_agrees(other, evaluation, name) for name in other.cost):
            found.append(other)
    return found


def _agrees(other: Evaluation, evaluation: Evaluation, images: str) -> bool:
    """Whether `other` was compared with the bits/dim of `evaluation` on a set of images."""
    bits, expected = other.bits_per_dim.get(images), evaluation.bits_per_dim.get(images)
    if bits is None or expected is None:
        return False
    return math.isclose(bits - other.cost[images].bits_per_dim, expected, abs_tol=1e-9)
