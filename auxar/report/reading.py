"""What a run's folder holds, read into records. Every part but the folder itself may be missing."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import attrs
import cattrs
from PIL import Image

from auxar.errors import UserError
from auxar.evaluation import Evaluation
from auxar.files import read_bytes

T = TypeVar("T")


@attrs.frozen
class Samples:
    """`samples.json`: how the samples of the sheet were drawn."""

    rule: str
    seed: int
    count: int
    reduction: float = 0.0
    temperature: float = 1.0
    sampler: str | None = None
    seconds: float | None = None
    columns: int | None = None
    """Of the sheet."""
    bits_per_dim: list[float] | None = None
    """Of the drawn images and their drawn views together, in the order of the sheet."""


@attrs.frozen
class Picture:
    """A PNG file's bytes and its size in pixels."""

    content: bytes
    width: int
    height: int


@attrs.frozen
class FigureEntry:
    """One entry of `figures/figures.json`."""

    file: str
    title: str
    caption: str


@attrs.frozen
class Curve:
    """One factor's metrics by step: what was logged last for a step counts, as after a resumed run."""

    bits_per_dim: Mapping[int, float]
    """By step, in rising order; may hold values that are not finite."""
    seconds: float | None
    """Training time at the last step."""


@attrs.frozen
class Run:
    """A run's folder."""

    name: str
    recipe: str | None
    evaluation: Evaluation | None
    curves: Mapping[str, Curve]
    samples: Samples | None
    sheet: Picture | None
    growth: Picture | None
    figures: Sequence[tuple[FigureEntry, Picture]] = ()

    @property
    def factors(self) -> list[str]:
        """Names of all factors, from the image down; those that metrics tell of if nothing else names them."""
        if self.evaluation:
            return [factor.factor for factor in self.evaluation.factors]
        stages = _stages(self.recipe)
        return sorted(self.curves) if stages is None else [*(f"stage{k}" for k in range(stages)), "prior"]


def read_run(folder: Path) -> Run:
    """Raises `UserError` if there is no such folder or a file in it is not what a run writes."""
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder")
    recipe = folder / "recipe.toml"
    samples = folder / "samples"
    return Run(
        name=folder.resolve().name,
        recipe=recipe.read_text("utf-8", errors="replace") if recipe.exists() else None,
        evaluation=_record(folder / "evaluation.json", Evaluation),
        curves=_curves(folder),
        samples=_record(samples / "samples.json", Samples),
        sheet=_picture(samples / "samples.png"),
        growth=_picture(samples / "growth.png"),
        figures=list(_figures(folder / "figures")),
    )


def _figures(folder: Path) -> Iterator[tuple[FigureEntry, Picture]]:
    for entry in _record(folder / "figures.json", list[FigureEntry]) or []:
        # A name with a folder in it would lead out of the run.
        picture = _picture(folder / Path(entry.file).name)
        if picture is not None:
            yield entry, picture


def _record(path: Path, kind: type[T]) -> T | None:
    if not path.exists():
        return None
    try:
        return cattrs.structure(json.loads(path.read_bytes()), kind)
    except cattrs.BaseValidationError as error:
        raise UserError(f"{path}: {'; '.join(cattrs.transform_error(error))}") from error
    except (ValueError, TypeError) as error:
        raise UserError(f"{path}: {error}") from error


def _curves(folder: Path) -> dict[str, Curve]:
    # The one beside the recipe is of runs that kept the lines of all factors in one file.
    files = [folder / "metrics.jsonl", *sorted(folder.glob("factors/*/metrics.jsonl"))]
    lines = [
        line for file in files if file.is_file() for line in read_bytes(file).decode("utf-8", "replace").split("\n")
    ]
    values: dict[str, dict[int, float]] = {}
    seconds: dict[str, float | None] = {}
    for line in lines:
        try:
            entry = json.loads(line)
            factor, step, bits = str(entry["factor"]), int(entry["step"]), float(entry["bits_per_dim"])
            clock = float(entry["seconds"]) if "seconds" in entry else None
        except (ValueError, TypeError, KeyError, OverflowError):
            # A run that was stopped while it wrote leaves half a line: the last one, or, once it went on, one within.
            continue
        values.setdefault(factor, {})[step] = bits
        seconds[factor] = clock
    return {factor: Curve(dict(sorted(values[factor].items())), seconds[factor]) for factor in values}


def _picture(path: Path) -> Picture | None:
    if not path.exists():
        return None
    try:
        with Image.open(path, formats=["PNG"]) as image:
            return Picture(path.read_bytes(), *image.size)
    except OSError as error:
        raise UserError(f"{path}: not a PNG image") from error


def _stages(recipe: str | None) -> int | None:
    """Number of stages that a recipe's text tells of, or None if it can't be read."""
    try:
        table: dict[str, Any] = tomllib.loads(recipe or "")
        return sum(int(stage.get("repeat", 1)) for stage in table.get("stage", [])) if table else None
    except (tomllib.TOMLDecodeError, ValueError, TypeError, AttributeError):
        return None
