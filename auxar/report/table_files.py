"""Writes tables as CSV, for programs, and as LaTeX, for papers.

CSV has all digits of a number, and its standard error and kind in columns of their own. LaTeX is rounded.
"""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

from auxar.errors import one_line, printable
from auxar.evaluation.comparison import Comparison
from auxar.files import check_replaceable, write_text
from auxar.report import words
from auxar.report.comparison_tables import comparison_tables
from auxar.report.evaluation_tables import report_tables
from auxar.report.tables import Annotated, Cell, FactorName, Measured, RunName, Table

DIGITS = 3
"""Decimal places of bits/dim in LaTeX."""
COUNT = re.compile(r"\d{1,3}(,\d{3})+")
SPECIAL = {
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    **{"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"},
    **{"|": r"$\mid$", "<": "$<$", ">": "$>$", "ψ": r"$\psi$", "\u0302": ""},
    **{"“": "``", "”": "''", "’": "'", "–": "--", "×": r"$\times$", "±": r"$\pm$", "≤": r"$\leq$", "−": "$-$"},
}
"""Characters of texts, and their LaTeX code. The accent of X̂ has none that stands after its letter, and is left out."""


def file_name(table: Table) -> str:
    """The name of a table's file without a suffix: its title up to the first comma, such as `by-factor`."""
    return re.sub(r"[^a-z0-9]+", "-", table.title.split(",")[0].lower()).strip("-")


def write_tables(folder: Path, comparison: Comparison, *, replace: bool) -> list[Path]:
    """Writes the tables of a comparison or, for a single run, of its report, and returns the paths of the files.

    Raises `UserError`, and writes nothing, if a file exists and is not to be replaced.
    """
    first, *others = comparison.runs
    tables = comparison_tables(comparison) if others else report_tables(first.evaluation)
    texts = {folder / f"{file_name(table)}.csv": csv_text(table) for table in tables}
    notes = [f"Run {number}: {note}." for number, run in enumerate(comparison.runs, 1) for note in run.notes]
    texts |= {folder / f"{file_name(table)}.tex": latex_text(table, notes) for table in tables}
    for path in texts:
        check_replaceable(path, replace)
    for path, text in texts.items():
        write_text(path, text)
    return sorted(texts)


def csv_text(table: Table) -> str:
    """A table as CSV: a line of headings, then a line for each row. An unknown value is an empty field.

    A column of numbers is followed by a column of their standard errors and, if the cells say whether they are exact
    or bounds, by a column of kinds.
    """
    table = table.with_runs
    extras = [("", *_extras([row.cells[place] for row in table.rows])) for place in range(len(table.columns))]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    headings = [f"{column.over}: {column.name}" if column.over else column.name for column in table.columns]
    pairs = zip(headings, extras, strict=True)
    writer.writerow(f"{heading} {extra}".strip() for heading, own in pairs for extra in own)
    for row in table.rows:
        fields = [(_fields(cell), own) for cell, own in zip(row.cells, extras, strict=True)]
        writer.writerow(printable(values.get(extra, ""), but="") for values, own in fields for extra in own)
    return out.getvalue()


def latex_text(table: Table, notes: Sequence[str] = ()) -> str:
    r"""A table as a LaTeX `table`, for the package `booktabs`. Its own and further notes are comments above it."""
    table = table.with_runs
    lines = [r"% This table needs \usepackage{booktabs}.", *(f"% {one_line(note)}" for note in (*table.notes, *notes))]
    lines += [r"\begin{table}", r"  \centering"]
    lines.append(rf"  \caption{{{_escaped(table.title)}: {_escaped(table.caption)}.}}")
    lines.append(rf"  \label{{tab:{file_name(table)}}}")
    lines.append(rf"  \begin{{tabular}}{{{''.join('l' if column.left else 'r' for column in table.columns)}}}")
    lines += [r"    \toprule", *(f"    {line}" for line in _latex_headings(table)), r"    \midrule"]
    for before, row in zip([None, *table.rows], table.rows, strict=False):
        if row.total or (before and before.run != row.run):
            lines.append(r"    \midrule")
        lines.append(f"    {' & '.join(map(_latex_cell, row.cells))} \\\\")
    lines += [r"    \bottomrule", r"  \end{tabular}", r"\end{table}"]
    return "\n".join(lines) + "\n"


def _extras(cells: list[Cell]) -> list[str]:
    """The further columns that a column of cells has in CSV."""
    return list(dict.fromkeys(extra for cell in cells for extra, value in _fields(cell).items() if extra and value))


def _fields(cell: Cell) -> dict[str, str]:
    """The fields of a cell in CSV, by the name of the further column; the cell's own column has an empty name."""
    match cell:
        case words.MISSING:
            return {"": ""}
        case str():
            return {"": cell.replace(",", "") if COUNT.fullmatch(cell) else cell}
        case Measured():
            value, error = ("" if number is None else repr(float(number)) for number in (cell.value, cell.error))
            kind = {} if cell.kind is None else {"kind": cell.kind}
            return {"": value, "standard error": error if value else "", **kind}
        case Annotated():
            return {**_fields(cell.text), **({"note": cell.remark} if cell.remark else {})}
        case FactorName():
            return {"": cell.name}
        case RunName():
            return {"": str(cell.number), "name": cell.name}


def _latex_headings(table: Table) -> list[str]:
    """The lines of headings. Columns under a common heading get a line above them."""
    upper, rules, place = [], [], 0
    for over, columns in table.groups:
        upper += [rf"\multicolumn{{{len(columns)}}}{{c}}{{{_escaped(over)}}}"] if over else [""] * len(columns)
        rules += [rf"\cmidrule(lr){{{place + 1}-{place + len(columns)}}}"] if over else []
        place += len(columns)
    names = " & ".join(_escaped(column.name) for column in table.columns) + r" \\"
    return [" & ".join(upper) + r" \\", " ".join(rules), names] if rules else [names]


def _latex_cell(cell: Cell) -> str:
    text, remark = words.cell_parts(cell, DIGITS)
    if isinstance(cell, FactorName):
        term = re.sub(r"_(\d+)", r"_{\1}", re.sub(r"[a-z]{2,}", r"\\mathrm{\g<0>}", cell.term)).replace("|", r"\mid")
        return f"${term}$ {_escaped(text)}"
    if isinstance(cell, Measured) and cell.value is not None:
        bound = r"\leq " if cell.kind == "bound" else ""
        error = remark.removesuffix(cell.kind or "").strip().replace("±", r" \pm")
        return f"${bound}{text}{error}$"
    return _escaped(f"{text} {remark}".strip())


def _escaped(text: str) -> str:
    return "".join(SPECIAL.get(sign, sign) for sign in one_line(text))
