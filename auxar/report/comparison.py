"""Renders a comparison of runs as one self-contained HTML page."""

from __future__ import annotations

from pathlib import Path

from auxar.evaluation.comparison import Comparison
from auxar.report import html_tables
from auxar.report.comparison_tables import comparison_tables
from auxar.report.html import Html, document, resource, tag, write_document

PAGE = "comparison"
"""The kind of this page."""
STYLE = """
.runs { padding-left: 1.5rem; }
.runs li { overflow-wrap: anywhere; margin-bottom: 0.5rem; }
.runs li::marker { font-weight: 600; }
.group th { border-top-width: 2px; padding-bottom: 0; }
.group + tr th, .group + tr td { border-top: 0; }
.member th { font-weight: 400; padding-left: 1.75rem; }
"""


def write_comparison(path: Path, comparison: Comparison) -> None:
    """Writes the comparison page. An earlier comparison page is replaced after the page is completely written.

    Raises `UserError` if the page cannot be written, or if `path` is any other file.
    """
    write_document(path, comparison_page(comparison), replaces=PAGE)


def comparison_page(comparison: Comparison) -> str:
    """Returns the comparison as an HTML document, which has no script."""
    sections = [
        tag("section", tag("h2", table.title), html_tables.table(table), html_tables.notes(table))
        for table in comparison_tables(comparison)
    ]
    main = tag("main", _header(comparison), *sections)
    return document(PAGE, _title(comparison), main, style=Html(resource("style.css") + STYLE))


def _title(comparison: Comparison) -> str:
    return f"{len(comparison.runs)} runs compared"


def _header(comparison: Comparison) -> Html:
    items = []
    for run in comparison.runs:
        data = run.evaluation.data
        facts = [f"{run.images:,} held-out images of {data.path}"]
        if data.heldout_fingerprint:
            facts.append(f"fingerprint {data.heldout_fingerprint}")
        notes = [tag("p", note, class_="missing") for note in run.notes]
        items.append(tag("li", tag("strong", run.run), tag("div", "; ".join(facts), class_="soft"), *notes))
    lead = tag("p", f"Bits/dim on held-out images of {comparison.image}.", class_="soft")
    return tag("header", tag("h1", _title(comparison)), lead, tag("ol", *items, class_="runs"))
