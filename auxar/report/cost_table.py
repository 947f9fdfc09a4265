"""The table of what a recipe would cost, from its records."""

from __future__ import annotations

from collections.abc import Sequence

from auxar.recipe.cost import FactorCost
from auxar.report.evaluation_tables import FACTOR
from auxar.report.tables import Column, Row, Table

CAPTION = (
    "multiply-adds of one image, forward (a training step takes about three times as many for each image); memory for "
    "training one factor with the recipe's batch in one process, float32, besides PyTorch itself"
)


def cost_table(costs: Sequence[FactorCost]) -> Table:
    """A row for each factor, from the image down."""
    columns = (FACTOR, Column("term", left=True), *map(Column, ("parameters", "multiply-adds", "memory")))
    rows = [
        Row(
            (
                cost.factor,
                cost.formula,
                f"{cost.parameters:,}",
                f"{cost.multiply_adds / 1e9:.2f} G",
                f"{cost.memory / 2**30:.2f} GiB",
            )
        )
        for cost in costs
    ]
    return Table("Cost", CAPTION, columns, rows)
