"""Factors in the form of another arithmetic than floating point, in files beside their weights."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError, shown
from auxar.files import DamagedFile, is_file, parse_json, read_checksum, read_metadata, read_tensors, write_tensors
from auxar.interfaces import Arithmetic, Converted, Prior
from auxar.model import Chain
from auxar.runs.layout import RunFolder

FORMAT = "1"
"""Version of the format of these files."""
WEIGHTS, OPTIONS, DESCRIPTION = "weights", "options", "description"
"""Metadata keys: the checksum of the weights, the options of the arithmetic, and the description of the tensors."""


@attrs.frozen
class Origin:
    """The weights and the options that a file was made from."""

    weights: str
    """Checksum of the file of weights."""
    options: dict[str, Any]
    """Options of the arithmetic."""


def path_of(run: RunFolder, factor: str, arithmetic: str) -> Path:
    """The file of a factor in the form of an arithmetic."""
    return run.factor(factor) / f"{arithmetic}.safetensors"


def write_converted(path: Path, converted: Converted, origin: Origin) -> None:
    """Writes a factor in the form of an arithmetic."""
    metadata = {
        "format": FORMAT,
        WEIGHTS: origin.weights,
        OPTIONS: json.dumps(origin.options, sort_keys=True),
        DESCRIPTION: json.dumps(converted.description, separators=(",", ":")),
    }
    write_tensors(path, converted.tensors, metadata)


def read_origin(path: Path) -> Origin | None:
    """The weights and the options that a file was made from; None if there is no file.

    Raises `DamagedFile` if its header is invalid.
    """
    return _origin(read_metadata(path), path) if is_file(path) else None


def read_converted(path: Path, weights: Path) -> Converted:
    """Reads a factor in the form of an arithmetic.

    Raises `UserError` if the file is missing, damaged or was made from other weights than those in the file `weights`.
    """

    def check(_: object, metadata: Mapping[str, str]) -> None:
        if _origin(metadata, path).weights != read_checksum(weights):
            raise UserError(f"{path} was made from other weights than {weights}; make it again with `auxar integers`")

    tensors, metadata = read_tensors(path, check)
    try:
        return Converted(tensors, parse_json(metadata[DESCRIPTION]))
    except (KeyError, ValueError):
        raise DamagedFile(f"{path} is damaged: its metadata entry '{DESCRIPTION}' is not valid JSON") from None


def converted_model(run: RunFolder, model: Prior, name: str, arithmetic: Arithmetic) -> Prior:
    """The model of a run in the form of the arithmetic with this name. The weights of `model` are not used.

    Raises `UserError` if the file of a factor is missing, damaged or does not belong to the run's weights.
    """
    factors: list[Any] = []
    for factor in model.factors:
        own = path_of(run, factor.name, name)
        path = own if is_file(own) else path_of(run.output, factor.name, name)
        if not is_file(path):
            raise UserError(
                f"{path} is missing: the run has no integers yet; make them with `auxar integers {run.name}`"
            )
        converted = read_converted(path, run.weights(factor.name))
        try:
            factors.append(arithmetic.restore(factor, converted))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    *stages, last = factors
    made = Chain(stages, last.prior) if stages else last.prior
    made.sampler = model.sampler
    return made


def digest(run: RunFolder, names: list[str], arithmetic: str) -> str:
    """A digest of the converted factors: the same for the same numbers, in hexadecimal digits."""
    found = hashlib.sha256()
    for name in names:
        path = path_of(run, name, arithmetic)
        tensors, metadata = read_tensors(path)
        found.update(metadata[DESCRIPTION].encode())
        for key in sorted(tensors):
            found.update(key.encode() + tensors[key].numpy().tobytes())
    return found.hexdigest()


def _origin(metadata: Mapping[str, str], path: Path) -> Origin:
    version = metadata.get("format", "none")
    if version != FORMAT:
        raise UserError(f"{path} has format {shown(version)}; this version of auxar reads format {FORMAT}")
    try:
        options = parse_json(metadata[OPTIONS])
        if not isinstance(options, dict):
            raise TypeError
        return Origin(metadata[WEIGHTS], options)
    except (KeyError, ValueError, TypeError):
        raise DamagedFile(f"{path} is damaged: its metadata does not say what it was made from") from None
