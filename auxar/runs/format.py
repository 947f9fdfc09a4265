"""The format version of a run's folder, stored in its file run.json.

A folder without run.json has version 1. It may have one unnumbered checkpoint for each factor, and one file of metrics
for all factors. These are read, too.
"""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import attrs
from attrs.validators import ge

from auxar.errors import UserError, one_line
from auxar.files import kind, write_json
from auxar.runs.records import read_record

FORMAT = 2
"""The format version of the folders that this auxar writes, unless they hold weights in half precision."""
HALF = 3
"""The format version of folders with weights in half precision, which `auxar export --half` writes."""
NEWEST = HALF
"""The newest format version that this auxar reads. It reads all earlier versions, too."""
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
    """Raises `UserError` if a folder's format is newer than `NEWEST`, and `DamagedFile` if its run.json is damaged."""
    _format(path)


def write_format(path: Path, version: int = FORMAT) -> None:
    """Writes run.json with a format version if the folder has none, or an older version."""
    if _format(path) < version:
        write_json(path / RECORD, attrs.asdict(RunRecord(version, importlib.metadata.version("auxar"))))


def _format(path: Path) -> int:
    # `kind` also sees a broken link. A folder with a broken run.json must not be taken for one of version 1.
    if kind(path / RECORD) is None:
        return 1
    record = read_record(path / RECORD, RunRecord)
    if record.format > NEWEST:
        raise UserError(
            f"{path} has run format {record.format}, written by auxar {one_line(record.auxar, LONGEST_VERSION)}; "
            f"this auxar {importlib.metadata.version('auxar')} reads formats up to {NEWEST}; use a newer auxar"
        )
    return record.format
