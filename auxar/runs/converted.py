"""Factors in the form of another arithmetic than floating point, in files beside their weights."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError, naming, one_line
from auxar.files import (
    entries,
    is_file,
    metadata_entry,
    parse_json,
    read_checksum,
    read_metadata,
    read_tensors,
    write_json,
    write_tensors,
)
from auxar.model import Arithmetic, Chain, Converted, Factor
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record
from auxar.runs.weights import advising

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
    unlimited: str = ""
    """The digest that it has without limits of its parameters. Empty if it has no limits."""

    def with_digests(self, converted: Converted) -> Recorded:
        """The same origin with the digests of a converted factor."""
        limited, unlimited = digest(converted), digest(converted.with_limits({}))
        return attrs.evolve(self, digest=limited, unlimited="" if unlimited == limited else unlimited)


@attrs.frozen
class Record:
    """The content of `integer.json`. Factors with equal digests have equal numbers."""

    factors: dict[str, Recorded] = attrs.field(factory=dict)
    """The converted factors by name."""


@attrs.frozen
class ConvertedFactors:
    """The factors of a run in the form of an arithmetic, and the record of their digests.

    The files of a model that comes trained may be in the model's own folder or in the folder ./NAME.
    """

    run: RunFolder
    arithmetic: str

    @property
    def record(self) -> Path:
        """The file with the digests, `integer.json`."""
        return self.run.path / f"{self.arithmetic}.json"

    @property
    def recorded(self) -> dict[str, Recorded]:
        """The content of the file with the digests, by factor. It is empty if there is no file."""
        with advising(self.record):
            return read_record(self.record, Record).factors if is_file(self.record) else {}

    @property
    def _output(self) -> ConvertedFactors:
        return ConvertedFactors(self.run.output, self.arithmetic)

    def own_path(self, factor: str) -> Path:
        """The file of a factor in the run's own folder."""
        return self.run.factor(factor) / f"{self.arithmetic}.safetensors"

    def path(self, factor: str) -> Path:
        """The file of a factor. It may be missing."""
        own = self.own_path(factor)
        return own if is_file(own) else self._output.own_path(factor)

    def origin(self, factor: str) -> Recorded | None:
        """The origin of a factor, or None unless it was made from the run's present weights.

        Raises `DamagedFile` if a header is invalid.
        """
        found = read_origin(self.path(factor))
        return found if found is not None and found.weights == self._checksum(factor) else None

    def read(self, factor: str) -> tuple[Converted, Recorded]:
        """Reads a factor, and its origin and digest.

        Raises `UserError` if the file is missing or damaged, if it was made from other weights than the run's, or if
        the run records another digest for the same weights and options.
        """
        path, weights = self.path(factor), self.run.weights(factor)

        def check(_: object, metadata: Mapping[str, str]) -> None:
            if _origin(metadata, path).weights != read_checksum(weights):
                raise UserError(
                    f"{path} was made from other weights than {weights}; make it again with `auxar integers` (files "
                    f"are decoded with the older model in {self.run.path / 'older'}, or with an export)"
                )

        with advising(path):
            tensors, metadata = read_tensors(path, check)
            converted = Converted(tensors, parse_json(metadata_entry(metadata, DESCRIPTION, path)))
            made = _origin(metadata, path).with_digests(converted)
        if (other := self.other_digest(factor, made)) is not None:
            raise UserError(
                f"{path} has the digest {made.digest}, but {self.record.name} records {other}; restore the original"
            )
        return converted, made

    def other_digest(self, factor: str, made: Recorded) -> str | None:
        """The digest, for messages, that the run records for the weights and options of `made`.

        None if it records none, or the same.
        """
        for recorded in (files.recorded.get(factor) for files in (self, self._output)):
            same = {"digest": made.digest, "unlimited": made.unlimited}
            if recorded is not None and attrs.evolve(recorded, **same) == made != recorded:
                return one_line(recorded.digest, 64)
        return None

    def write_record(self, factor: str, made: Recorded) -> None:
        """Records the digest of a factor in the folder of results, unless it is recorded already."""
        files = self._output
        recorded = files.recorded
        if recorded.get(factor) != made:
            write_json(files.record, attrs.asdict(Record({**recorded, factor: made})))

    @property
    def options(self) -> dict[str, Any]:
        """The recorded options with which the run's present weights were converted. Empty if there are none."""
        for factor, recorded in self.recorded.items():
            if self._checksum(factor) == recorded.weights:
                with contextlib.suppress(ValueError):
                    options = parse_json(recorded.options)
                    return options if isinstance(options, dict) else {}
        return {}

    @property
    def digests(self) -> dict[str, str]:
        """The recorded digests of the factors that were converted from the run's present weights, by factor.

        In a folder without weights, which holds results of a model that comes trained, all recorded digests count.
        """
        files = entries(self.run.path, "factors/*/weights.safetensors")
        weights = {path.parent.name: read_checksum(path) for path in files}
        recorded = [*self.recorded.items(), *self._output.recorded.items()]
        return {name: each.digest for name, each in recorded if weights.get(name, each.weights) == each.weights}

    def _checksum(self, factor: str) -> str | None:
        weights = self.run.weights(factor)
        return read_checksum(weights) if is_file(weights) else None


