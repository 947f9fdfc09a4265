"""Reads the metrics of training, as the curves of a run's page."""

import contextlib
import io
from collections.abc import Mapping
from pathlib import Path

import attrs
from attrs.validators import ge, lt

from auxar.files import entries, is_file, parse_json, read_bytes
from auxar.runs.records import RECORDS
from auxar.structuring import Misfit

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
        with contextlib.suppress(ValueError, Misfit):
            point = RECORDS.structure(parse_json(line), _Point)
            for known, bits in ((values, point.bits_per_dim), (validation, point.validation_bits_per_dim)):
                known.setdefault(point.factor, {}).update({} if bits is None else {point.step: bits})
            last[point.factor] = point
    return {
        factor: Curve(_by_step(values[factor]), point.seconds, point.total_steps, _by_step(validation[factor]))
        for factor, point in last.items()
    }


def _by_step(values: Mapping[int, float]) -> dict[int, float]:
    return dict(sorted(values.items()))


@attrs.frozen
class _Point:
    """The entries of a line of metrics that a page shows."""

    factor: str
    step: int = attrs.field(validator=ge(0))
    seconds: float
    total_steps: int = attrs.field(validator=lt(MOST_STEPS))
    bits_per_dim: float | None = None
    validation_bits_per_dim: float | None = None
