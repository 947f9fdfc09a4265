"""A run's folder: where everything in it lies, and what it must not hold.

run.json                            the version of the folder's format
recipe.toml                         the recipe as resolved: settings applied, defaults filled in
plugins/                            copies of the plugin files that the recipe names
factors/<factor>/weights.safetensors    the trained factor, as evaluation and sampling use it
factors/<factor>/training-<step>.safetensors    weights, average, optimizer and step, to continue from
factors/<factor>/metrics.jsonl      the course of its training
evaluation.json  evaluation.safetensors  samples/  figures/  report.html

A folder may come from a stranger: no link is followed out of it, and its code is not loaded unasked.
"""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from auxar.errors import UserError
from auxar.files import unfinished
from auxar.recipe import Recipe
from auxar.runs.format import check_format
from auxar.runs.lock import HOLDER, LOCK

PLACES = ("*", "factors/*", "factors/*/*", "plugins/*", "samples/*", "samples/*/*", "figures/*")
"""Patterns of all that auxar reads and writes in a run's folder, folders before their contents."""


@attrs.frozen
class RunFolder:
    """Paths inside a run's folder."""

    path: Path

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def figures(self) -> Path:
        return self.path / "figures"

    def factor(self, name: str) -> Path:
        """The folder of one factor, whole in itself: it may be copied to another run of the same recipe."""
        return self.path / "factors" / name

    def weights(self, factor: str) -> Path:
        """The trained factor."""
        return self.factor(factor) / "weights.safetensors"

    def metrics(self, factor: str) -> Path:
        """The course of the factor's training."""
        return self.factor(factor) / "metrics.jsonl"

    def trained(self, recipe: Recipe) -> list[str]:
        """Names of the factors whose training is finished, from the image down."""
        return [name for name in recipe.factor_names if self.weights(name).is_file()]


def check_folder(path: Path) -> None:
    """Raises `UserError` if `path` is there and is neither a run's folder nor empty."""
    if not RunFolder(path).recipe.is_file() and path.exists():
        # A process that is killed before it has written the recipe leaves these.
        ours = {path / LOCK, path / HOLDER, *unfinished(path)} if path.is_dir() else set()
        if not path.is_dir() or any(entry not in ours for entry in path.iterdir()):
            raise UserError(f"{path} exists and is not a run's folder; choose another with --out")
    check_contents(path)


def check_contents(path: Path) -> None:
    """Checks a run's folder before anything in it is read.

    Raises `UserError` for a link out of the folder, for anything that is neither a file nor a folder, and for a folder
    of a newer format than this auxar reads.
    """
    root = os.path.realpath(path)
    for entry in (entry for place in PLACES for entry in path.glob(place)):
        if entry.is_symlink():
            target = os.path.realpath(entry)
            if os.path.commonpath([root, target]) != root:
                raise UserError(
                    f"{entry} is a link out of the run's folder, to {target}; put what is there in its place"
                )
        elif not (entry.is_file() or entry.is_dir()):
            raise UserError(f"{entry} is neither a file nor a folder")
    check_format(path)
