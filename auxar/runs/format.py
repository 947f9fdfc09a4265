"""The format version of a run's folder, stored in its file run.json. A folder without this file is not a run's."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import attrs
from attrs.validators import ge

from auxar.errors import UserError, one_line
from auxar.files import kind, write_json
from auxar.runs.records import read_record

FORMAT = 1
"""The format version of the folders that this auxar writes and reads."""
RECORD = "run.json"
"""Name of the file that stores the format version."""
LONGEST_VERSION = 50
"""Maximum number of characters of auxar's version in an error message."""


@attrs.frozen
class RunRecord:
    """The content of `run.json`: the folder's format version, and the version of auxar that wrote the file."""

    format: int = attrs.field(validator=ge(1))
    auxar: str


def check_format(path: Path) -> None:
    """Raises `UserError` if a folder has no run.json or another format, and `DamagedFile` if run.json is damaged."""
    if kind(path / RECORD) is None:
        raise UserError(f"{one_line(str(path))} is not a run's folder: it has no {RECORD}")
    record = read_record(path / RECORD, RunRecord)
    if record.format != FORMAT:
        raise UserError(
            f"{path} has run format {record.format}, written by auxar {one_line(record.auxar, LONGEST_VERSION)}; "
            f"this auxar {importlib.metadata.version('auxar')} reads format {FORMAT}; use a newer auxar"
        )


def write_format(path: Path) -> None:
    """Writes run.json if the folder has none."""
    if kind(path / RECORD) is None:
        write_json(path / RECORD, attrs.asdict(RunRecord(FORMAT, importlib.metadata.version("auxar"))))
