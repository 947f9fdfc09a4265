"""The format version of a run's folder, stored in its file run.json. A folder without this file is not a run's."""

import contextlib
import importlib.metadata
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
from attrs.validators import deep_iterable, ge, matches_re

from auxar.errors import UserError, one_line
from auxar.files import kind, write_json
from auxar.runs.records import read_record

FORMAT = 1
"""The format version of the folders that this auxar writes and reads."""
RECORD = "run.json"
"""Name of the file that stores the format version."""
PACKAGE = matches_re(r"[A-Za-z0-9][\w.-]{0,99}( [\w.+!-]{1,99})?")
"""The name of a package, and its version."""
LONGEST_VERSION = 50
"""Maximum number of characters of auxar's version in an error message."""


@attrs.frozen
class RunRecord:
    """The content of `run.json`: the folder's format version, and the version of auxar that wrote the file."""

    format: int = attrs.field(validator=ge(1))
    auxar: str
    packages: list[str] = attrs.field(factory=list, validator=deep_iterable(PACKAGE))
    """The packages of further plugins that the run uses, with their versions."""


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


def write_format(path: Path, packages: Sequence[str] = ()) -> None:
    """Writes run.json if the folder has none, with the packages of further plugins that the run uses."""
    if kind(path / RECORD) is None:
        record = RunRecord(FORMAT, importlib.metadata.version("auxar"), list(packages))
        write_json(path / RECORD, {key: value for key, value in attrs.asdict(record).items() if value != []})


@contextlib.contextmanager
def needing_packages(path: Path) -> Iterator[None]:
    """A context in which a `UserError` also names the packages that a run uses and that are not installed."""
    try:
        yield
    except UserError as error:
        names = [package.split()[0] for package in read_record(path / RECORD, RunRecord).packages]
        missing = " ".join(name for name in names if not any(importlib.metadata.distributions(name=name)))
        hint = f"; the run needs {missing}, which is not installed: pip install {missing}" if missing else ""
        raise UserError(f"{error}{hint}") from None
