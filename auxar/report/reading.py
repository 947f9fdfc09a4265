"""Reads a run's folder into records for its page. The folder must exist, and any file in it may be missing.

A run may come from an untrusted source, so the amount of data that is read and shown is limited.
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import attrs
import numpy as np

from auxar.errors import UserError, shown
from auxar.evaluation.records import Evaluation, Exactness
from auxar.files import DamagedFile, entries, is_file, parse_json, read_bytes
from auxar.generation.previews import pictures as drawn_pictures
from auxar.recipe.loading import MOST_BYTES
from auxar.recipe.schema import MOST_STAGES
from auxar.recipe.stages import written_stages
from auxar.runs.layout import check_contents
from auxar.runs.records import read_record

T = TypeVar("T")
MOST_PICTURES = 2**26
"""Maximum total size of the pictures on a page, in bytes."""
MOST_PIXELS = 10**8
"""Maximum number of pixels of one picture. Larger pictures are not shown."""
MOST_FIGURES = 100
"""Maximum number of entries of `figures/figures.json`."""
MOST_ROWS = 8
"""Maximum number of pictures that are shown of each factor's training, evenly chosen from the first to the last."""
LONGEST_NAME = 100
"""Maximum length of a factor's name, in characters."""
MOST_STEPS = 2**53
"""Upper limit of step numbers. Charts use float64, which represents every integer below the limit exactly."""


@attrs.frozen
class Samples:
    """The content of `samples.json`, which records how the samples were drawn."""

    rule: str
    seed: int
    count: int
    reduction: float = 0.0
    temperature: float = 1.0
    sampler: str | None = None
    seconds: float | None = None
    columns: int | None = None
    """Number of columns of the sheet."""
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
class Curve:
    """One factor's training metrics. If a step was logged more than once, its last entry is used."""

    bits_per_dim: Mapping[int, float]
    """Training bits/dim by step, in ascending order of steps. Values may be infinite or NaN."""
    seconds: float | None
    """Training time up to the last logged step, in seconds. None if it was not logged."""


@attrs.frozen
class RunContent:
    """All contents of a run's folder that its page shows."""

    name: str
    recipe: str | None
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
    """By the name of a factor, pictures that it drew during its training, with their steps in ascending order."""
    too_large: Sequence[str] = ()
    """Names of pictures that are left out because they are too large for the page."""

    @property
    def factors(self) -> list[str]:
        """Names of all factors by depth.

        If the run has neither an evaluation nor a readable recipe, only factors with metrics are listed, by name.
        """
        if self.evaluation:
            return [factor.factor for factor in self.evaluation.factors]
        stages = _stages(self.recipe)
        return sorted(self.curves) if stages is None else [*(f"stage{k}" for k in range(stages)), "prior"]


def read_run(folder: Path) -> RunContent:
    """Reads a run's folder.

    Raises `UserError` if the folder does not exist, if a link in it points outside, or if a file is malformed.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    check_contents(folder)
    recipe = folder / "recipe.toml"
    pictures = _Pictures(folder)
    return RunContent(
        name=folder.resolve().name,
        recipe=read_bytes(recipe, MOST_BYTES).decode("utf-8-sig", "replace") if is_file(recipe) else None,
        evaluation=_record(folder / "evaluation.json", Evaluation),
        curves=_curves(folder),
        samples=_record(folder / "samples" / "samples.json", Samples),
        sheet=pictures.read("samples/samples.png"),
        heldout=pictures.read("samples/heldout.png"),
        growth=pictures.read("samples/growth.png"),
        figures=list(_figures(folder, pictures)),
        strips=_strips(folder, pictures),
        too_large=pictures.too_large,
    )


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
        if path.stat().st_size > self.room:
            self.too_large.append(name)
            return None
        content = read_bytes(path, self.room)
        width, height = _size(content, path)
        if width * height > MOST_PIXELS:
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


def _figures(folder: Path, pictures: _Pictures) -> Iterator[tuple[FigureEntry, Picture]]:
    path = folder / "figures" / "figures.json"
    entries = _record(path, list[FigureEntry]) or []
    if len(entries) > MOST_FIGURES:
        raise DamagedFile(f"{path} is damaged: expected at most {MOST_FIGURES} figures, got {len(entries)}")
    for entry in entries:
        picture = pictures.read(f"figures/{entry.file}")
        if picture is not None:
            yield entry, picture


def _strips(folder: Path, pictures: _Pictures) -> dict[str, list[tuple[int, Picture]]]:
    found = {}
    for factor in entries(folder, "factors/*")[: MOST_STAGES + 1]:
        drawn = drawn_pictures(factor)
        places = np.unique(np.linspace(0, len(drawn) - 1, MOST_ROWS).round().astype(int)) if drawn else ()
        read = ((drawn[i][0], pictures.read(f"factors/{factor.name}/{drawn[i][1].name}")) for i in places)
        found[factor.name] = [(step, picture) for step, picture in read if picture is not None]
    return {name: rows for name, rows in found.items() if rows}


def _curves(folder: Path) -> dict[str, Curve]:
    # Earlier versions wrote the metrics of all factors to one file next to the recipe.
    files = [folder / "metrics.jsonl", *entries(folder, "factors/*/metrics.jsonl")]
    values: dict[str, dict[int, float]] = {}
    seconds: dict[str, float | None] = {}
    for line in (line for file in files if is_file(file) for line in io.BytesIO(read_bytes(file))):
        # A run that is stopped while writing leaves an incomplete line, which is skipped here.
        if (point := _point(line)) is None:
            continue
        factor, step, bits, clock = point
        if factor in values or len(values) <= MOST_STAGES:
            values.setdefault(factor, {})[step] = bits
            seconds[factor] = clock
    return {factor: Curve(dict(sorted(values[factor].items())), seconds[factor]) for factor in values}


def _point(line: bytes) -> tuple[str, int, float, float | None] | None:
    """Returns factor, step, bits/dim and seconds of a line of metrics.

    Seconds are None if they are missing. The result is None if one of the others is missing or invalid.
    """
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    factor, step, bits = (entry.get(key) for key in ("factor", "step", "bits_per_dim"))
    if not isinstance(factor, str) or len(factor) > LONGEST_NAME:
        return None
    if type(step) is not int or not 0 <= step < MOST_STEPS or not _is_number(bits):
        return None
    clock = entry.get("seconds")
    return factor, step, float(bits), float(clock) if _is_number(clock) else None


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) is float or (type(value) is int and abs(value) < MOST_STEPS)


def _stages(recipe: str | None) -> int | None:
    """Number of stages in a recipe's text. None if they cannot be read or are more than `MOST_STAGES`."""
    try:
        found = len(written_stages(recipe)) if recipe else None
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
    return found if found is not None and found <= MOST_STAGES else None
