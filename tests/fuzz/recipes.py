"""Runs `auxar check` on random recipes. Each recipe must give a result or a `UserError`.

    python tests/fuzz/recipes.py --count 100000 --seed 0 --processes 2
    python tests/fuzz/recipes.py --seed 0 --only 4711

A case fails if it raises another exception, if its error is empty, too long or not one line for each problem, if it
takes more than `--seconds` of CPU time or three times as much wall-clock time, or if the process needs more than
`--memory`. Each failure is printed with its seed and number; `--only NUMBER` repeats it. The exit status is 1 if any
case failed.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import watching
from cases import Case, make_case
from watching import Limits, Outcome

from auxar.commands.check import check
from auxar.errors import UserError
from auxar.recipe import load_recipe, recipe_text
from auxar.recipe.loading import parse_recipe

LONGEST_LINE = 2000
MOST_LINES = 30
THIN = '''
import attrs
from auxar.model import View
from auxar.plugins import Component, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class ThinConfig:
    """Options of a view with fewer columns."""

    every: int = 2
    share: float | None = None
    names: tuple[str, ...] = ()


class ThinView(View):
    def __init__(self, config, image):
        self.image = image
        self.view = attrs.evolve(image, width=-(-image.width // max(1, config.every)))

    def __call__(self, image):
        return image


@hookimpl
def auxar_register_components():
    return [Component("view", "thin", ThinConfig, ThinView)]
'''


def outcomes_of(seed: int, numbers: Iterable[int], limits: Limits) -> list[Outcome]:
    """Checks the recipes with these numbers, and returns their outcomes."""
    with tempfile.TemporaryDirectory() as above, watching.watched():
        folder = Path(above) / "deep" / "recipe"
        furnish(folder)
        found = []
        for number in numbers:
            case = make_case(seed, number)
            settings = [text[:500] for text in case.settings]
            what = f"{case.recipe[:5000]!r}\n{len(case.recipe)} bytes; settings: {settings}"
            found.append(watching.outcome(number, what, partial(check_recipe, case, folder), limits))
        return found


def furnish(folder: Path) -> None:
    """Makes a folder with plugin files: one valid, two invalid, and a folder, a pipe and a link to itself as others."""
    folder.mkdir(parents=True)
    (folder / "thin.py").write_text(THIN)
    (folder / "broken.py").write_text("def (")
    (folder / "odd.py").write_bytes(b"\0\xff")
    (folder / "folder.py").mkdir()
    os.mkfifo(folder / "pipe.py")
    (folder / "loop.py").symlink_to(folder / "loop.py")


def check_recipe(case: Case, folder: Path) -> str:
    """Returns the error message of `auxar check`, or an empty string if the recipe is valid.

    A valid recipe is also written and parsed again, which must give the same recipe. Other exceptions are raised.
    """
    path = folder / "recipe.toml"
    path.write_bytes(case.recipe)
    try:
        _command(path, case.settings)
    except UserError as error:
        return _told_well(str(error))
    recipe, _ = load_recipe(path, case.settings, trust_plugins=True)
    again, _ = parse_recipe(recipe_text(recipe), folder, trust_plugins=True)
    assert again == recipe, "writing and parsing the recipe gives another recipe"
    return ""


def _command(path: Path, settings: tuple[str, ...]) -> None:
    """Runs the command without its argument parser, because a random setting may look like an option."""
    _, show = check.__auxar__  # type: ignore[attr-defined]
    with contextlib.redirect_stdout(io.StringIO()):
        show(check(path, settings=settings, trust_plugins=True))


def _told_well(message: str) -> str:
    lines = message.split("\n")
    assert all(line.strip() for line in lines), f"an error with an empty line: {message[:500]!r}"
    assert len(lines) <= MOST_LINES, f"an error of {len(lines)} lines: {message[:500]!r}"
    assert max(map(len, lines)) <= LONGEST_LINE, f"an error of {max(map(len, lines))} characters: {message[:500]!r}"
    assert all(line.isprintable() for line in lines), f"an error with control characters: {message[:500]!r}"
    return message


def _first_words(message: str) -> str:
    """Shortens an error to its first words, without file, key, numbers and quotations: similar errors become equal."""
    line = message.split("\n")[0].rpartition("/recipe.toml: ")[2]
    if line.startswith("--set"):
        return f"--set …: {' '.join(line.rpartition(': ')[2].split()[-4:])}"
    line = re.sub(r"^[\w.\[\]-]+( \('\S+'\))?: ", "", line)
    return " ".join(re.sub(r"'[^']*'?|/\S+|\[?-?\d[\d.e+]*\]?", "…", line.partition("(")[0]).split()[:5])


if __name__ == "__main__":
    sys.exit(watching.main(__doc__ or "", outcomes_of, _first_words))
