"""Renders a comparison of runs as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from auxar.evaluation.comparison import Comparison
from auxar.report.comparison_tables import comparison_tables
from auxar.report.cost_charts import cost_charts
from auxar.report.html import document, render, write_document

PAGE = "comparison"
"""The kind of this page."""


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the comparison page. An earlier comparison page is replaced after the page is completely written.

    Raises `UserError` if the page cannot be written, or if `path` is any other file.
    """
    write_document(path, comparison_page(comparison), replaces=PAGE)


def comparison_page(comparison: Comparison) -> str:
    """Returns the comparison as an HTML document, which has no script."""
    title = f"{len(comparison.runs)} runs compared"
    tables = comparison_tables(comparison)
    content = {"comparison": comparison, "tables": tables, "charts": cost_charts(comparison)}
    return document(PAGE, title, render("comparison.html", title=title, **content))
