"""Runs the notebooks of the documentation and stores their outputs in them.

    python docs/generate/notebooks.py                # run both notebooks, about 10 minutes
    python docs/generate/notebooks.py plugin.ipynb   # run one

Each notebook runs in a temporary folder. The tests run the same notebooks with fewer training steps and do not store
the outputs.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"
LONGEST_CELL = 1800
"""Maximum time of a cell in seconds."""


def main() -> None:
    """Runs the notebooks that the command line names, or all, and writes them with their outputs."""
    parser = argparse.ArgumentParser(description="Run the notebooks of the documentation and store their outputs.")
    parser.add_argument("names", nargs="*", metavar="NOTEBOOK", help="names of notebooks (default: all)")
    for name in parser.parse_args().names or sorted(file.name for file in NOTEBOOKS.glob("*.ipynb")):
        with tempfile.TemporaryDirectory() as folder:
            book = executed(NOTEBOOKS / name, Path(folder))
        nbformat.write(book, NOTEBOOKS / name)
        print(f"{name} was run")


def executed(file: Path, folder: Path, settings: Sequence[str] = ()) -> Any:
    """Runs a notebook in `folder` and returns it with its outputs.

    The cell with the tag `parameters` assigns the variable `settings`. If `settings` is not empty, it replaces the
    value. Raises an error of nbclient if a cell raises an exception.
    """
    book = nbformat.read(file, as_version=4)
    for cell in book.cells:
        if settings and "parameters" in cell.metadata.get("tags", []):
            cell.source = f"settings = {list(settings)!r}"
    client = NotebookClient(book, timeout=LONGEST_CELL, resources={"metadata": {"path": str(folder)}})
    client.execute()
    for cell in book.cells:
        # Times would differ in every run of a notebook.
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            # Progress bars are of interest only while a notebook runs.
            cell.outputs = [output for output in cell.outputs if output.get("name") != "stderr"]
    book.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return book


if __name__ == "__main__":
    main()
