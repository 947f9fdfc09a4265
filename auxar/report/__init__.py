"""Reports on runs, as text for the terminal and as HTML pages.

The tables are built from records, and each output has a renderer. The page of a single run shows the model, its
likelihoods and its samples.
"""

from pathlib import Path

from auxar.report.html import write_document
from auxar.report.page import PAGE, page
from auxar.report.reading import read_run


def write_report(folder: Path) -> Path:
    """Writes `report.html` into a run's folder and returns its path.

    The page is self-contained: it loads no other file. A section without data says so or is omitted.
    An existing report is replaced only after the new one is completely written, and no other page is. Raises
    `UserError` if the folder is not that of a run, if one of the run's files is malformed, or if the report cannot be
    written.
    """
    path = folder / "report.html"
    write_document(path, page(read_run(folder)), replaces=PAGE)
    return path
