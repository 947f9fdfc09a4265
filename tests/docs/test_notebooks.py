"""Tests that the notebooks of the documentation run, and that they are stored with the outputs of a complete run."""

import re
from typing import Any

import nbformat
import pytest
from helpers.tiny_runs import PROJECT

FOLDER = PROJECT / "docs" / "notebooks"
NAMES = sorted(file.name for file in FOLDER.glob("*.ipynb"))
SETTINGS = ["training.steps=1", "training.initialization_images=8", "evaluation.heldout_images=4", "sampling.images=0"]
MOST_BYTES = 500_000
"""Maximum size of a notebook, which the repository stores with its pictures."""


def stored(name: str) -> Any:
    book = nbformat.read(FOLDER / name, as_version=4)
    nbformat.validate(book)
    return book


def pictures(book: Any) -> int:
    return sum("image/png" in output.get("data", {}) for cell in code(book) for output in cell.outputs)


def code(book: Any) -> list[Any]:
    return [cell for cell in book.cells if cell.cell_type == "code"]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_notebooks_run_and_show_as_many_pictures_as_they_are_stored_with(name, generate, tmp_path):
    book = generate("notebooks").executed(FOLDER / name, tmp_path, SETTINGS)
    assert pictures(book) == pictures(stored(name)) > 0


@pytest.mark.parametrize("name", NAMES)
def test_notebooks_are_small_linked_and_stored_as_run_from_top_to_bottom(name):
    assert (FOLDER / name).stat().st_size <= MOST_BYTES
    assert f"notebooks/{name}" in (PROJECT / "docs" / "index.md").read_text(encoding="utf-8")
    cells = code(stored(name))
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    for output in (output for cell in cells for output in cell.outputs):
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text
        text = str(output.get("text", output.get("data", {}).get("text/plain")))
        assert not re.search(r"/tmp|/home|/root|/work", text)
