"""JSON records that a run keeps, read back strictly: such a file may be damaged, or written by a stranger."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from auxar.errors import one_line
from auxar.files import DamagedFile, parse_json, read_bytes
from auxar.structuring import Misfit, StrictConverter

T = TypeVar("T")
MOST_BYTES = 2**24
"""Bytes of a file of records: an evaluation of forty thousand channels."""
MOST_PROBLEMS = 5
"""Maximum problems reported per file."""
# Later versions may add keys, and figures of a model that diverged are not finite.
RECORDS = StrictConverter(unknown_keys="ignored", finite=False)


def read_record(path: Path, kind: type[T]) -> T:
    """The record of type `kind`, an attrs class or a list of one, that a file holds as JSON.

    Types are exact, keys that are not known are ignored, and numbers need not be finite. Raises `UserError` for a file
    that is missing or larger than `MOST_BYTES`, and `DamagedFile` for one that holds something else.
    """
    content = read_bytes(path, MOST_BYTES)
    try:
        value = parse_json(content)
    except ValueError as error:
        raise DamagedFile(f"{path} is damaged: not JSON ({one_line(str(error))})") from None
    try:
        return RECORDS.structure(value, kind)
    except Misfit as error:
        raise DamagedFile(f"{path} is damaged: {'; '.join(error.problems[:MOST_PROBLEMS])}") from None
