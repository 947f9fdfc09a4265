"""Reading an evaluated run from its folder for a comparison: its figures and log-likelihoods of single held-out images.

No images and no plugins are loaded. The folder may come from an untrusted source, so its files are checked for
consistency with each other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError, one_line
from auxar.evaluation.records import Evaluation
from auxar.files import DamagedFile, Shapes, is_file, parse_json, read_bytes, read_tensors
from auxar.model import FLOAT, ImageSpec
from auxar.recipe.loading import MOST_BYTES
from auxar.recipe.stages import written_stages
from auxar.recipe.toml import toml_text
from auxar.runs.converted import digests_of
from auxar.runs.layout import RunFolder, check_contents
from auxar.runs.models import find_run
from auxar.runs.records import read_record

MOST_VALUES = 2**27
"""Maximum number of values in a file of log-likelihoods: 1 GiB as float64."""


@attrs.frozen(eq=False)
class ImageNats:
    """The log-likelihoods of single held-out images, read from `evaluation.safetensors`."""

    factors: dict[str, Tensor]
    """The log-likelihood of each image in nats, by the name of the trained factor: float64, (images,)."""
    indices: Tensor
    """The number of each image in the held-out set: int64, (images,)."""


@attrs.frozen(eq=False)
class EvaluatedRun:
    """An evaluated run, with the data that decides how it can be compared with another run."""

    path: Path
    """The run's folder, or the name of the model that comes trained."""
    evaluation: Evaluation
    """The content of `evaluation.json`."""
    views: list[Any]
    """The `view` entry of each stage as it is written in the recipe, the finest stage first."""
    image_nats: ImageNats | None
    """Log-likelihoods of single held-out images; None if the folder has no `evaluation.safetensors`."""
    notes: list[str]
    """Notes to print below the figures, for example about factors that are not trained."""

    @property
    def image(self) -> ImageSpec:
        """Description of the images that the model describes."""
        return self.evaluation.factors[0].image

    @property
    def total(self) -> Tensor | None:
        """The model's log-likelihood of each held-out image in nats, (images,).

        None if a factor is not trained or the folder has no log-likelihoods of single images.
        """
        if self.image_nats is None or len(self.image_nats.factors) < len(self.evaluation.factors):
            return None
        return torch.stack(list(self.image_nats.factors.values())).sum(0)

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

    Raises `UserError` if there is no such run, if it is not evaluated on held-out images, or if its files are damaged
    or do not belong together. The message names the run or the file and, if a command can help, suggests the command.
    """
    run = find_run(path)
    check_contents(run)
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
    views = _views(run)
    if len(evaluation.factors) != len(views) + 1:
        what = f"{file} does not belong to this run's recipe: the numbers of stages differ"
        raise _not_of_one(run, what)
    if evaluation.images.get("heldout", 0) < 1 or not any(factor.heldout for factor in evaluation.factors):
        raise UserError(
            f"{run.name} has no figures of held-out images; train a factor and run `auxar evaluate {run.name}`"
        )
    notes = _notes(run, evaluation)
    if file.parent != run.path:
        notes.append(f"evaluated in {file}")
    return EvaluatedRun(Path(run.name), evaluation, views, _image_nats(run, file, evaluation), notes)


def _evaluation(run: RunFolder, file: Path) -> Evaluation:
    try:
        return read_record(file, Evaluation)
    except DamagedFile as error:
        raise _not_of_one(run, str(error)) from None


def _views(run: RunFolder) -> list[Any]:
    """The `view` entry of each stage as it is written in the recipe, the finest stage first."""
    try:
        return [stage["view"] for stage in written_stages(toml_text(read_bytes(run.recipe, MOST_BYTES)))]
    except ValueError as error:
        raise UserError(f"{run.recipe} is damaged: expected a recipe in TOML: {one_line(str(error))}") from None
    except (TypeError, KeyError, AttributeError):
        raise UserError(
            f"{run.recipe} is damaged: each [[stage]] must be a table with a view, and `repeat` an integer"
        ) from None


def _image_nats(run: RunFolder, file: Path, evaluation: Evaluation) -> ImageNats | None:
    """Reads the log-likelihoods of single held-out images; None if there is no file of them beside the evaluation.

    Raises `UserError` if the file does not match `evaluation`.
    """
    path = file.with_suffix(".safetensors")
    if not is_file(path):
        return None
    expected = {factor.factor: factor.heldout for factor in evaluation.factors if factor.heldout}
    strange = _not_of_one(run, f"{path} and {file.name} come from different evaluations")

    def check(shapes: Shapes, metadata: Mapping[str, str]) -> None:
        images = evaluation.images["heldout"]
        fits = (
            shapes.get("heldout.nats") == (len(expected), images)
            and shapes.get("heldout.indices") == (images,)
            and sum(map(math.prod, shapes.values())) <= MOST_VALUES
            and metadata.get("heldout") == evaluation.data.heldout_fingerprint
            and _names(metadata) == list(expected)
        )
        if not fits:
            raise strange

    tensors, _ = read_tensors(path, check)
    rows, indices = tensors["heldout.nats"], tensors["heldout.indices"]
    if (rows.dtype, indices.dtype) != (torch.float64, torch.int64):
        raise strange
    means = rows.mean(1).tolist()
    if not all(_is_same(mean, figures.nats) for mean, figures in zip(means, expected.values(), strict=True)):
        raise strange
    return ImageNats(dict(zip(expected, rows, strict=True)), indices)


def _names(metadata: Mapping[str, str]) -> Any:
    """The factor names in the metadata of a file of log-likelihoods; None if they are missing or not JSON."""
    try:
        return parse_json(metadata["factors"])
    except (KeyError, ValueError):
        return None


def _is_same(mean: float, other: float) -> bool:
    """Whether two means are equal up to rounding. Two NaNs, from a model that has diverged, count as equal."""
    return math.isclose(mean, other, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(mean) and math.isnan(other))


def _not_of_one(run: RunFolder, what: str) -> UserError:
    """The error for files that are damaged or do not belong together."""
    return UserError(f"{what}; run `auxar evaluate {run.name}` to write a new evaluation")


def _notes(run: RunFolder, evaluation: Evaluation) -> list[str]:
    """Notes on factors that are not trained, were trained after the evaluation, or were trained on other images."""
    notes = []
    missing = [number for number, factor in enumerate(evaluation.factors) if factor.heldout is None]
    # The names are made here, since those in `evaluation.json` are untrusted and must not become part of a path.
    names = [*(f"stage{number}" for number in range(len(evaluation.factors) - 1)), "prior"]
    since = [names[number] for number in missing if is_file(run.weights(names[number]))]
    if since:
        notes.append(f"trained after the evaluation: {', '.join(since)}; `auxar evaluate {run.name}` includes them")
    elif missing:
        notes.append(
            f"no total, because these factors are not trained yet: {', '.join(names[number] for number in missing)}"
        )
    others = [
        factor.factor
        for factor in evaluation.factors
        if factor.trained_on is not None and factor.trained_on != evaluation.data.fingerprint
    ]
    if others:
        notes.append(
            "these factors were trained on other images than the training set of the evaluation, perhaps on held-out "
            f"images: {', '.join(others)}"
        )
    return notes
