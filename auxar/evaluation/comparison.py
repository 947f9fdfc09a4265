"""Comparing the bits/dim of runs with those of the first run, image by image if the images are the same.

The standard error of one run's bits/dim comes mostly from the differences between images, which are the same for two
runs on the same images. The standard error of the image-by-image differences is usually much smaller, and shows whether
one run is better.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import attrs

from auxar.errors import UserError
from auxar.evaluation.evaluated_run import EvaluatedRun, Setting, by_setting, read_evaluated_run
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import Exactness, FactorFacts
from auxar.evaluation.figures import Figures, bits
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


@attrs.frozen(eq=False)
class ComparedFactor:
    """One factor of a run, and its difference from the same factor of the first run."""

    facts: FactorFacts
    """Facts of the factor, such as its name, image, view, support, `kind`, and number of parameters and steps."""
    heldout: Figures
    """Held-out figures, which are unknown if the factor is not trained."""
    margin: Margin | None
    """Difference in this factor's bits/dim from the first run. None if there is none, for example because the first run
    has no factor with the same views."""
    cumulative_kind: Exactness
    """Whether the figures of this factor and all coarser ones together are exact."""


@attrs.frozen(eq=False)
class ComparedRun:
    """The evaluation of one run, and its difference from the first run."""

    run: str
    """The run's folder."""
    evaluation: Evaluation
    """The log-likelihoods of images, with all facts and figures that follow from them."""
    margin: Margin | None = attrs.field(repr=False)
    """Difference in the model's bits/dim from the first run. None for the first run, and if no difference can be given;
    then `notes` of this run or of the first say why."""
    factors: list[ComparedFactor] = attrs.field(repr=False)
    """The factors, from the image to the prior of its coarsest view."""
    notes: list[str] = attrs.field(repr=False)
    """Notes to print below the figures, such as why a difference is missing or unpaired."""
    seconds: float | None = attrs.field(repr=False)
    """Training time of all factors together, in seconds. None if the metrics of a factor are missing."""
    multiply_adds: float | None = attrs.field(repr=False)
    """Approximate number of multiply-adds of the training of all factors. None if it is unknown for a factor."""

    @property
    def heldout(self) -> Figures:
        """Held-out figures of the whole model, which are unknown if a factor is not trained."""
        return self.evaluation.figures("heldout")

    @property
    def bits_per_dim(self) -> float | None:
        """Held-out bits/dim of the model; None if a factor is not trained."""
        return self.heldout.bits_per_dim.value

    @property
    def standard_error(self) -> float | None:
        """Standard error of `bits_per_dim`."""
        return self.heldout.bits_per_dim.error

    @property
    def images(self) -> int:
        """Number of held-out images."""
        return self.evaluation.images["heldout"]

    @property
    def parameters(self) -> int:
        """Number of parameters of all factors."""
        return sum(factor.parameters for factor in self.evaluation.factors)

    @property
    def steps(self) -> str:
        """Training steps of the factors as text: one number, or a range if they differ."""
        fewest, most = (of(factor.steps for factor in self.evaluation.factors) for of in (min, max))
        return f"{most:,}" if fewest == most else f"{fewest:,}–{most:,}"

    def factor_of(self, image: ImageSpec) -> ComparedFactor | None:
        """The finest factor with this `image`; None if there is none or it has no held-out figures."""
        found = next((factor for factor in self.factors if factor.facts.image == image), None)
        return found if found and found.heldout.own is not None else None

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as `auxar evaluate --json` prints it, with the differences."""
        found = self.evaluation.to_dict()
        margins = [factor.margin and attrs.asdict(factor.margin) for factor in self.factors]
        factors = [own | {"margin": margin} for own, margin in zip(found["factors"], margins, strict=True)]
        margin = self.margin and attrs.asdict(self.margin)
        cost = {"seconds": self.seconds, "multiply_adds": self.multiply_adds}
        return {"run": self.run, **found, "factors": factors, "margin": margin, "notes": self.notes, **cost}


@attrs.frozen(eq=False)
class Comparison:
    """The result of `auxar.compare`: runs with the same shape and levels of images, each compared with the first."""

    image: ImageSpec = attrs.field(repr=False)
    """Shape and range of the images."""
    runs: list[ComparedRun]
    """The runs in the given order. Each has `bits_per_dim`, `standard_error`, `factors`, its `evaluation`, and
    `margin`, its difference from the first run."""
    settings: list[Setting] = attrs.field(repr=False)
    """The settings in which the runs differ. Each has its `values`, `runs` and `seeds`, and the mean over seeds,
    `bits_per_dim`, with its `deviation` and `kind`."""

    def to_dict(self) -> dict[str, Any]:
        """The comparison as plain values, as `auxar compare --json` prints it."""
        return {
            "image": attrs.asdict(self.image),
            "runs": [run.to_dict() for run in self.runs],
            "settings": [attrs.asdict(setting) for setting in self.settings],
        }

    @property
    def resolutions(self) -> list[ImageSpec]:
        """Descriptions of all images and views that occur in any of the runs, the coarsest first."""
        found = {factor.image for run in self.runs for factor in run.evaluation.factors}
        return sorted(found, key=lambda image: (image.dims, image.shape, image.levels))


def compare_runs(paths: Sequence[Path], arithmetic: str = FLOAT) -> Comparison:
    """Compares evaluated runs with the first of them, by their evaluations in an arithmetic.

    A run that was evaluated on other held-out images of the same data is compared by its means (unpaired), and a run on
    other data gets no difference; its notes say so. Raises `UserError` if a folder is not a run's folder, if a run is
    not evaluated on held-out images, if the images of two runs differ in shape or levels (except the size of random
    crops of the same images), or if a file is damaged. The message names the run and suggests a remedy.
    """
    runs = [read_evaluated_run(path, arithmetic) for path in paths]
    first = runs[0]
    for run in runs[1:]:
        own, expected = run.evaluation.image, first.evaluation.image
        # Images that keep their own sizes are evaluated whole, whatever the size of the crops in training.
        digest = run.evaluation.data.heldout_digest
        are_equal = digest is not None and digest == first.evaluation.data.heldout_digest
        if own != (attrs.evolve(expected, height=own.height, width=own.width) if are_equal else expected):
            raise UserError(
                f"{run.path} models images of {own}, and {first.path} models images of {expected}, so their bits/dim "
                "cannot be compared; compare runs with the same [image]"
            )
    return Comparison(first.evaluation.image, [_compared(run, first) for run in runs], by_setting(runs))


def _compared(run: EvaluatedRun, first: EvaluatedRun) -> ComparedRun:
    own = run.evaluation
    pairing, note = ("none", None) if run is first else _pairing(run, first)
    whole = _margin(run, first, pairing)
    others = [first.factor_at(run.key(number)) for number in range(len(own.factors))]
    margins = [
        None if other is None else _margin(run, first, pairing, each.factor, other.factor)
        for each, other in zip(own.factors, others, strict=True)
    ]
    factors = [
        ComparedFactor(facts, own.figures("heldout", facts.factor), margin, kind)
        for facts, margin, kind in zip(own.factors, margins, own.cumulative_kinds, strict=True)
    ]
    notes = [*run.notes, *([] if note is None else [note])]
    notes += _kind_notes(run, first, whole, zip(own.factors, others, margins, strict=True))
    return ComparedRun(str(run.path), own, whole, factors, notes, run.seconds, run.multiply_adds)


def _kind_notes(
    run: EvaluatedRun,
    first: EvaluatedRun,
    total: Margin | None,
    factors: Iterable[tuple[FactorFacts, FactorFacts | None, Margin | None]],
) -> Iterator[str]:
    """Notes that name the differences between an exact figure and a bound."""
    pairs = [("total", run.evaluation.kind, first.evaluation.kind)] if total else []
    pairs += [(own.factor, own.kind, other.kind) for own, other, margin in factors if other and margin]
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
    count, expected = (each.evaluation.images["heldout"] for each in (run, first))
    # The digest decides, because fingerprints of equal images differ if the images have conditions in one of the runs,
    # and the fingerprint of a stream does not depend on the content of its files. But digests of different numbers of
    # images always differ.
    if count == expected and data.heldout_digest == other.heldout_digest:
        return "paired", None
    if count != expected and data.heldout_fingerprint == other.heldout_fingerprint:
        return "unpaired", (
            f"not compared image by image, because this run was evaluated on {count:,} held-out images, and "
            f"{first.path} on {expected:,}; `auxar evaluate {run.path} --set evaluation.heldout_images={expected}` "
            "evaluates the same images"
        )
    if data.path == other.path:
        return "unpaired", (
            f"not compared image by image, because this run and {first.path} were evaluated on different held-out "
            f"images of {data.path}; the difference is partly due to the images"
        )
    return "none", (
        f"no difference is given, because this run was evaluated on images of {data.path}, and the first run on "
        f"images of {other.path}"
    )


def _margin(
    run: EvaluatedRun, first: EvaluatedRun, pairing: Pairing, factor: str | None = None, other: str | None = None
) -> Margin | None:
    """The difference of two runs or, with their names, of two factors with the same image."""
    own, expected = run.evaluation.figures("heldout", factor), first.evaluation.figures("heldout", other)
    images, found = None, own.bits_per_dim - expected.bits_per_dim
    if pairing == "paired" and own.own is not None and expected.own is not None:
        images, found = len(own.own), bits(own.own - expected.own, own.dims)
    return None if pairing == "none" or found.value is None else Margin(found.value, found.error, images)
