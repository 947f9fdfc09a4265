"""Builds the table of the cost of a recipe from `FactorCost` records."""

from __future__ import annotations

from collections.abc import Sequence

from auxar.recipe.cost import FactorCost
from auxar.report.evaluation_tables import FACTOR
from auxar.report.tables import Column, Row, Table

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
    rows = [
        Row(
            (
                cost.factor,
                cost.formula,
                f"{cost.parameters:,}",
                f"{cost.multiply_adds / 1e9:.2f} G",
                f"{cost.memory / 2**30:.2f} GiB",
                *(() if cost.minutes is None else (f"{cost.steps:,}", f"{cost.minutes:.1f}")),
            )
        )
        for cost in costs
    ]
    return Table("Cost", CAPTION.format(precision=precision, recomputed=recomputed, time=time), columns, rows)
