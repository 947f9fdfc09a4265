"""Strict reading of a run's JSON files, which may be damaged or come from an untrusted source."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from auxar.errors import one_line
from auxar.files import DamagedFile, metadata_entry, parse_json, read_bytes
from auxar.structuring import Misfit, StrictConverter

T = TypeVar("T")
MOST_BYTES = 2**24
"""Maximum size of a JSON file in bytes; enough for any file that auxar writes."""
FACTS = "facts"
"""Metadata key of the facts of an evaluation, which are JSON."""
MOST_PROBLEMS = 5
"""Maximum number of problems that an error reports for one file."""
# Later versions of auxar may add keys, and the values of a diverged model may be infinite or NaN.
RECORDS = StrictConverter(unknown_keys="ignored", finite=False)


def read_record(path: Path, kind: type[T]) -> T:
    """Reads a JSON file as `kind`, which is an attrs class or `list[…]` of an attrs class.

    Values must have exactly the declared types. Unknown keys are ignored, and numbers may be infinite or NaN. Raises
    `UserError` if the file is missing or larger than `MOST_BYTES`, and `DamagedFile` if its content is not valid JSON
    or does not fit `kind`.
    """
    return _structured(read_bytes(path, MOST_BYTES), kind, f"{path} is damaged:")


def read_entry(metadata: Mapping[str, str], key: str, kind: type[T], path: Path) -> T:
    """Reads an entry of the metadata of the safetensors file `path`, which is JSON, as `kind`.

    Raises `DamagedFile` if it is missing, not valid JSON or does not fit `kind`.
    """
    text = metadata_entry(metadata, key, path)
    return _structured(text, kind, f"{path} is damaged: in its metadata entry '{key}',")


def _structured(content: bytes | str, kind: type[T], where: str) -> T:
    """The value of a JSON text as `kind`. Raises `DamagedFile`, with a message that begins with `where`, otherwise."""
    try:
        return RECORDS.structure(parse_json(content), kind)
    except Misfit as error:
        problem = "; ".join(error.problems[:MOST_PROBLEMS])
    except ValueError as error:
        problem = f"it is not valid JSON ({one_line(str(error))})"
    raise DamagedFile(f"{where} {problem}")
