"""The summary of a run, which `auxar run` prints at its end: its bits/dim and its files."""

import html
from typing import Any

import attrs

from auxar.errors import UserError
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import Exactness
from auxar.evaluation.figures import Mean
from auxar.evaluation.stored import is_of_others, other_evaluations, read_evaluation
from auxar.files import is_file
from auxar.report import words
from auxar.runs.layout import RunFolder


@attrs.frozen
class FactorSummary:
    """The held-out bits/dim of one factor. They are None if the factor is not trained or was not evaluated."""

    factor: str
    """Name of the factor, `stage0` … or `prior`."""
    steps: int
    """Number of training steps of the weights; 0 if the factor is not trained."""
    bits_per_dim: float | None
    """Bits for each sub-pixel of the image that this factor describes."""
    standard_error: float | None
    """Standard error of `bits_per_dim`."""


@attrs.frozen
class ArithmeticSummary:
    """The bits/dim of the model in another arithmetic than floating point."""

    arithmetic: str
    """Name of the arithmetic, such as `integer`."""
    bits_per_dim: float | None
    """Held-out bits/dim of the whole model."""
    cost: float | None
    """Difference in bits/dim from floating point on the same held-out images; None if none were evaluated."""
    cost_error: float | None
    """Standard error of `cost`."""


@attrs.frozen
class RunSummary:
    """The result of `auxar run`. Paths of parts that the run does not have are None."""

    run: str
    """The run's folder."""
    bits_per_dim: float | None
    """Held-out bits/dim of the whole model; None if a factor is not trained or no held-out images were evaluated."""
    standard_error: float | None
    """Standard error of `bits_per_dim`."""
    kind: Exactness
    """Whether `bits_per_dim` is `exact` or an upper `bound`."""
    condition: str | None
    """Kind of the condition that images were given in the evaluation; None if the model has none."""
    heldout_images: int
    """Number of held-out images that were evaluated."""
    factors: list[FactorSummary]
    """The factors, from the image to the prior of its coarsest view."""
    evaluation: str
    """The file of the evaluation, which `auxar evaluate --json` prints."""
    report: str
    """The file of the report."""
    samples: str | None
    """The folder of the samples."""
    figures: str | None
    """The folder of the figures."""
    others: list[ArithmeticSummary]
    """The model's bits/dim in other arithmetics than floating point."""


@attrs.frozen
class MeasuredRun(RunFolder):
    """A run's folder and its held-out bits/dim. In a notebook, it shows its summary.

    Examples:
        >>> import auxar
        >>> run = auxar.evaluate("runs/quickstart", settings=["evaluation.heldout_images=4"])
        >>> run.bits_per_dim > run.standard_error > 0, run.summary.heldout_images
        (True, 4)
        >>> [(factor["factor"], factor["steps"]) for factor in run.to_dict()["factors"]]
        [('stage0', 1), ('stage1', 1), ('prior', 1)]
    """

    only_trained: bool = False
    """Whether `auxar.run` has only trained factors. Then there may be no evaluation."""

    @property
    def summary(self) -> RunSummary:
        """The figures of the run, as its files have them now.

        Raises `UserError` if they cannot be read, or are those of other weights.
        """
        if is_of_others(evaluation := read_evaluation(self.evaluation), self):
            raise UserError(f"{self.evaluation} is an evaluation of other weights; run `auxar evaluate {self.path}`")
        bits = evaluation.bits_per_dim()
        factors = [(each, evaluation.bits_per_dim("heldout", each.factor)) for each in evaluation.factors]
        return RunSummary(
            str(self.path),
            bits.value,
            bits.error,
            evaluation.kind,
            evaluation.condition,
            evaluation.images.get("heldout", 0),
            [FactorSummary(each.factor, each.steps, own.value, own.error) for each, own in factors],
            str(self.evaluation),
            str(self.report),
            str(self.samples) if is_file(self.samples / "samples.json") else None,
            str(self.figures) if is_file(self.figures / "figures.json") else None,
            [_in_arithmetic(other, evaluation) for other in other_evaluations(self.path, evaluation)],
        )

    @property
    def bits_per_dim(self) -> float | None:
        """Held-out bits/dim of the whole model; None if a factor is not trained or no images were evaluated."""
        return self.summary.bits_per_dim

    @property
    def standard_error(self) -> float | None:
        """Standard error of `bits_per_dim` over the images."""
        return self.summary.standard_error

    def to_dict(self) -> dict[str, Any]:
        """The figures as plain values, as `auxar run --json` prints them."""
        return attrs.asdict(self.summary)

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(chr(10).join(summary_lines(self.summary)))}</pre>"


def _in_arithmetic(other: Evaluation, floats: Evaluation) -> ArithmeticSummary:
    bits, cost = other.bits_per_dim(), other.cost(floats)
    return ArithmeticSummary(other.arithmetic, bits.value, cost.value, cost.error)


def summary_lines(summary: RunSummary) -> list[str]:
    """Returns a summary as lines."""
    facts = [("run", summary.run), ("bits/dim", _bits(summary))]
    for other in summary.others:
        cost = Mean(other.cost, other.cost_error)
        facts.append(("", words.in_arithmetic(other.arithmetic, other.bits_per_dim, cost)))
    facts.append(("report", summary.report))
    for name, folder in (("samples", summary.samples), ("figures", summary.figures)):
        if folder is not None:
            facts.append((name, folder))
    return [f"{name:<10}{value}" for name, value in facts]


def _bits(summary: RunSummary) -> str:
    if summary.bits_per_dim is not None:
        figure = words.measured(Mean(summary.bits_per_dim, summary.standard_error))
        images = words.plural(summary.heldout_images, "held-out image")
        return f"{figure} on {images} ({words.kind(summary.kind, summary.condition)})"
    missing = [factor.factor for factor in summary.factors if not factor.steps]
    if missing:
        return f"no total, because these factors are not trained yet: {', '.join(missing)}"
    return "no held-out images were evaluated"
