"""Runs as text and as web pages: tables from records, words in one place, and a renderer each for screen and page.

The page of a single run says what was trained, how good it is, and what it draws.
"""

from __future__ import annotations

from pathlib import Path

from auxar.report.html import write_document
from auxar.report.page import page
from auxar.report.reading import read_run


def write_report(folder: Path) -> Path:
    """Writes `report.html` into a run's folder and returns its path.

    The page needs nothing but itself: no network, no other file. A section whose data the run does not have yet says
    so. An older report stays until the new one is whole. Raises `UserError` if there is no such folder, if one of the
    run's files is not what a run writes, or if the report can't be written.
    """
    path = folder / "report.html"
    write_document(path, page(read_run(folder)))
    return path
