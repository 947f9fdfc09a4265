"""The content of tables, independent of how the terminal or a page renders them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import attrs

from auxar.evaluation.facts import Exactness
from auxar.evaluation.figures import Mean
from auxar.model.image import term


@attrs.frozen
class Measured:
    """A cell with a mean and its standard error. A missing mean is shown as a dash."""

    value: float | None = None
    error: float | None = None
    kind: Exactness | None = None
    """Whether the value is exact or a bound. None if the cell does not show it, such as beside a column of kinds."""
    digits: int | None = None
    """Decimal places of this cell. None selects the number of decimal places of the table."""
    signed: bool = False
    """Whether a positive value gets a plus sign."""


@attrs.frozen
class Annotated:
    """A cell with a text and a remark. A page shows the remark in smaller type."""

    text: str
    remark: str


@attrs.frozen
class FactorName:
    """A cell that names one of `count` factors. Pages and LaTeX also show its `term`."""

    name: str
    depth: int
    count: int
    condition: str | None = None
    """Kind of the condition that the factor is given; None if it is given none."""

    @property
    def term(self) -> str:
        """The factor's term, such as p(X_0 | X_1, label). The image of a model without views is X."""
        view = f"X_{self.depth + 1}" if self.depth + 1 < self.count else None
        return term("X" if self.count == 1 else f"X_{self.depth}", view, self.condition)


@attrs.frozen
class RunName:
    """A cell that identifies a compared run by its number. A page also shows the run's name."""

    number: int
    name: str


Cell = str | Measured | Annotated | FactorName | RunName


@attrs.frozen
class Column:
    """The heading and the alignment of a column."""

    name: str
    screen: str | None = None
    """The heading in the terminal, which omits the notes that explain `name`. None selects `name`."""
    over: str = ""
    """A group heading. Adjacent columns with the same group heading share one cell above their own headings."""
    left: bool = False
    """Whether the terminal aligns the column to the left. The first columns that are aligned to the left name the row.
    They are repeated in each part of a table that is too wide for one line."""
    on_screen: bool = True
    """Whether the terminal shows the column."""


RUN = Column("run", left=True)


@attrs.frozen
class Row:
    """A row of a table, with one cell for each column. The first cell names the row."""

    cells: Sequence[Cell]
    run: RunName | None = None
    """The run that the row belongs to, in a table with several rows per run."""
    total: bool = False
    """Whether the row is a total of the rows above it."""


@attrs.frozen
class Table:
    """A table with its title, caption and notes."""

    title: str
    caption: str
    """A phrase that describes the numbers, without an initial capital and a final period."""
    columns: Sequence[Column]
    rows: Sequence[Row]
    notes: Sequence[str] = ()
    """Explanatory sentences, which a page shows below the table and the terminal omits."""

    @property
    def with_runs(self) -> Table:
        """The table with a first column that names the runs, if its rows belong to runs."""
        if not any(row.run for row in self.rows):
            return self
        rows = [attrs.evolve(row, cells=(row.run or "", *row.cells)) for row in self.rows]
        return attrs.evolve(self, columns=[RUN, *self.columns], rows=rows)

    @property
    def groups(self) -> list[tuple[str, list[Column]]]:
        """Adjacent columns with the same group heading, after this heading; it is empty for columns without."""
        return [(over, [*columns]) for over, columns in itertools.groupby(self.columns, lambda column: column.over)]


def captioned(tables: Iterable[Table | None], sentence: str) -> list[Table]:
    """The tables that there are, with a sentence, without a final period, that may be empty, in their captions."""
    end = f". {sentence}" if sentence else ""
    return [attrs.evolve(table, caption=table.caption + end) for table in tables if table is not None]


def measured(mean: Mean, **options: Any) -> Measured:
    """The cell of a mean. `options` are further attributes of the cell."""
    return Measured(mean.value, mean.error, **options)
