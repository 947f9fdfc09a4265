"""Reads a run's folder into records for its page. The folder must exist, and any file in it may be missing.

A run may come from an untrusted source, so the amount of data that is read and shown is limited.
"""

from __future__ import annotations

import base64
import contextlib
import re
import struct
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import numpy as np

from auxar.draw.previews import pictures as drawn_pictures
from auxar.errors import UserError, shown
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import Exactness
from auxar.evaluation.stored import evaluation_of, other_evaluations
from auxar.files import DamagedFile, entries, is_file, read_bytes
from auxar.model.factor import CONDITION_FACTOR
from auxar.recipe import read_recipe
from auxar.recipe.loading import MOST_BYTES
from auxar.recipe.schema import MOST_STAGES
from auxar.report.evaluation_tables import factor_names
from auxar.report.tables import FactorName
from auxar.runs.format import check_format
from auxar.runs.layout import RunFolder
from auxar.runs.metrics import Curve, read_curves
from auxar.runs.records import read_record

T = TypeVar("T")
MOST_PICTURES = 2**26
"""Maximum total size of the pictures on a page, in bytes."""
MOST_PIXELS = 10**8
"""Maximum number of pixels of one picture. Larger pictures are not shown."""
MOST_ROWS = 8
"""Maximum number of pictures that are shown of each factor's training, evenly chosen from the first to the last."""


@attrs.frozen
class Samples:
    """The content of `samples.json`, which records how the samples were drawn."""

    rule: Mapping[str, Any]
    """The name of the rule and its options."""
    meaning: str
    """A phrase for captions that describes the changes by the rule."""
    seed: int
    count: int
    sampler: str
    arithmetic: str
    seconds: float
    columns: int | None = None
    """Number of columns of the sheet. None, like the next two keys, if the images were drawn given other images."""
    bits_per_dim: list[float] | None = None
    """bits/dim of each sample together with its drawn views, in the order of the sheet."""
    kind: Exactness | None = None
    """Whether `bits_per_dim` is exact or a bound, for the model at the time of drawing."""


@attrs.frozen
class Picture:
    """The bytes of a PNG file, and the width and height of its image in pixels."""

    content: bytes
    width: int
    height: int

    @property
    def source(self) -> str:
        """The address by which a page holds the picture itself."""
        return f"data:image/png;base64,{base64.b64encode(self.content).decode()}"


@attrs.frozen
class FigureEntry:
    """One entry of `figures/figures.json`, which describes one picture."""

    file: str = attrs.field()
    """File name of the picture, which is in the same folder as `figures.json`."""
    title: str
    caption: str

    @file.validator
    def _is_beside(self, attribute: attrs.Attribute[str], value: str) -> None:
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}\.png", value):
            raise ValueError(f"expected the name of a picture in this folder, such as growth.png, got {shown(value)}")


@attrs.frozen
class RunContent:
    """All contents of a run's folder that its page shows."""

    name: str
    recipe: str | None
    factors: Sequence[FactorName]
    """All factors by depth. If the run has neither an evaluation nor a readable recipe, only factors with metrics are
    listed, by name."""
    evaluation: Evaluation | None
    curves: Mapping[str, Curve]
    samples: Samples | None
    sheet: Picture | None
    heldout: Picture | None
    """A sheet of held-out images, with the same layout as the sheet of samples."""
    growth: Picture | None
    """A picture that shows samples at every depth, from the last view to the image."""
    figures: Sequence[tuple[FigureEntry, Picture]] = ()
    strips: Mapping[str, Sequence[tuple[int, Picture]]] = {}
    """The pictures that each factor drew during its training, by its name, with their steps in ascending order."""
    others: Sequence[Evaluation] = ()
    """Evaluations of the same weights in other arithmetics than floating point."""
    too_large: Sequence[str] = ()
    """Names of pictures that are left out because they are too large for the page."""

    @property
    def condition(self) -> str | None:
        """Kind of the condition that the model is given; None if there is none."""
        return next((factor.condition for factor in self.factors), None)


def read_run(folder: Path) -> RunContent:
    """Reads a run's folder.

    Raises `UserError` if the folder does not exist, if a link in it points outside, or if a file is malformed.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    check_format(folder)
    recipe, pictures, curves = folder / "recipe.toml", _Pictures(folder), read_curves(folder)
    figures = _record(folder / "figures" / "figures.json", list[FigureEntry]) or []
    drawn = ((entry, pictures.read(f"figures/{entry.file}")) for entry in figures)
    evaluation = evaluation_of(RunFolder(folder))
    return RunContent(
        name=folder.resolve().name,
        recipe=read_bytes(recipe, MOST_BYTES).decode("utf-8-sig", "replace") if is_file(recipe) else None,
        factors=factor_names(evaluation) if evaluation else _planned(recipe, curves),
        evaluation=evaluation,
        curves=curves,
        samples=_record(folder / "samples" / "samples.json", Samples),
        sheet=pictures.read("samples/samples.png"),
        heldout=pictures.read("samples/heldout.png"),
        growth=pictures.read("samples/growth.png"),
        figures=[(entry, picture) for entry, picture in drawn if picture is not None],
        strips=_strips(folder, pictures),
        others=() if evaluation is None else other_evaluations(folder, evaluation),
        too_large=pictures.too_large,
    )


def _planned(recipe: Path, curves: Iterable[str]) -> list[FactorName]:
    """The factors of a recipe or, if it cannot be read, those with metrics."""
    names, condition = sorted(curves), None
    with contextlib.suppress(UserError):
        planned = read_recipe(recipe)
        names, condition = [*planned.factor_names], planned.condition.kind if planned.condition else None
    names = [name for name in names if name != CONDITION_FACTOR]
    return [FactorName(name, depth, len(names), condition) for depth, name in enumerate(names)]


def _record(path: Path, kind: type[T]) -> T | None:
    return read_record(path, kind) if is_file(path) else None


class _Pictures:
    """Reads pictures from a run's folder, up to a total size of `MOST_PICTURES`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.room = MOST_PICTURES
        self.too_large: list[str] = []

    def read(self, name: str) -> Picture | None:
        """Returns the picture at a path relative to the folder. None if it does not exist or is too large.

        Raises `UserError` if the file cannot be read, and `DamagedFile` if it is not a PNG image.
        """
        path = self.folder / name
        if not is_file(path):
            return None
        content = read_bytes(path, self.room) if path.stat().st_size <= self.room else None
        width, height = (0, 0) if content is None else _size(content, path)
        if content is None or width * height > MOST_PIXELS:
            self.too_large.append(name)
            return None
        self.room -= len(content)
        return Picture(content, width, height)


def _size(content: bytes, path: Path) -> tuple[int, int]:
    """Returns the width and height from a PNG's header, without decoding the image."""
    if content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR" or len(content) < 24:
        raise DamagedFile(f"{path} is damaged: not a PNG image")
    width, height = struct.unpack(">II", content[16:24])
    return width, height


def _strips(folder: Path, pictures: _Pictures) -> dict[str, list[tuple[int, Picture]]]:
    found = {}
    for factor in entries(folder, "factors/*")[: MOST_STAGES + 1]:
        drawn = drawn_pictures(factor)
        places = np.unique(np.linspace(0, len(drawn) - 1, MOST_ROWS).round().astype(int)) if drawn else ()
        read = ((drawn[i][0], pictures.read(f"factors/{factor.name}/{drawn[i][1].name}")) for i in places)
        found[factor.name] = [(step, picture) for step, picture in read if picture is not None]
    return {name: rows for name, rows in found.items() if rows}
