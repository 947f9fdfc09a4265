"""Writes and reads the stored evaluations of a run, and checks whether they are complete and current."""

import contextlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError, logger, one_line
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import settings_of
from auxar.files import DamagedFile, Shapes, entries, is_file, read_checksum, read_tensors, to_json, write_tensors
from auxar.model import FLOAT
from auxar.recipe import Recipe
from auxar.runs.converted import ConvertedFactors
from auxar.runs.layout import RunFolder
from auxar.runs.records import FACTS, read_entry

MOST_VALUES = 2**27
"""Maximum number of log-likelihoods in a file: 1 GiB as float64."""
MOST_ARITHMETICS = 8
"""Maximum number of evaluations in other arithmetics that are read."""


def write_evaluation(run: RunFolder, evaluation: Evaluation) -> None:
    """Writes an evaluation into a run's folder."""
    write_tensors(run.evaluation_in(evaluation.arithmetic), evaluation.tensors, {FACTS: to_json(facts_of(evaluation))})


def facts_of(evaluation: Evaluation) -> dict[str, Any]:
    """The facts of an evaluation as plain values."""
    return attrs.asdict(evaluation, filter=attrs.filters.exclude(attrs.fields(Evaluation).tensors))


def read_evaluation(path: Path) -> Evaluation:
    """Reads an evaluation. The file may come from an untrusted source.

    Raises `UserError` if the file is missing or too large, and `DamagedFile` if it is not an evaluation.
    """

    def check(shapes: Shapes, metadata: Mapping[str, str]) -> None:
        if sum(map(math.prod, shapes.values())) > MOST_VALUES:
            raise UserError(f"{path} is too large: expected at most {MOST_VALUES:,} values")
        counts: dict[str, int] = {}
        for name, shape in shapes.items():
            images = counts.setdefault(name.partition(".")[0], shape[-1] if shape else 0)
            if len(shape) != 2 or not all(shape) or shape[1] != images:
                problem = f"its tensor {one_line(name, 60)} has the shape {tuple(shape)}"
                raise DamagedFile(
                    f"{path} is damaged: {problem}; expected (channels, images), as others of its set have"
                )

    tensors, metadata = read_tensors(path, check)
    return attrs.evolve(read_entry(metadata, FACTS, Evaluation, path), tensors=tensors)


def evaluation_of(run: RunFolder) -> Evaluation | None:
    """The evaluation of a run; None if there is none, or if it is of other weights than the present ones."""
    found = read_evaluation(run.evaluation) if is_file(run.evaluation) else None
    return None if found is None or is_of_others(found, run) else found


def is_of_others(evaluation: Evaluation, run: RunFolder) -> bool:
    """Whether the present weights of a factor are others than those that were evaluated."""
    for name, checksum in evaluation.checksums.items():
        with contextlib.suppress(DamagedFile):  # Commands that need the weights report them.
            if is_file(file := run.weights(name)) and read_checksum(file) != checksum:
                return True
    return False


def is_evaluated(run: RunFolder, recipe: Recipe) -> bool:
    """Whether the folder holds evaluations of the present weights of all factors, on the images that the recipe sets.

    There must be one in floating point and, if the recipe has another arithmetic, one in this arithmetic. A damaged
    evaluation counts as missing and causes a warning.
    """
    evaluation = current_evaluation(run, recipe)
    if evaluation is None or evaluation.data.settings != settings_of(recipe):
        return False
    name = recipe.arithmetic.name
    return name == FLOAT or name in [each.arithmetic for each in other_evaluations(run.path, evaluation)]


def stored_evaluation(path: Path) -> Evaluation | None:
    """The evaluation in a file; None, with a warning if the file is damaged, if there is none."""
    if not is_file(path):
        return None
    try:
        return read_evaluation(path)
    except DamagedFile as error:
        logger.warning("%s; the run is evaluated again", error)
        return None


def current_evaluation(run: RunFolder, recipe: Recipe) -> Evaluation | None:
    """The evaluation in floating point on held-out images; None unless it is of the present weights of all factors.

    A damaged evaluation counts as missing and causes a warning.
    """
    if (evaluation := stored_evaluation(run.evaluation)) is None:
        return None
    present = {name: read_checksum(run.weights(name)) for name in recipe.factor_names}
    return evaluation if evaluation.checksums == present and evaluation.bits_per_dim().value is not None else None


def other_evaluations(folder: Path, evaluation: Evaluation) -> list[Evaluation]:
    """Reads the evaluations in other arithmetics than floating point that belong to `evaluation`.

    Evaluations of other weights, images or converted factors are left out, and so are damaged files, with a warning.
    """
    found = []
    for path in entries(folder, "evaluation-*.safetensors")[:MOST_ARITHMETICS]:
        try:
            other = read_evaluation(path)
            digests = ConvertedFactors(RunFolder(folder), other.arithmetic).digests
        except DamagedFile as error:
            logger.warning("%s; it is left out", error)
            continue
        if other.digests == digests and other.is_of_same(evaluation):
            found.append(other)
    return found
