"""Sheets of drawn images like the paper's figures 2 to 6, copied from trained runs to the documentation.

No image of a data set is committed. Of the sheets of `auxar figures`, `given` shows held-out images and `memorization`
training images, so these two are never copied. Instead of `given`, a sheet is drawn that begins with drawn images.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from pathlib import Path

from measurements import Sheet, read_measurements

import auxar
from auxar.errors import UserError
from auxar.files import parse_json
from auxar.runs.layout import RunFolder

PAGE = Path(__file__).parents[1] / "results.md"
PICTURES = Path(__file__).parents[1] / "pictures" / "results"
FIGURES = {"views": 2, "reduction": 4, "map": 5, "growth": 6}
"""The sheets of `auxar figures` that show drawn images only, with the number of the paper's figure."""
ROWS = 6
"""Number of drawn images whose views the sheet in place of figure 3 shows."""


def sheets(recipe: str, *figures: str) -> str:
    """Formats the sheets of a recipe's model as Markdown, or says that there are none yet.

    `figures` are the numbers of the paper's figures that are shown.
    """
    known = {sheet.figure: sheet for sheet in read_measurements().sheets if sheet.recipe == recipe}
    found = [known[int(figure)] for figure in figures if int(figure) in known]
    if not found:
        return f"*The sheets of `{recipe}` are drawn when its training is finished.*"
    return "\n\n".join(
        f"![{sheet.title}](pictures/results/{sheet.file})\n\n"
        f"*Figure {sheet.figure}, drawn with `{recipe}`: {sheet.title[0].lower()}{sheet.title[1:]}. {sheet.caption}*"
        for sheet in found
    )


def copied_sheets(run: Path, recipe: str, *, views: bool) -> list[Sheet]:
    """Copies the sheets of a run's figures that show drawn images only, and draws one in place of figure 3.

    Only the figures that the page on results shows for this recipe are copied. `views` says whether the model has
    views. Figures that the run does not have are left out. Raises `UserError` if it has none.
    """
    listed = RunFolder(run).figures / "figures.json"
    if not listed.is_file():
        raise UserError(f"{run} has no figures; run `auxar figures {run}`")
    entries = {Path(entry["file"]).stem: entry for entry in parse_json(listed.read_bytes())}
    shown = shown_figures(recipe)
    found = []
    PICTURES.mkdir(parents=True, exist_ok=True)
    for name, figure in FIGURES.items():
        if name in entries and figure in shown:
            file = file_of(recipe, name)
            shutil.copyfile(listed.parent / f"{name}.png", PICTURES / file)
            found.append(Sheet(recipe, figure, file, entries[name]["title"], entries[name]["caption"]))
    if views and 3 in shown:
        found.append(given_drawn(run, recipe))
    return found


def shown_figures(recipe: str) -> set[int]:
    """The numbers of the paper's figures that the page on results shows for a recipe."""
    markers = re.findall(rf"<!-- generated: sheets {re.escape(recipe)} ([\d ]+) -->", PAGE.read_text())
    return {int(figure) for marker in markers for figure in marker.split()}


def given_drawn(run: Path, recipe: str) -> Sheet:
    """Draws images by the recipe's rule, and then exact samples from their views, with other noise."""
    file = file_of(recipe, "given-drawn")
    with tempfile.TemporaryDirectory() as folder:
        first = auxar.sample(run, images=ROWS, seed=1, out=Path(folder) / "first")
        second = auxar.sample(run, given=[first / "images"], seed=2, rule="ancestral", out=Path(folder) / "second")
        shutil.copyfile(second / "samples.png", PICTURES / file)
    title = "Images drawn from the view of a drawn image"
    caption = (
        "Each row shows one image that the model has drawn, its view, and 4 exact samples of the model given this view "
        "(rule ‘ancestral’). Seeds 1 and 2. (The paper shows images of the test set in the first column.)"
    )
    return Sheet(recipe, 3, file, title, caption)


def file_of(recipe: str, name: str) -> str:
    """Returns the name of a sheet's file."""
    return f"{recipe.replace('/', '-')}-{name}.png"
