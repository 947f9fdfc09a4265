"""Reads the metrics of training, as the curves of a run's page."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import attrs

from auxar.files import entries, is_file, parse_json, read_bytes
from auxar.recipe.schema import MOST_STAGES

LONGEST_NAME = 100
"""Maximum length of a factor's name, in characters."""
MOST_STEPS = 2**53
"""Upper limit of step numbers. Charts use float64, which represents every integer below the limit exactly."""


@attrs.frozen
class Curve:
    """One factor's training metrics. If a step was logged more than once, its last entry is used."""

    bits_per_dim: Mapping[int, float]
    """Training bits/dim by step, in ascending order of steps. Values may be infinite or NaN."""
    seconds: float
    """Training time up to the last logged step, in seconds."""
    total_steps: int
    """Number of steps until the end of the training."""
    validation: Mapping[int, float] = attrs.field(factory=dict)
    """Bits/dim of validation images by step, in ascending order of steps. Values may be infinite or NaN."""


def read_curves(folder: Path) -> dict[str, Curve]:
    """Reads the metrics of each factor from a run's folder. Lines that are incomplete or invalid are skipped."""
    values: dict[str, dict[int, float]] = {}
    validation: dict[str, dict[int, float]] = {}
    last: dict[str, _Point] = {}
    files = (file for file in entries(folder, "factors/*/metrics.jsonl") if is_file(file))
    for line in (line for file in files for line in io.BytesIO(read_bytes(file))):
        # A run that is stopped while writing leaves an incomplete line, which is skipped here.
        if (point := _point(line)) is None:
            continue
        if point.factor in values or len(values) <= MOST_STAGES:
            values.setdefault(point.factor, {})
            (validation if point.validation else values).setdefault(point.factor, {})[point.step] = point.bits_per_dim
            last[point.factor] = point
    return {
        factor: Curve(_by_step(values[factor]), point.seconds, point.total_steps, _by_step(validation.get(factor, {})))
        for factor, point in last.items()
    }


def _by_step(values: Mapping[int, float]) -> dict[int, float]:
    return dict(sorted(values.items()))


@attrs.frozen
class _Point:
    """The figures of a line of metrics, which are about training images or about validation images."""

    factor: str
    step: int
    bits_per_dim: float
    validation: bool
    seconds: float
    total_steps: int


def _point(line: bytes) -> _Point | None:
    """Reads a line of metrics. Returns None if an entry is missing or invalid."""
    try:
        entry = parse_json(line)
    except ValueError:
        return None
    if not isinstance(entry, dict):
        return None
    validation = "validation_bits_per_dim" in entry
    factor, step = entry.get("factor"), entry.get("step")
    bits = entry.get("validation_bits_per_dim" if validation else "bits_per_dim")
    if not isinstance(factor, str) or len(factor) > LONGEST_NAME:
        return None
    if type(step) is not int or not 0 <= step < MOST_STEPS or not _is_number(bits):
        return None
    seconds, total = entry.get("seconds"), entry.get("total_steps")
    if not _is_number(seconds) or type(total) is not int or not step <= total < MOST_STEPS:
        return None
    return _Point(factor, step, float(bits), validation, float(seconds), total)


def _is_number(value: Any) -> TypeGuard[float]:
    return type(value) is float or (type(value) is int and abs(value) < MOST_STEPS)
