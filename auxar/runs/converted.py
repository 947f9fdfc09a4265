"""Factors in the form of another arithmetic than floating point, in files beside their weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError
from auxar.files import (
    entries,
    is_file,
    metadata_entry,
    parse_json,
    read_checksum,
    read_metadata,
    read_tensors,
    write_tensors,
)
from auxar.model import Arithmetic, Chain, Converted, Factor
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record

WEIGHTS, OPTIONS, DESCRIPTION = "weights", "options", "description"
"""Metadata keys: the checksum of the weights, the options of the arithmetic, and the description of the tensors."""


@attrs.frozen
class Recorded:
    """The weights and the options that a converted factor was made from, and its digest."""

    weights: str
    """Checksum of the file of weights."""
    options: str
    """Options of the arithmetic, as JSON."""
    digest: str
    """The digest of the converted factor. Empty if only the header of its file was read."""


@attrs.frozen
class Record:
    """The content of `integer.json`. Factors with equal digests have equal numbers."""

    factors: dict[str, Recorded] = attrs.field(factory=dict)
    """The converted factors by name."""


def path_of(run: RunFolder, factor: str, arithmetic: str) -> Path:
    """The file of a factor in the form of an arithmetic."""
    return run.factor(factor) / f"{arithmetic}.safetensors"


def write_converted(path: Path, converted: Converted, made: Recorded) -> None:
    """Writes a factor in the form of an arithmetic."""
    metadata = {WEIGHTS: made.weights, OPTIONS: made.options, DESCRIPTION: _description(converted)}
    write_tensors(path, converted.tensors, metadata)


def read_origin(path: Path) -> Recorded | None:
    """The weights and the options that a file was made from; None if there is no file.

    Raises `DamagedFile` if its header is invalid.
    """
    return _origin(read_metadata(path), path) if is_file(path) else None


def present_origin(run: RunFolder, factor: str, arithmetic: str) -> Recorded | None:
    """The origin of a factor in the form of an arithmetic, or None unless it was made from the run's present weights.

    Raises `DamagedFile` if a header is invalid.
    """
    origin, weights = read_origin(stored_at(run, factor, arithmetic)), run.weights(factor)
    made = origin is not None and is_file(weights) and origin.weights == read_checksum(weights)
    return origin if made else None


def read_converted(run: RunFolder, factor: str, arithmetic: str) -> tuple[Converted, Recorded]:
    """Reads a factor in the form of an arithmetic, and its origin and digest.

    Raises `UserError` if the file is missing or damaged, if it was made from other weights than the run's, or if the
    run records another digest for the same weights and options.
    """
    path, weights = stored_at(run, factor, arithmetic), run.weights(factor)

    def check(_: object, metadata: Mapping[str, str]) -> None:
        if _origin(metadata, path).weights != read_checksum(weights):
            raise UserError(f"{path} was made from other weights than {weights}; make it again with `auxar integers`")

    tensors, metadata = read_tensors(path, check)
    converted = Converted(tensors, parse_json(metadata_entry(metadata, DESCRIPTION, path)))
    made = attrs.evolve(_origin(metadata, path), digest=digest(converted))
    if (other := other_digest(run, factor, arithmetic, made)) is not None:
        raise UserError(
            f"{path} has the digest {made.digest}, but {arithmetic}.json records {other}; restore the original file"
        )
    return converted, made


def stored_at(run: RunFolder, factor: str, arithmetic: str) -> Path:
    """The file of a factor in the form of an arithmetic.

    For a model that comes trained, it may be in the model's own folder or in the folder ./NAME; it may be missing
    there.
    """
    own = path_of(run, factor, arithmetic)
    return own if is_file(own) else path_of(run.output, factor, arithmetic)


def converted_model(run: RunFolder, model: Chain, name: str, arithmetic: Arithmetic) -> Chain:
    """The model of a run in the form of the arithmetic with this name. The weights of `model` are not used.

    Raises `UserError` if the file of a factor is missing or damaged, does not belong to the run's weights, or differs
    from the digest that the run records.
    """
    factors: list[Factor] = []
    digests: dict[str, str] = {}
    for factor in model.all_factors:
        path = stored_at(run, factor.name, name)
        if not is_file(path):
            raise UserError(
                f"{path} is missing: the run is not converted to integers yet; convert it with "
                f"`auxar integers {run.name}`"
            )
        converted, made = read_converted(run, factor.name, name)
        digests[factor.name] = made.digest
        try:
            factors.append(arithmetic.restore(factor, converted))
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    of_condition = factors.pop() if model.condition_factor is not None else None
    return Chain(
        factors,
        of_condition,
        sampler=model.sampler,
        picture_values=model.picture_values,
        arithmetic=name,
        digests=digests,
    )


def digest(converted: Converted) -> str:
    """A digest of a converted factor: the same for the same numbers, in hexadecimal digits."""
    found = hashlib.sha256(_description(converted).encode())
    for key in sorted(converted.tensors):
        tensor = converted.tensors[key].cpu().contiguous()
        found.update(f"\0{key} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        found.update(tensor.numpy().astype(tensor.numpy().dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()


def record_path(run: RunFolder, arithmetic: str) -> Path:
    """The file with the digests of a run's converted factors, `integer.json`."""
    return run.path / f"{arithmetic}.json"


def read_digests(run: RunFolder, arithmetic: str) -> Record:
    """Reads the digests of a run's converted factors. The record is empty if there is no file."""
    path = record_path(run, arithmetic)
    return read_record(path, Record) if is_file(path) else Record()


def recorded_options(run: RunFolder, arithmetic: str) -> dict[str, Any]:
    """The options with which a run records that its present weights were converted. Empty if it records none."""
    for name, recorded in read_digests(run, arithmetic).factors.items():
        weights = run.weights(name)
        if is_file(weights) and read_checksum(weights) == recorded.weights:
            with contextlib.suppress(ValueError):
                options = parse_json(recorded.options)
                return options if isinstance(options, dict) else {}
    return {}


def digests_of(run: RunFolder, arithmetic: str) -> dict[str, str]:
    """The recorded digests of the factors that were converted from a run's present weights, by factor.

    In a folder without weights, which holds results of a model that comes trained, all recorded digests count.
    """
    weights = {path.parent.name: read_checksum(path) for path in entries(run.path, "factors/*/weights.safetensors")}
    records = [read_digests(each, arithmetic).factors for each in (run, run.output)]
    return {
        name: recorded.digest
        for factors in records
        for name, recorded in factors.items()
        if weights.get(name, recorded.weights) == recorded.weights
    }


def other_digest(run: RunFolder, factor: str, arithmetic: str, made: Recorded) -> str | None:
    """The digest that a run records for the same weights and options as those of `made`, if it is another one."""
    for folder in (run, run.output):
        recorded = read_digests(folder, arithmetic).factors.get(factor)
        if recorded is not None and attrs.evolve(recorded, digest=made.digest) == made != recorded:
            return recorded.digest
    return None


def options_text(options: Mapping[str, Any]) -> str:
    """The options of an arithmetic as JSON."""
    return json.dumps(options, sort_keys=True)


def _description(converted: Converted) -> str:
    return json.dumps(converted.description, separators=(",", ":"))


def _origin(metadata: Mapping[str, str], path: Path) -> Recorded:
    return Recorded(metadata_entry(metadata, WEIGHTS, path), metadata_entry(metadata, OPTIONS, path), "")
