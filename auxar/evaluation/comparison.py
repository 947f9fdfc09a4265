"""Comparing the bits/dim of runs with those of the first run, image by image if the images are the same.

The standard error of one run's bits/dim comes mostly from the differences between images, which are the same for two
runs on the same images. The standard error of the image-by-image differences is usually much smaller, and shows whether
one run is better.
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
from auxar.model import FLOAT, ImageSpec

Pairing = Literal["paired", "unpaired", "none"]
"""The way to subtract two runs: image by image (`paired`), as two means (`unpaired`), or not at all (`none`)."""


@attrs.frozen
class Margin:
    """The bits/dim of a run minus those of the first run, as a mean over held-out images: the lower, the better."""

    bits_per_dim: float
    """The difference in bits/dim."""
    standard_error: float | None
    """Standard error of the mean image-by-image difference or, if unpaired, of the difference of two means. None if it
    is unknown, as for a single image."""
    images: int | None
    """Number of images that both runs were evaluated on; None for an unpaired difference."""


@attrs.frozen
class ComparedFactor:
    """The figures of one factor of a run, and its difference from the same factor of the first run."""

    factor: str
    """Name of the factor, `stage0` … or `prior`."""
    image: ImageSpec
    """Description of the images that the factor gives a likelihood to."""
    view: ImageSpec | None
    """Description of the view that is given; None for the prior."""
    heldout: Figures | None
    """The held-out figures of `evaluation.json`; None if the factor is not trained."""
    margin: Margin | None
    """Difference in this factor's bits/dim from the first run. None if there is none, for example because the first run
    has no factor with the same views."""
    parameters: int
    """Number of parameters."""
    steps: int
    """Number of training steps."""
    weights: str | None
    """Kind of weights that were evaluated: `ema`, `last` or `own`. None if the factor is not trained."""
    support: SupportName | None
    """Support of the decoder; None for the prior."""
    kind: Exactness
    """Whether this factor's figures are exact."""
    cumulative_kind: Exactness
    """Whether the figures of this factor and all coarser ones together are exact."""

    def __str__(self) -> str:
        return f"p({self.image.size})" if self.view is None else f"p({self.image.size} | {self.view.size})"


@attrs.frozen
class ComparedRun:
    """The held-out figures of one run, and their difference from the first run."""

    run: str
    """The run's folder."""
    bits_per_dim: float | None
    """Held-out bits/dim of the model; None if a factor is not trained."""
    standard_error: float | None
    """Standard error of `bits_per_dim`."""
    margin: Margin | None
    """Difference in the model's bits/dim from the first run. None for the first run, and if no difference can be given;
    then `notes` of this run or of the first say why."""
    kind: Exactness
    """Whether the model's figures are exact."""
    images: int
    """Number of held-out images."""
    weights: str
    """Kind of weights that were evaluated: `ema`, `last`, `own` or `mixed`."""
    parameters: int
    """Number of parameters of all factors."""
    data: DataFacts
    """The source of the images."""
    factors: list[ComparedFactor]
    """The factors, from the image to the prior of its coarsest view."""
    notes: list[str]
    """Notes to print below the figures, such as why a difference is missing or unpaired."""
    wasted_bits_per_dim: float | None
    """The part of `bits_per_dim` that free decoders spend on values that their views rule out; None if unknown."""
    wasted_standard_error: float | None
    """Standard error of `wasted_bits_per_dim`."""

    @property
    def steps(self) -> str:
        """Training steps of the factors as text: one number, or a range if they differ."""
        fewest, most = (of(factor.steps for factor in self.factors) for of in (min, max))
        return f"{most:,}" if fewest == most else f"{fewest:,}–{most:,}"

    def factor_of(self, image: ImageSpec) -> ComparedFactor | None:
        """The finest factor with this `image`; None if there is none or it has no held-out figures."""
        found = next((factor for factor in self.factors if factor.image == image), None)
        return found if found and found.heldout else None


