"""Locks of files, which only one process holds at a time.

A process that waits for a lock logs once, after some seconds, which process holds it. On a file system without locks
(`flock` is not implemented), the library filelock creates the lock file while the lock is held, and deletes it
afterwards.
"""

import contextlib
import os
import re
import socket
import warnings
from collections.abc import Iterator
from pathlib import Path

import filelock

from auxar.errors import UserError, logger
from auxar.files import check_output, is_file, read_bytes, read_json, write_json

PATIENCE = 5.0
"""Seconds that a process waits for a lock before it logs a warning."""
ADVICE = "wait until it is done, or end it"
"""Advice about a process that holds a lock, for the end of a message."""
# The documentation explains what happens on such file systems. The warning would show lines of code.
warnings.filterwarnings("ignore", message="flock not supported on this filesystem")


def acquire(path: Path, timeout: float) -> filelock.BaseFileLock | None:
    """Waits at most `timeout` seconds for the lock file `path`, without limit if it is negative.

    Returns the lock, or None if another process still holds it. Raises `OSError` if the lock file cannot be written, or
    if the file system refuses locks, and `UserError` if there is a file of a user in its place.
    """
    check_output(path)
    # The library empties the file. A lock file has no content, or the number of a process if there is no `flock`.
    if is_file(path) and not re.match(rb"\d+\n|$", read_bytes(path)):
        raise UserError(f"{path} cannot be locked: expected an empty file; move this file to another folder")
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except filelock.Timeout:
        return None
    return lock


@contextlib.contextmanager
def holding(path: Path, purpose: str) -> Iterator[None]:
    """Holds the lock file `path` until the block ends. Waits until no other process holds it.

    If this takes more than `PATIENCE` seconds, a warning says who holds the lock, and for which `purpose` this process
    waits, for example "prepare images". Raises `OSError` if the lock file cannot be written or locked, and `UserError`
    if there is a file of a user in its place.

    Examples:
        >>> import tempfile
        >>> with holding(Path(tempfile.mkdtemp()) / "colors.lock", "mix colors"):
        ...     pass  # Only one process at a time mixes colors.
    """
    lock = acquire(path, PATIENCE)
    if lock is None:
        logger.warning("waiting to %s: the lock %s is held by %s; %s", purpose, path, holder(path), ADVICE)
        lock = acquire(path, timeout=-1)
        assert lock is not None
    with noted(path, lock):
        yield


@contextlib.contextmanager
def noted(path: Path, lock: filelock.BaseFileLock) -> Iterator[None]:
    """Notes this process beside a lock file that it holds, and releases the lock when the block ends.

    Raises `UserError` if there is another file in the place of the note.
    """
    note = note_of(path)
    try:
        check_output(note)
        if note.exists() and noted_by(path) is None:
            raise UserError(f"{note} cannot be written: it does not name a process; move it to another folder")
        try:
            with contextlib.suppress(UserError):  # The note is only for messages, and the disk may be full.
                write_json(note, {"pid": os.getpid(), "host": socket.gethostname()})
            yield
        finally:
            with contextlib.suppress(OSError):
                note.unlink(missing_ok=True)
    finally:
        lock.release()


def holder(path: Path) -> str:
    """The process that holds the lock file `path`, as a message names it."""
    found = noted_by(path)
    return "another process" if found is None else f"process {found[0]} on {found[1]}"


def user_of(path: Path) -> str | None:
    """The description of the process that holds the lock file `path`; None if none does."""
    # Without a note, nobody holds the lock. To try it would make others believe for a moment that it is held.
    if noted_by(path) is None:
        return None
    lock = acquire(path, timeout=0)
    if lock is None:
        return holder(path)
    lock.release()
    return None


def note_of(path: Path) -> Path:
    """The file beside a lock file that says which process holds the lock."""
    return path.with_name(f"{path.name}.json")


def noted_by(path: Path) -> tuple[int, str] | None:
    """The number and the machine of the process that holds the lock file `path`, by its note; None if there is none."""
    try:
        note = read_json(note_of(path))
        return int(note["pid"]), f"{note['host']!s:.99}"
    except (UserError, KeyError, TypeError, ValueError, OverflowError):
        return None
