"""An evaluated run, read from its folder to be compared: its figures and its held-out images' log-likelihoods.

Neither images nor plugins are loaded. A run may come from a stranger, so every file is checked against the others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError, did_you_mean, one_line
from auxar.evaluation.likelihoods import image_nats_path
from auxar.evaluation.records import Evaluation
from auxar.files import DamagedFile, Shapes, parse_json, read_bytes, read_tensors
from auxar.interfaces import ImageSpec
from auxar.recipe.loading import MOST_BYTES
from auxar.recipe.stages import written_stages
from auxar.runs.layout import RunFolder, check_contents
from auxar.runs.records import read_record

MOST_VALUES = 2**27
"""Numbers in a file of log-likelihoods: a gigabyte."""


@attrs.frozen(eq=False)
class ImageNats:
    """The content of `evaluation.safetensors` on held-out images."""

    factors: dict[str, Tensor]
    """nats of each image by trained factor: float64, (images,)."""
    indices: Tensor
    """The images' numbers: int64, (images,)."""


@attrs.frozen(eq=False)
class EvaluatedRun:
    """A run with its evaluation and the facts that decide how it can be compared with another."""

    path: Path
    evaluation: Evaluation
    views: list[Any]
    """The view of each stage as the recipe writes it, from the image down."""
    image_nats: ImageNats | None
    """Log-likelihoods of single images, if the folder has them."""
    notes: list[str]
    """Sentences that a reader of the figures needs."""

    @property
    def image(self) -> ImageSpec:
        return self.evaluation.factors[0].image

    @property
    def total(self) -> Tensor | None:
        """Nats of each held-out image, (images,), if all factors are trained."""
        if self.image_nats is None or len(self.image_nats.factors) < len(self.evaluation.factors):
            return None
        return torch.stack(list(self.image_nats.factors.values())).sum(0)

    def key(self, number: int) -> tuple[bool, list[Any]]:
        """Equal for factors of two runs that are the same term of their models: they see the same views."""
        return self.evaluation.factors[number].view is None, self.views[: number + 1]

    def place(self, key: tuple[bool, list[Any]]) -> int | None:
        """The number of its factor with that key."""
        return next((number for number in range(len(self.evaluation.factors)) if self.key(number) == key), None)


def read_evaluated_run(path: Path) -> EvaluatedRun:
    """The run in a folder.

    Raises `UserError`, naming the run and what to do, for a folder that is no run, for a run that is not evaluated on
    held-out images, and for files that are not what an evaluation writes.
    """
    run = RunFolder(path)
    if not run.recipe.is_file():
        raise UserError(f"{path} is not a run's folder: it has no recipe.toml{_nearest(path)}")
    check_contents(path)
    if not run.evaluation.is_file():
        raise UserError(f"{path} is not evaluated: it has no evaluation.json; `auxar evaluate {path}` writes it")
    evaluation = _evaluation(run)
    views = _views(run)
    if len(evaluation.factors) != len(views) + 1:
        raise _not_of_one(run, f"{run.evaluation} does not belong to this run's recipe")
    if evaluation.images.get("heldout", 0) < 1 or not any(factor.heldout for factor in evaluation.factors):
        raise UserError(f"{path} is not evaluated on held-out images; `auxar evaluate {path}` does it")
    return EvaluatedRun(path, evaluation, views, _image_nats(run, evaluation), _notes(run, evaluation))


def _nearest(path: Path) -> str:
    """A hint: runs of a name like this beside it, or runs in it."""

    def runs(folder: Path) -> list[str]:
        return [found.parent.name for found in folder.glob("*/recipe.toml")]

    if path.is_dir() and (inside := runs(path)):
        return f"; the runs in it are {', '.join(sorted(inside))}"
    beside = runs(path.parent)
    return did_you_mean(path.name, beside) if beside else "; `auxar run RECIPE` makes one"


def _evaluation(run: RunFolder) -> Evaluation:
    try:
        return read_record(run.evaluation, Evaluation)
    except DamagedFile as error:
        raise _not_of_one(run, str(error)) from None


def _views(run: RunFolder) -> list[Any]:
    """The view of each stage as the recipe writes it, from the image down."""
    try:
        return [stage["view"] for stage in written_stages(read_bytes(run.recipe, MOST_BYTES).decode())]
    except ValueError as error:
        raise UserError(f"{run.recipe} is damaged: {one_line(str(error))}") from None
    except (TypeError, KeyError, AttributeError):
        raise UserError(f"{run.recipe} is damaged: its stages are not tables that have a view each") from None


def _image_nats(run: RunFolder, evaluation: Evaluation) -> ImageNats | None:
    """None where there is no file of them. Raises `UserError` for one of another evaluation."""
    path = image_nats_path(run)
    if not path.is_file():
        return None
    expected = {factor.factor: factor.heldout for factor in evaluation.factors if factor.heldout}
    strange = _not_of_one(run, f"{path} and {run.evaluation.name} are not of one evaluation")

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
    """The factors that a file of log-likelihoods names; None if it does not."""
    try:
        return parse_json(metadata["factors"])
    except (KeyError, ValueError):
        return None


def _is_same(mean: float, other: float) -> bool:
    """Whether two means are of the same numbers, those of a model that has diverged too."""
    return math.isclose(mean, other, rel_tol=1e-9, abs_tol=1e-9) or (math.isnan(mean) and math.isnan(other))


def _not_of_one(run: RunFolder, what: str) -> UserError:
    return UserError(f"{what}; `auxar evaluate {run.path}` writes it anew")


def _notes(run: RunFolder, evaluation: Evaluation) -> list[str]:
    notes = []
    missing = [number for number, factor in enumerate(evaluation.factors) if factor.heldout is None]
    # By the recipe's names: those in the evaluation may be any text, and lead anywhere.
    names = [*(f"stage{number}" for number in range(len(evaluation.factors) - 1)), "prior"]
    since = [names[number] for number in missing if run.weights(names[number]).is_file()]
    if since:
        notes.append(f"trained after the evaluation: {', '.join(since)}; `auxar evaluate {run.path}` takes them in")
    elif missing:
        notes.append(f"no total, not trained yet: {', '.join(names[number] for number in missing)}")
    others = [
        factor.factor
        for factor in evaluation.factors
        if factor.trained_on is not None and factor.trained_on != evaluation.data.fingerprint
    ]
    if others:
        notes.append(
            f"trained on other images than it was evaluated beside, some of which may not be held out: "
            f"{', '.join(others)}"
        )
    return notes