@attrs.frozen
class Comparison:
    """The result of `auxar.compare`: runs with the same shape and levels of images, each compared with the first."""

    image: ImageSpec
    """Shape and range of the images."""
    runs: list[ComparedRun]
    """The runs in the given order. Each has `bits_per_dim`, `standard_error`, `kind`, `factors` and `margin`, its
    difference from the first run."""

    @property
    def resolutions(self) -> list[ImageSpec]:
        """Descriptions of all images and views that occur in any of the runs, the coarsest first."""
        found = {factor.image for run in self.runs for factor in run.factors}
        return sorted(found, key=lambda image: (image.dims, image.shape, image.levels))

    def resolution_name(self, image: ImageSpec) -> str:
        """A name such as `8×8`, as in the paper's table 2.

        Channels, and then levels, are added if another of the `resolutions` would have the same name.
        """
        others = self.resolutions
        if sum((other.height, other.width) == (image.height, image.width) for other in others) == 1:
            return f"{image.height}×{image.width}"
        alike = sum(other.shape == image.shape for other in others)
        return image.size if alike == 1 else f"{image.size} ({image.levels} levels)"


def compare_runs(paths: Sequence[Path], arithmetic: str = FLOAT) -> Comparison:
    """Compares evaluated runs with the first of them, by their evaluations in an arithmetic.

    A run that was evaluated on other held-out images of the same data is compared by its means (unpaired), and a run on
    other data gets no difference; its notes say so. Raises `UserError` if a folder is not a run's folder, if a run is
    not evaluated on held-out images, if the images of two runs differ in shape or levels, or if a file is damaged. The
    message names the run and suggests a remedy.
    """
    runs = [read_evaluated_run(path, arithmetic) for path in paths]
    first = runs[0]
    for run in runs[1:]:
        if run.image != first.image:
            raise UserError(
                f"{run.path} models images of {run.image}, and {first.path} models images of {first.image}, so their "
                "bits/dim cannot be compared; compare runs with the same [image]"
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
    """Notes that name the differences between an exact figure and a bound."""
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
                f"the difference is between an exact figure and a bound ({', '.join(names)}): the true bits/dim of "
                f"{bound.path} may be lower than this bound"
            )


def _pairing(run: EvaluatedRun, first: EvaluatedRun) -> tuple[Pairing, str | None]:
    """The way to subtract two runs, and a note that gives the reason if it is not `paired`."""
    data, other = run.evaluation.data, first.evaluation.data
    if run.image_nats is None or first.image_nats is None:
        lacking = run if run.image_nats is None else first
        return "unpaired" if data.path == other.path else "none", (
            f"not compared image by image, because {lacking.path} has no log-likelihoods of single images; "
            f"`auxar evaluate {lacking.path}` writes them"
        )
    same = _same_images(run, first)
    if not same and data.path != other.path:
        return "none", (
            f"no difference is given, because this run was evaluated on images of {data.path}, and the first run on "
            f"images of {other.path}"
        )
    if not same:
        return "unpaired", (
            f"not compared image by image, because this run and {first.path} were evaluated on different held-out "
            f"images of {data.path}; the difference is partly due to the images"
        )
    indices, expected = run.image_nats.indices, first.image_nats.indices
    if not torch.equal(indices, expected):
        return "unpaired", (
            f"not compared image by image, because this run was evaluated on {len(indices):,} held-out images, and "
            f"{first.path} on {len(expected):,}; `auxar evaluate {run.path} --set "
            f"evaluation.heldout_images={len(expected)}` evaluates the same images"
        )
    return "paired", None


def _same_images(run: EvaluatedRun, first: EvaluatedRun) -> bool:
    """Whether two runs were evaluated on the same held-out images, or on different numbers of images of one set."""
    data, other = run.evaluation.data, first.evaluation.data
    counts = {evaluated.evaluation.images["heldout"] for evaluated in (run, first)}
    # The digest decides, because fingerprints of equal images differ if the images have conditions in one of the runs,
    # and the fingerprint of a stream does not depend on the content of its files. But digests of different numbers of
    # images always differ.
    if len(counts) > 1:
        return data.heldout_fingerprint == other.heldout_fingerprint
    return data.heldout_digest == other.heldout_digest


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
    """The margin from the log-likelihoods of the same images under both runs: nats, (images,) each."""
    apart = (first - nats) / (math.log(2) * image.dims)
    count = len(apart)
    return Margin(apart.mean().item(), (apart.std() / math.sqrt(count)).item() if count > 1 else None, count)


def _unpaired(apart: float, error: float | None, first: float | None) -> Margin:
    """The margin of two means over different images. `error` and `first` are the standard errors of the two means."""
    return Margin(apart, None if error is None or first is None else math.hypot(error, first), None)
