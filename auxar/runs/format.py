"""The version of a run folder's format, which the folder says in its file run.json.

Version 1 has no such file; everything else in it is as in version 2.
"""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

import attrs
from attrs.validators import ge

from auxar.errors import UserError, one_line
from auxar.files import write_json
from auxar.runs.records import read_record

FORMAT = 2
"""The version that is written. All versions up to it are read."""
RECORD = "run.json"
LONGEST_VERSION = 50


@attrs.frozen
class RunRecord:
    """`run.json`: the version of the folder's format, and the version of auxar that made it so."""

    format: int = attrs.field(validator=ge(1))
    auxar: str


def check_format(path: Path) -> None:
    """Raises `UserError` for a run's folder of a newer format, and `DamagedFile` if its `run.json` is damaged."""
    _format(path)


def write_format(path: Path) -> None:
    """Writes `run.json` into a run's folder that is of an older format."""
    if _format(path) < FORMAT:
        write_json(path / RECORD, attrs.asdict(RunRecord(FORMAT, importlib.metadata.version("auxar"))))


def _format(path: Path) -> int:
    # A link that leads nowhere does not make a folder an old one.
    if not os.path.lexists(path / RECORD):
        return 1
    record = read_record(path / RECORD, RunRecord)
    if record.format > FORMAT:
        raise UserError(
            f"{path} is a run of format {record.format}, written by auxar {one_line(record.auxar, LONGEST_VERSION)}, "
            f"and this auxar {importlib.metadata.version('auxar')} reads formats up to {FORMAT}; use a newer auxar"
        )
    return record.format
