"""Checksums of cached files, each in a file beside the cached file.

They detect damage (a failing disk, a full disk, a power failure, an interrupted copy). They give no protection against
somebody who can write to the cache, because the checksum can be replaced as well.
"""

import hashlib
import os
from pathlib import Path

from auxar.files import is_file, read_bytes, reading, replacing

LONGEST_LINE = 1000
"""Maximum size in bytes of the file with the checksum, more than a valid one can have."""
SUFFIX = ".sha256"
"""Suffix of the file with the checksum, after the whole name of the cached file.

It holds one line in the format of the program `sha256sum`.
"""


def problem(file: Path) -> str | None:
    """Reads the whole file and returns the reason why it cannot be used, as a predicate, or None if it is intact.

    Raises `UserError` if the file or its checksum exists but cannot be read, because that does not mean damage.
    """
    if not is_file(file):
        return "does not exist"
    if not is_file(beside(file)):
        return "has no checksum"
    intact = _line(file, file.name) == read_bytes(beside(file), LONGEST_LINE)
    return None if intact else "is damaged: its content does not match its checksum"


def publish(made: Path, file: Path) -> None:
    """Moves a finished file to its final name on the same file system, and writes its checksum beside it.

    Both are flushed to the disk before they get their names. The checksum gets its name last, so a process that is
    killed in between leaves a file that `problem` refuses. Raises `OSError` or `UserError` if a file cannot be written.
    """
    with made.open("rb") as content:
        os.fsync(content.fileno())
    with replacing(beside(file)) as temporary:
        temporary.write_bytes(_line(made, file.name))
        made.replace(file)


def beside(file: Path) -> Path:
    """Returns the path of the file with the checksum of `file`."""
    return file.with_name(file.name + SUFFIX)


def _line(file: Path, name: str) -> bytes:
    with reading(file) as content:
        digest = hashlib.file_digest(content, "sha256")  # type: ignore[arg-type]  # It needs a method of every open file.
    return f"{digest.hexdigest()}  {name}\n".encode()
