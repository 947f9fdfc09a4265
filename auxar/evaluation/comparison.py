"""Runs side by side: their bits/dim, and how far each is from the first, image by image where the images are the same.

The standard error of one run's bits/dim is mostly how much images differ from each other, which two runs on the same
images share. That of their difference on each image is what tells whether one is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError, did_you_mean, one_line
from auxar.evaluation.likelihoods import image_nats_path
from auxar.evaluation.records import DataFacts, Evaluation, Exactness, Figures, SupportName
from auxar.files import DamagedFile, Shapes, parse_json, read_bytes, read_tensors
from auxar.interfaces import ImageSpec
from auxar.recipe.loading import MOST_BYTES
from auxar.recipe.schema import MOST_STAGES
from auxar.recipe.toml import parse_toml
from auxar.runs.layout import RunFolder, check_contents
from auxar.runs.records import read_record

Pairing = Literal["paired", "unpaired", "none"]
MOST_VALUES = 2**27
"""Numbers in a file of log-likelihoods: a gigabyte."""


@attrs.frozen
class Margin:
    """bits/dim of a run less those of the first, mean over held-out images: the lower, the better."""

    bits_per_dim: float
    standard_error: float | None
    """Of the mean of the single images' differences; unpaired, of two means over images that are not the same."""
    images: int | None
    """Number of images that both were evaluated on; None for an unpaired difference."""


@attrs.frozen
class ComparedFactor:
    """A factor of a run, beside the same factor of the first run if that has it."""

    factor: str
    image: ImageSpec
    view: ImageSpec | None
    heldout: Figures | None
    """As in `evaluation.json`; None if it is not trained."""
    margin: Margin | None
    """Of the bits/dim of its own size; None where the first run has no factor of the same views."""
    parameters: int
    steps: int
    weights: str | None
    support: SupportName | None
    kind: Exactness
    """Of its own figures; `cumulative_kind` of those with all coarser factors."""
    cumulative_kind: Exactness

    def __str__(self) -> str:
        return f"p({self.image.size})" if self.view is None else f"p({self.image.size} | {self.view.size})"


@attrs.frozen
class ComparedRun:
    """One run's held-out figures beside the first run's."""

    run: str
    bits_per_dim: float | None
    standard_error: float | None
    margin: Margin | None
    """None for the first run, and where there is nothing to subtract: `notes` say why."""
    kind: Exactness
    images: int
    weights: str
    parameters: int
    data: DataFacts
    factors: list[ComparedFactor]
    """From the image down to its coarsest view."""
    notes: list[str]
    """What has to be known to read the figures."""
    wasted_bits_per_dim: float | None
    """As in `evaluation.json`, of the held-out images."""
    wasted_standard_error: float | None

    @property
    def steps(self) -> str:
        """Training steps of its factors: one number, or from the fewest to the most."""
        fewest, most = (of(factor.steps for factor in self.factors) for of in (min, max))
        return f"{most:,}" if fewest == most else f"{fewest:,}–{most:,}"

    def factor_of(self, image: ImageSpec) -> ComparedFactor | None:
        """The factor of the images that `image` describes, the finest of several; None if it has no figures."""
        found = next((factor for factor in self.factors if factor.image == image), None)
        return found if found and found.heldout else None


@attrs.frozen
class Comparison:
    """Runs on images of one size; the first is what the others are compared with."""

    image: ImageSpec
    runs: list[ComparedRun]

    @property
    def resolutions(self) -> list[ImageSpec]:
        """Descriptions of the images and views of any run, the coarsest first."""
        found = {factor.image for run in self.runs for factor in run.factors}
        return sorted(found, key=lambda image: (image.dims, image.shape, image.levels))

    def resolution_name(self, image: ImageSpec) -> str:
        """Height × width, as in the paper's table 2, with channels and levels where that would name two of them."""
        others = self.resolutions
        if sum((other.height, other.width) == (image.height, image.width) for other in others) == 1:
            return f"{image.height}×{image.width}"
        alike = sum(other.shape == image.shape for other in others)
        return image.size if alike == 1 else f"{image.size} ({image.levels} levels)"


