"""Runs side by side: their bits/dim, and how far each is from the first, image by image where the images are the same.

The standard error of one run's bits/dim is mostly how much images differ from each other, which two runs on the same
images share. That of their difference on each image is what tells whether one is better.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import attrs
import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.evaluation.evaluated_run import EvaluatedRun, read_evaluated_run
from auxar.evaluation.records import DataFacts, Exactness, Figures, SupportName
from auxar.interfaces import ImageSpec

Pairing = Literal["paired", "unpaired", "none"]


@attrs.frozen
class Margin:
    """bits/dim of a run less those of the first, mean over held-out images: the lower, the better."""

    bits_per_dim: float
    standard_error: float | None
    """Standard error of the mean difference over single images, or of the difference of two means if unpaired."""
    images: int | None
    """Number of images that both were evaluated on; None for an unpaired difference."""


@attrs.frozen
class ComparedFactor:
    """A factor of a run, beside the same factor of the first run if that has it."""

    factor: str
    image: ImageSpec
    view: ImageSpec | None
    heldout: Figures | None
    """The held-out figures of `evaluation.json`; None if the factor is not trained."""
    margin: Margin | None
    """Difference in the factor's own bits/dim; None where the first run has no factor of the same views."""
    parameters: int
    steps: int
    weights: str | None
    support: SupportName | None
    kind: Exactness
    """Whether the factor's own figures are exact; `cumulative_kind` says so of it with all coarser factors."""
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
    """Sentences that a reader of the figures needs."""
    wasted_bits_per_dim: float | None
    """The held-out value of `wasted_bits_per_dim` in `evaluation.json`."""
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
    runs = [read_evaluated_run(path) for path in paths]
    first = runs[0]
    for run in runs[1:]:
        if run.image != first.image:
            raise UserError(
                f"{run.path} is a model of images {run.image}, and {first.path} of images {first.image}: their "
                "bits/dim say nothing about each other; compare runs whose recipes have the same [image]"
            )
    return Comparison(first.image, [_compared(run, first) for run in runs])


def _compared(run: EvaluatedRun, first: EvaluatedRun) -> ComparedRun:
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


def _kind_notes(
    run: EvaluatedRun, first: EvaluatedRun, total: Margin | None, margins: Sequence[Margin | None]
) -> Iterator[str]:
    """Notes on every difference between an exact figure and a bound."""
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


def _pairing(run: EvaluatedRun, first: EvaluatedRun) -> tuple[Pairing, str | None]:
    """How two runs can be subtracted, and what has to be said if they cannot be on the same images."""
    data, other = run.evaluation.data, first.evaluation.data
    if run.image_nats is None or first.image_nats is None:
        lacking = run if run.image_nats is None else first
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
    indices, expected = run.image_nats.indices, first.image_nats.indices
    if not torch.equal(indices, expected):
        return "unpaired", (
            f"not paired, evaluated on {len(indices):,} held-out images and {first.path} on {len(expected):,}: "
            f"`auxar evaluate {run.path} --set evaluation.heldout_images={len(expected)}` makes them the same"
        )
    return "paired", None


def _total_margin(run: EvaluatedRun, first: EvaluatedRun, pairing: Pairing) -> Margin | None:
    if pairing == "paired" and run.total is not None and first.total is not None:
        return _paired(run.total, first.total, run.image)
    own, its = run.evaluation, first.evaluation
    bits, others = own.bits_per_dim.get("heldout"), its.bits_per_dim.get("heldout")
    if pairing == "none" or bits is None or others is None:
        return None
    return _unpaired(bits - others, own.standard_error.get("heldout"), its.standard_error.get("heldout"))


def _factor_margin(run: EvaluatedRun, first: EvaluatedRun, number: int, pairing: Pairing) -> Margin | None:
    place = first.place(run.key(number))
    if pairing == "none" or place is None:
        return None
    own, its = run.evaluation.factors[number], first.evaluation.factors[place]
    if own.heldout is None or its.heldout is None:
        return None
    if pairing == "paired" and run.image_nats is not None and first.image_nats is not None:
        return _paired(run.image_nats.factors[own.factor], first.image_nats.factors[its.factor], own.image)
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
