"""A run's folder as one web page: what was trained, how good it is, and what it draws."""

from __future__ import annotations

from pathlib import Path

from auxar.report.page import page
from auxar.report.reading import read_run
from auxar.sheets import write_whole


def write_report(folder: Path) -> Path:
    """Writes `report.html` into a run's folder and returns its path.

    The page needs nothing but itself: no network, no other file. What the run doesn't have yet is left out and said
    to be missing. An older report stays until the new one is whole. Raises `UserError` if there is no such folder, or
    if one of the run's files is not what a run writes.
    """
    path = folder / "report.html"
    write_whole(path, page(read_run(folder)).encode())
    return path
