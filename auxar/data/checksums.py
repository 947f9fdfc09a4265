"""Checksums of cached files, each in a file beside the cached file.

They detect damage (a failing disk, a full disk, a power failure, an interrupted copy). They give no protection against
somebody who can write to the cache, because the checksum can be replaced as well.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from auxar.errors import UserError
from auxar.files import replacing

LONGEST_LINE = 1000
"""Maximum number of bytes that are read from the file with the checksum, more than a valid one can have."""
SUFFIX = ".sha256"
"""Suffix of the file with the checksum, after the whole name of the cached file.

It holds one line in the format of the program `sha256sum`.
"""


def problem(file: Path) -> str | None:
    """Reads the whole file and returns the reason why it cannot be used, as a predicate, or None if it is intact.

    Raises `OSError` if the file or its checksum exists but cannot be read, because that does not mean damage.
    """
    try:
        for path in (file, beside(file)):
            if not stat.S_ISREG(path.stat().st_mode):  # Reading a pipe or a device may never end.
                raise OSError(errno.EINVAL, "Not a regular file", str(path))
        with beside(file).open("rb") as checksum:
            expected = checksum.read(LONGEST_LINE)
    except (FileNotFoundError, NotADirectoryError):
        return "has no checksum" if file.exists() else "does not exist"
    return None if _line(file, file.name) == expected else "is damaged: its content does not match its checksum"


def publish(made: Path, file: Path) -> None:
    """Moves a finished file to its final name on the same file system, and writes its checksum beside it.

    Both are flushed to the disk before they get their names. The checksum gets its name last, so a process that is
    killed in between leaves a file that `problem` refuses. Raises `OSError` if a file cannot be written; if the disk is
    full, neither name is changed.
    """
    with made.open("rb") as content:
        os.fsync(content.fileno())
    with _written(file, _line(made, file.name)):
        made.replace(file)


def record(file: Path) -> None:
    """Writes the checksum of a file. Raises `OSError` if it cannot be written."""
    with _written(file, _line(file, file.name)):
        pass


def beside(file: Path) -> Path:
    """Returns the path of the file with the checksum of `file`."""
    return file.with_name(file.name + SUFFIX)


@contextlib.contextmanager
def _written(file: Path, line: bytes) -> Iterator[None]:
    """Writes the checksum of a file. It gets its name after the block."""
    try:
        with replacing(beside(file)) as temporary:
            temporary.write_bytes(line)
            yield
    except UserError as error:  # The caller knows how to choose another folder.
        raise error.__cause__ or error from None


def _line(file: Path, name: str) -> bytes:
    with file.open("rb") as content:
        return f"{hashlib.file_digest(content, 'sha256').hexdigest()}  {name}\n".encode()