def compare_runs(paths: Sequence[Path]) -> Comparison:
    """Compares evaluated runs with the first of them.

    Raises `UserError`, naming the run and what to do, for a folder that is no run, for a run that is not evaluated on
    held-out images, for images of another size, and for files that are not what an evaluation writes. Runs on other
    images of that size are compared unpaired, and their notes say so.
    """
    runs = [_read(path) for path in paths]
    first = runs[0]
    for run in runs[1:]:
        if run.image != first.image:
            raise UserError(
                f"{run.path} is a model of images {run.image}, and {first.path} of images {first.image}: their "
                "bits/dim say nothing about each other; compare runs whose recipes have the same [image]"
            )
    return Comparison(first.image, [_compared(run, first) for run in runs])


@attrs.frozen(eq=False)
class _ImageNats:
    """What `evaluation.safetensors` holds of the held-out images."""

    factors: dict[str, Tensor]
    """nats of each image by trained factor: float64, (images,)."""
    indices: Tensor
    """The images' numbers: int64, (images,)."""


@attrs.frozen(eq=False)
class _Run:
    path: Path
    evaluation: Evaluation
    views: list[Any]
    """What the recipe has for each stage's view, from the image down."""
    kept: _ImageNats | None
    notes: list[str]

    @property
    def image(self) -> ImageSpec:
        return self.evaluation.factors[0].image

    @property
    def total(self) -> Tensor | None:
        """Nats of each held-out image, (images,), if all factors are trained."""
        if self.kept is None or len(self.kept.factors) < len(self.evaluation.factors):
            return None
        return torch.stack(list(self.kept.factors.values())).sum(0)

    def key(self, number: int) -> tuple[bool, list[Any]]:
        """Equal for factors of two runs that are the same term of their models: they see the same views."""
        return self.evaluation.factors[number].view is None, self.views[: number + 1]

    def place(self, key: tuple[bool, list[Any]]) -> int | None:
        """The number of its factor with that key."""
        return next((number for number in range(len(self.evaluation.factors)) if self.key(number) == key), None)


def _compared(run: _Run, first: _Run) -> ComparedRun:
    evaluation = run.evaluation
    pairing, note = ("none", None) if run is first else _pairing(run, first)
    margin = _total_margin(run, first, pairing)
    margins = [_factor_margin(run, first, number, pairing) for number in range(len(evaluation.factors))]
    return ComparedRun(
        str(run.path),
        evaluation.bits_per_dim.get("heldout"),
        evaluation.standard_error.get("heldout"),
        margin,
        evaluation.kind,
        evaluation.images["heldout"],
        evaluation.weights,
        sum(factor.parameters for factor in evaluation.factors),
        evaluation.data,
        [
            ComparedFactor(
                factor.factor,
                factor.image,
                factor.view,
                factor.heldout,
                own,
                factor.parameters,
                factor.steps,
                factor.weights,
                factor.support,
                factor.kind,
                factor.cumulative_kind,
            )
            for factor, own in zip(evaluation.factors, margins, strict=True)
        ],
        [*run.notes, *([] if note is None else [note]), *_kind_notes(run, first, margin, margins)],
        evaluation.wasted_bits_per_dim.get("heldout"),
        evaluation.wasted_standard_error.get("heldout"),
    )


def _kind_notes(run: _Run, first: _Run, total: Margin | None, margins: Sequence[Margin | None]) -> Iterator[str]:
    """What has to be said of differences between an exact figure and a bound."""
    pairs = [("total", run.evaluation.kind, first.evaluation.kind)] if total else []
    for number, margin in enumerate(margins):
        place = first.place(run.key(number))
        if margin is not None and place is not None:
            own = run.evaluation.factors[number]
            pairs.append((own.factor, own.kind, first.evaluation.factors[place].kind))
    for kinds, bound in ((("exact", "bound"), first), (("bound", "exact"), run)):
        names = [name for name, *found in pairs if tuple(found) == kinds]
        if names:
            yield (
                f"a difference of an exact figure and a bound ({', '.join(names)}): the true bits/dim of {bound.path} "
                "may be lower than its bound"
            )


