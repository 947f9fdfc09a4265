"""A run's folder as one web page: what was trained, how good it is, and what it draws."""

from __future__ import annotations

from pathlib import Path

from auxar.files import replacing
from auxar.report.page import page
from auxar.report.reading import read_run


def write_report(folder: Path) -> Path:
    """Writes `report.html` into a run's folder and returns its path.

    The page needs nothing but itself: no network, no other file. What the run doesn't have yet is left out and said
    to be missing. An older report stays until the new one is whole. Raises `UserError` if there is no such folder, if
    one of the run's files is not what a run writes, or if the report can't be written.
    """
    path = folder / "report.html"
    # Names of files need not be text: what isn't becomes a question mark.
    content = page(read_run(folder)).encode("utf-8", "replace")
    with replacing(path) as temporary:
        temporary.write_bytes(content)
    return path