def write_converted(path: Path, converted: Converted, made: Recorded) -> None:
    """Writes a factor in the form of an arithmetic."""
    metadata = {WEIGHTS: made.weights, OPTIONS: made.options, DESCRIPTION: _description(converted)}
    write_tensors(path, converted.tensors, metadata)


def read_origin(path: Path) -> Recorded | None:
    """The weights and the options that a file was made from; None if there is no file.

    Raises `DamagedFile` if its header is invalid.
    """
    with advising(path):
        return _origin(read_metadata(path), path) if is_file(path) else None


def converted_model(run: RunFolder, model: Chain, name: str, arithmetic: Arithmetic) -> Chain:
    """The model of a run in the form of the arithmetic with this name. The weights of `model` are not used.

    Raises `UserError` if the file of a factor is missing or damaged, does not belong to the run's weights, or differs
    from the digest that the run records.
    """
    files = ConvertedFactors(run, name)
    factors: list[Factor] = []
    digests, unlimited = dict[str, str](), dict[str, str]()
    for factor in model.all_factors:
        path = files.path(factor.name)
        if not is_file(path):
            raise UserError(
                f"{path} is missing: the run is not converted to integers yet; run `auxar integers {run.name}`"
            )
        converted, made = files.read(factor.name)
        digests[factor.name], unlimited[factor.name] = made.digest, made.unlimited or made.digest
        with naming(path):
            factors.append(arithmetic.restore(factor, converted))
    of_condition = factors.pop() if model.condition_factor is not None else None
    return Chain(
        factors,
        of_condition,
        sampler=model.sampler,
        picture_values=model.picture_values,
        arithmetic=name,
        digests=digests,
        unlimited_digests={} if unlimited == digests else unlimited,
    )


def digest(converted: Converted) -> str:
    """A digest of a converted factor: the same for the same numbers, in hexadecimal digits."""
    found = hashlib.sha256(_description(converted).encode())
    for key in sorted(converted.tensors):
        tensor = converted.tensors[key].cpu().contiguous()
        found.update(f"\0{key} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
        found.update(tensor.numpy().astype(tensor.numpy().dtype.newbyteorder("<")).tobytes())
    return found.hexdigest()


def options_text(options: Mapping[str, Any]) -> str:
    """The options of an arithmetic as JSON."""
    return json.dumps(options, sort_keys=True)


def _description(converted: Converted) -> str:
    return json.dumps(converted.description, separators=(",", ":"))


def _origin(metadata: Mapping[str, str], path: Path) -> Recorded:
    return Recorded(metadata_entry(metadata, WEIGHTS, path), metadata_entry(metadata, OPTIONS, path), "")