def _pairing(run: _Run, first: _Run) -> tuple[Pairing, str | None]:
    """How two runs can be subtracted, and what has to be said if they cannot be on the same images."""
    data, other = run.evaluation.data, first.evaluation.data
    if run.kept is None or first.kept is None:
        lacking = run if run.kept is None else first
        return "unpaired" if data.path == other.path else "none", (
            f"not paired, {lacking.path} has no log-likelihoods of single images: `auxar evaluate {lacking.path}` "
            "writes them"
        )
    if data.heldout_fingerprint != other.heldout_fingerprint and data.path != other.path:
        return "none", f"no difference, evaluated on images of {data.path} and not of {other.path}"
    if data.heldout_fingerprint != other.heldout_fingerprint:
        return "unpaired", (
            f"not paired, evaluated on other held-out images of {data.path} than {first.path}: the difference is also "
            "one between images"
        )
    if not torch.equal(run.kept.indices, first.kept.indices):
        expected = len(first.kept.indices)
        return "unpaired", (
            f"not paired, evaluated on {len(run.kept.indices):,} held-out images and {first.path} on {expected:,}: "
            f"`auxar evaluate {run.path} --set evaluation.heldout_images={expected}` makes them the same"
        )
    return "paired", None


def _total_margin(run: _Run, first: _Run, pairing: Pairing) -> Margin | None:
    if pairing == "paired" and run.total is not None and first.total is not None:
        return _paired(run.total, first.total, run.image)
    own, its = run.evaluation, first.evaluation
    bits, others = own.bits_per_dim.get("heldout"), its.bits_per_dim.get("heldout")
    if pairing == "none" or bits is None or others is None:
        return None
    return _unpaired(bits - others, own.standard_error.get("heldout"), its.standard_error.get("heldout"))


def _factor_margin(run: _Run, first: _Run, number: int, pairing: Pairing) -> Margin | None:
    place = first.place(run.key(number))
    if pairing == "none" or place is None:
        return None
    own, its = run.evaluation.factors[number], first.evaluation.factors[place]
    if own.heldout is None or its.heldout is None:
        return None
    if pairing == "paired" and run.kept is not None and first.kept is not None:
        return _paired(run.kept.factors[own.factor], first.kept.factors[its.factor], own.image)
    apart = own.heldout.bits_per_dim - its.heldout.bits_per_dim
    return _unpaired(apart, own.heldout.standard_error, its.heldout.standard_error)


def _paired(nats: Tensor, first: Tensor, image: ImageSpec) -> Margin:
    """From the nats of the same images, (images,)."""
    apart = (first - nats) / (math.log(2) * image.dims)
    count = len(apart)
    return Margin(apart.mean().item(), (apart.std() / math.sqrt(count)).item() if count > 1 else None, count)


def _unpaired(apart: float, error: float | None, first: float | None) -> Margin:
    """From the errors of two means over images that are not the same."""
    return Margin(apart, None if error is None or first is None else math.hypot(error, first), None)


# Reading what evaluations wrote


def _read(path: Path) -> _Run:
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
    return _Run(path, evaluation, views, _image_nats(run, evaluation), _notes(run, evaluation))


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
    """What the recipe has for each view, from the image down; of a recipe with too many, one more than there may be."""
    try:
        stages = parse_toml(read_bytes(run.recipe, MOST_BYTES).decode()).get("stage", [])
        return list(islice(_repeated(stages), MOST_STAGES + 1))
    except ValueError as error:
        raise UserError(f"{run.recipe} is damaged: {one_line(str(error))}") from None
    except (TypeError, KeyError, AttributeError):
        raise UserError(f"{run.recipe} is damaged: its stages are not tables that have a view each") from None


def _repeated(stages: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    for stage in stages:
        for _ in range(stage.get("repeat", 1)):
            yield stage["view"]


def _image_nats(run: RunFolder, evaluation: Evaluation) -> _ImageNats | None:
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
    return _ImageNats(dict(zip(expected, rows, strict=True)), indices)


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
