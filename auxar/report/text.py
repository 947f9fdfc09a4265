"""Renders tables as text for a terminal of 100 columns. Control characters that come from files are escaped."""

import textwrap
from collections.abc import Iterator, Sequence

from auxar.errors import one_line
from auxar.evaluation.comparison import Comparison
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import SETS
from auxar.model.factor import CONDITION_FACTOR
from auxar.recipe.cost import FactorCost
from auxar.report import words
from auxar.report.comparison_tables import comparison_tables
from auxar.report.evaluation_tables import printed_tables
from auxar.report.tables import Cell, RunName, Table
from auxar.report.training_tables import cost_table

WIDTH = 100
"""Width of the text in characters."""
LONGEST_CELL = 60
"""Longest cell in characters. The middle of a longer text is omitted."""
BETWEEN = "  "
"""Separator of adjacent columns."""


def evaluation_lines(evaluation: Evaluation) -> list[str]:
    """Returns an evaluation as lines: facts about data and weights, followed by the tables."""
    lines = _facts(evaluation)
    for table in printed_tables(evaluation):
        lines += ["", *table_lines(table)]
    missing = next(map(evaluation.missing, evaluation.images), None)
    if missing:
        lines += ["", f"there is no total, because these factors are not trained yet: {', '.join(missing)}"]
    return [one_line(line) for line in lines]


def comparison_lines(comparison: Comparison) -> list[str]:
    """Returns a comparison as lines: the numbered runs, the tables, and notes on single runs."""
    runs = list(enumerate(comparison.runs, start=1))
    lines = [f"{number:<5}{run.run}" for number, run in runs]
    for table in comparison_tables(comparison):
        lines += ["", *table_lines(table)]
    notes = [f"{number}: {note}" for number, run in runs for note in run.notes]
    return [one_line(line) for line in ([*lines, "", *notes] if notes else lines)]


def cost_lines(costs: Sequence[FactorCost], precision: str) -> list[str]:
    """Returns the cost of a recipe as lines: the sizes of the image and its views, and a table of the factors.

    `precision` is the recipe's precision.
    """
    images = [cost for cost in costs if cost.factor != CONDITION_FACTOR]
    chain = [f"depth {depth}: {cost.image}" for depth, cost in enumerate(images)]
    chain += [f"condition: {cost.image}" for cost in costs if cost.factor == CONDITION_FACTOR]
    return [*chain, "", *table_lines(cost_table(costs, precision))]


def table_lines(table: Table) -> list[str]:
    """Returns a table as lines: its title and caption, followed by aligned columns.

    A table that is too wide is split into parts, one below the other. Each part repeats the columns that name the rows,
    and omits rows that are empty in that part.
    """
    table = table.with_runs
    kept = [place for place, column in enumerate(table.columns) if column.on_screen]
    grid = _grid(table, kept)
    left = [table.columns[place].left for place in kept]
    first = next((place for place, aligned in enumerate(left) if not aligned), len(left))
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    lines = textwrap.wrap(f"{table.title}: {table.caption}", WIDTH)
    for part in _parts(widths, first):
        shown = [*range(first), *part]
        for row in grid:
            if any(row[place] for place in part):
                cells = [f"{row[place]:{'<' if left[place] else '>'}{widths[place]}}" for place in shown]
                lines.append(BETWEEN.join(cells).rstrip())
    return lines


def _grid(table: Table, columns: Sequence[int]) -> list[list[str]]:
    """Returns the texts of the cells of some columns by row, headings first."""
    headings = [table.columns[place].screen or table.columns[place].name for place in columns]
    rows = [[_cell(row.cells[place]) for place in columns] for row in table.rows]
    return [[one_line(cell, LONGEST_CELL) for cell in row] for row in (headings, *rows)]


def _parts(widths: Sequence[int], first: int) -> Iterator[list[int]]:
    """Yields groups of the columns after the first `first` columns. Each group fits on a line together with these."""
    taken = sum(width + len(BETWEEN) for width in widths[:first])
    part: list[int] = []
    for place in range(first, len(widths)):
        if part and taken + sum(widths[other] + len(BETWEEN) for other in part) + widths[place] > WIDTH:
            yield part
            part = []
        part.append(place)
    yield part


def _cell(cell: Cell) -> str:
    text, remark = words.cell_parts(cell)
    return text if isinstance(cell, RunName) else f"{text} {remark}".strip()


def _facts(evaluation: Evaluation) -> list[str]:
    data, kind = evaluation.data, words.kind(evaluation.kind, evaluation.condition)
    facts = [("data", data.path)]
    for name, fingerprint in zip(SETS, (data.heldout_fingerprint, data.fingerprint), strict=True):
        count = evaluation.images.get(name)
        of = f", fingerprint {fingerprint}" if fingerprint else ""
        facts.append((words.SETS[name], f"{count:,} images{of}" if count else "not evaluated"))
    if evaluation.condition is not None:
        facts.append(("condition", "; ".join([evaluation.condition, *words.condition(evaluation)])))
    weights = words.weights(evaluation)
    facts.append(("weights", f"{weights.name}, {weights.meaning}"))
    facts.append((words.TOTAL, f"{kind.name}, {kind.formula}: {kind.meaning}"))
    facts += [(factor.factor, text) for factor in evaluation.factors if (text := words.history(factor.history))]
    return [f"{name:<10}{value}" for name, value in facts]
