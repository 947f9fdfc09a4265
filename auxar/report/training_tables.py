"""The tables of training: the cost of a recipe, and the progress of a run, which `auxar run --train-only` prints."""

from collections.abc import Sequence

import attrs

from auxar.recipe import Recipe
from auxar.recipe.cost import FactorCost
from auxar.report import words
from auxar.report.evaluation_tables import FACTOR
from auxar.report.tables import Column, Measured, Row, Table
from auxar.runs.layout import RunFolder
from auxar.runs.metrics import Curve, read_curves
from auxar.runs.weights import read_trained


@attrs.frozen
class FactorProgress:
    """The progress of the training of one factor. Facts that are not known yet are None."""

    factor: str
    """Name of the factor, `stage0` … or `prior`."""
    steps: int
    """The last step that was logged or, for a trained factor, the number of steps of its training."""
    total: int | None
    """Number of steps until the end of the training."""
    trained: bool
    """Whether the factor has weights of a training of `total` steps, or of a user's own training loop."""
    bits_per_dim: float | None
    """Bits/dim at the last logged step: the mean over training images since the step that was logged before."""
    validation_bits_per_dim: float | None
    """Bits/dim on validation images, when they were evaluated last."""
    seconds_left: float | None
    """Time until the end of the training in seconds, if the remaining steps take as long as those before."""


def training_progress(run: RunFolder, recipe: Recipe) -> list[FactorProgress]:
    """Reads the progress of all factors, from the image to the prior of its coarsest view."""
    curves = read_curves(run.path)
    found = []
    for name in recipe.factor_names:
        curve, weights = curves.get(name, Curve({}, 0.0, 0)), read_trained(run, name)
        logged = max(curve.bits_per_dim, default=0)
        total = recipe.training_of(name).steps or curve.total_steps or (weights.total if weights else None)
        # Weights of fewer steps belong to a training that now goes on.
        trained = weights is not None and (weights.total is None or weights.total == total)
        steps = (weights.steps or 0) if weights is not None and trained else logged
        left = None
        if logged and total is not None and not trained:
            left = max(0, total - logged) * curve.seconds / logged
        validation = next(reversed([*curve.validation.values()]), None)
        found.append(FactorProgress(name, steps, total, trained, curve.bits_per_dim.get(logged), validation, left))
    return found


def progress_table(progress: Sequence[FactorProgress]) -> Table:
    """Builds the table with one row for each factor."""
    columns = [FACTOR, *map(Column, ("steps", "of", "time left", "bits/dim"))]
    if any(factor.validation_bits_per_dim is not None for factor in progress):
        columns.append(Column("validation"))
    rows = []
    for factor in progress:
        left = "-" if factor.seconds_left is None else words.duration(factor.seconds_left)
        total = "-" if factor.total is None else f"{factor.total:,}"
        steps = f"{factor.steps:,}", total, "trained" if factor.trained else left
        bits = Measured(factor.bits_per_dim), Measured(factor.validation_bits_per_dim)
        rows.append(Row((factor.factor, *steps, *bits)[: len(columns)]))
    return Table("Training", "steps, and bits/dim of training images at the last logged step", columns, rows)


CAPTION = (
    "multiply-adds of a forward pass for one image (a training step takes about three times as many for each image, or "
    "four times with training.recompute); memory for training one factor in {precision}{recomputed} in one process (a "
    "batch has batch_size / accumulate images), without the memory of PyTorch itself{time}"
)


def cost_table(costs: Sequence[FactorCost], precision: str) -> Table:
    """Builds the table with one row for each factor, in order of increasing depth.

    The caption names `precision`, the recipe's precision, and the factors with `recompute`.
    """
    names = [cost.factor for cost in costs if cost.recompute]
    some = "" if len(names) == len(costs) else f" for {', '.join(names)}"
    recomputed = f" with training.recompute{some}" if names else ""
    minutes = [cost.minutes for cost in costs if cost.minutes is not None]
    time = f"; minutes of all steps as measured here, {sum(minutes):.1f} together" if minutes else ""
    measured = ("steps", "minutes") if minutes else ()
    columns = (FACTOR, Column("term", left=True), *map(Column, ("parameters", "multiply-adds", "memory", *measured)))
    rows = []
    for cost in costs:
        sizes = f"{cost.parameters:,}", f"{cost.multiply_adds / 1e9:.2f} G", f"{cost.memory / 2**30:.2f} GiB"
        taken = () if cost.minutes is None else (f"{cost.steps:,}", f"{cost.minutes:.1f}")
        rows.append(Row((cost.factor, cost.formula, *sizes, *taken)))
    return Table("Cost", CAPTION.format(precision=precision, recomputed=recomputed, time=time), columns, rows)
