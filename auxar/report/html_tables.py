"""Renders tables, numbers with standard errors, and the notation of factors as HTML."""

from __future__ import annotations

from auxar.report import words
from auxar.report.html import Html, join, tag
from auxar.report.tables import Cell, FactorName, Row, RunName, Table

LONGEST_RUN = 16
"""Maximum length of a run's name in the rows of a table, in characters. Longer names are omitted there."""


def table(content: Table, digits: int = words.DIGITS, *, narrow: bool = False) -> Html:
    """Renders a table without its title and notes. The table scrolls if the window is too narrow."""
    rows: list[Html] = []
    run: RunName | None = None
    for row in content.rows:
        if row.run != run and row.run is not None:
            heading = tag("th", _cell(row.run, digits), scope="rowgroup", colspan=len(content.columns))
            rows.append(tag("tr", heading, class_="group"))
        run = row.run
        rows.append(_row(row, digits))
    whole = tag("table", _head(content), tag("tbody", *rows))
    # A scrollable region must be reachable by keyboard, and screen readers need a name for it.
    attributes = {"class_": "scroll narrow" if narrow else "scroll", "tabindex": 0, "role": "region"}
    return tag("div", whole, aria_label=content.title, **attributes)


def notes(content: Table) -> Html:
    """Renders a table's caption and notes as paragraphs, which are shown below the table."""
    return join(*(tag("p", note, class_="soft") for note in (words.sentence(content.caption), *content.notes)))


def measured(value: float | None, error: float | None, unit: str = "", digits: int = words.DIGITS) -> Html:
    """Renders a mean, followed by its standard error and unit in smaller type."""
    remark = " ".join(filter(None, [words.uncertainty(error, digits) if value is not None else "", unit]))
    return _annotated(words.number(value, digits), remark)


def term(depth: int, count: int) -> Html:
    """Renders the term of the factor at `depth` in a model with `count` factors, such as p(X₀ | X₁)."""
    if count == 1:
        return Html("p(<i>X</i>)")
    if depth == count - 1:
        return tag("span", "p(", symbol(depth), ")", class_="whole")
    return tag("span", "p(", symbol(depth), " | ", symbol(depth + 1), ")", class_="whole")


def symbol(depth: int) -> Html:
    """Renders the symbol of the image (depth 0) or of the view at `depth`, such as X₁."""
    return join(tag("i", "X"), tag("sub", depth))


def _head(content: Table) -> Html:
    columns = content.columns
    if not any(column.over for column in columns):
        return tag("thead", tag("tr", *(tag("th", column.name, scope="col") for column in columns)))
    upper, lower = [], []
    for place, column in enumerate(columns):
        if not column.over:
            upper.append(tag("th", column.name, scope="col", rowspan=2))
            continue
        lower.append(tag("th", column.name, scope="col"))
        if columns[place - 1].over != column.over:
            together = sum(other.over == column.over for other in columns)
            upper.append(tag("th", column.over, scope="colgroup", colspan=together))
    return tag("thead", tag("tr", *upper), tag("tr", *lower, class_="under"))


def _row(row: Row, digits: int) -> Html:
    name, *cells = (_cell(cell, digits) for cell in row.cells)
    class_ = "member" if row.run else "total" if row.total else None
    return tag("tr", tag("th", name, scope="row"), *(tag("td", cell) for cell in cells), class_=class_)


def _cell(cell: Cell, digits: int) -> Html:
    text, remark = words.cell_parts(cell, digits)
    if isinstance(cell, FactorName):
        return join(term(cell.depth, cell.count), " ", tag("small", text))
    # A long name would leave too little space for the numbers. The full name is shown above the tables.
    return _annotated(text, "" if isinstance(cell, RunName) and len(remark) > LONGEST_RUN else remark)


def _annotated(text: str, remark: str) -> Html:
    return join(text, tag("small", " ", remark) if remark else None)
