"""Locks of files, which only one process holds at a time.

A process that waits for a lock logs a warning after some seconds, with the process that holds the lock and how to go
on. The holder may be stopped, or be on another machine.

On a file system without locks (`flock` is not implemented), the library filelock creates the lock file while the lock
is held, and deletes it afterwards. The file remains if its process is killed. A process on the same machine recognizes
and replaces such a file. A process on another machine cannot, so messages say that the file may be deleted.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import socket
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import attrs
import filelock
import psutil

from auxar.errors import UserError, one_line
from auxar.files import check_output, is_file, read_bytes, read_json, write_json

logger = logging.getLogger("auxar")

PATIENCE = 5.0
"""Seconds that a process waits for a lock before it logs a warning."""
LONGEST_MARK = 1000
"""Maximum size in bytes of a lock file that names its process."""
UNSUPPORTED = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)
"""Numbers of the errors by which a file system says that it has no locks."""
# The documentation explains what happens on such file systems. The warning would show lines of code.
warnings.filterwarnings("ignore", message="flock not supported on this filesystem")
NOT_ACQUIRED = "Lock %s not acquired on %s"
"""Beginning of the message that the library filelock logs, at level DEBUG, after each attempt that failed."""


@attrs.frozen
class Holder:
    """The process that holds a lock."""

    name: str
    """Its description for a message."""
    remedies: tuple[str, ...]
    """Actions by which a user can end the wait, as clauses of a sentence."""

    def advice(self, *others: str) -> str:
        """Joins the remedies, and others, to the end of a message."""
        *first, last = (*self.remedies, *others)
        return f"{', '.join(first)}, or {last}" if first else last


def acquire(path: Path, advice: str, timeout: float) -> filelock.BaseFileLock | None:
    """Waits at most `timeout` seconds for the lock file `path`, without limit if it is negative.

    Returns the lock, or None if another process still holds it. Raises `OSError` if the lock file cannot be written,
    and `UserError` if it is not a lock file, or if the file system has no locks, where `advice` says how to choose
    another one.
    """
    check_output(path)
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        # The library filelock empties the file when it acquires the lock.
        if (content := file.read(LONGEST_MARK)) and _process_in(content) is None:
            raise UserError(f"{path} cannot be locked: expected an empty file; move this file to another folder")
    lock = filelock.FileLock(path)
    try:
        lock.acquire(timeout=timeout)
    except filelock.Timeout:
        return None
    except (OSError, NotImplementedError) as error:  # Older versions of filelock raise NotImplementedError for ENOSYS.
        if isinstance(error, OSError) and error.errno not in UNSUPPORTED:
            raise
        reason = getattr(error, "strerror", None) or os.strerror(errno.ENOSYS)
        raise UserError(f"{os.path.realpath(path)} cannot be locked on its file system: {reason}; {advice}") from error
    return lock


@contextlib.contextmanager
def holding(path: Path, purpose: str, advice: str) -> Iterator[None]:
    """Holds the lock file `path` until the block ends. Waits until no other process holds it.

    If this takes more than `PATIENCE` seconds, a warning says who holds the lock, and for which `purpose` this process
    waits, for example "prepare images". `advice` says what to do on a file system without locks. Raises `OSError` if
    the lock file cannot be written, and `UserError` if it is not a lock file or the file system has no locks.

    Examples:
        >>> import tempfile
        >>> with holding(Path(tempfile.mkdtemp()) / "colors.lock", "mix colors", "choose another folder"):
        ...     pass  # Only one process at a time mixes colors.
    """
    lock = acquire(path, advice, PATIENCE)
    if lock is None:
        _tell(path, purpose)
        lock = acquire(path, advice, timeout=-1)
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
        if note.exists() and _noted(path) is None:
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


def holder(path: Path) -> Holder:
    """Finds the process that holds the lock file `path`."""
    own = socket.gethostname()
    here = _holding_here(path)
    marked = None if here else _marked(path)
    found = here or marked or _noted(path)
    if found is None:
        return Holder("another process", ("wait until it is done",))
    pid, host = found
    name, remedies = f"process {pid} on {host}", ["wait until it is done"]
    if host == own:
        remedies.append(f"end it (kill {pid})")
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            name += f" ({one_line(' '.join(process.cmdline()), 120)})"
            if process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP):
                name += ", which is stopped"
                remedies = [f"continue it (kill -CONT {pid})", f"end it (kill -KILL {pid})"]
    if marked:
        remedies.append(f"delete {os.path.realpath(path)} if there is no such process")
    return Holder(name, tuple(remedies))


def user_of(path: Path) -> str | None:
    """The description of the process that holds the lock file `path`; None if none does."""
    if not is_file(path):
        return None
    lock = acquire(path, "", timeout=0)
    if lock is None:
        return holder(path).name
    lock.release()
    return None


class _Waiting(logging.Filter):
    """Watches attempts to acquire locks inside other libraries, by the messages that filelock logs."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()
        self._inside = 0
        self._levels = logging.NOTSET, logging.WARNING
        self._since: dict[tuple[int, str], float] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        if str(record.msg).startswith(NOT_ACQUIRED) and isinstance(record.args, tuple):
            wait = threading.get_ident(), str(record.args[1])
            now = time.monotonic()
            if now - self._since.setdefault(wait, now) > PATIENCE:
                self._since[wait] = float("inf")
                _tell(Path(wait[1]), "read the data set with `datasets`")
        return record.levelno >= self._levels[1]

    def __enter__(self) -> None:
        library = logging.getLogger("filelock")
        with self._lock:
            if not self._inside:
                self._levels = library.level, library.getEffectiveLevel()
                self._since.clear()
                library.addFilter(self)
                library.setLevel(logging.DEBUG)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        library = logging.getLogger("filelock")
        with self._lock:
            self._inside -= 1
            if not self._inside:
                library.removeFilter(self)
                library.setLevel(self._levels[0])


telling_of_others = _Waiting()
"""A context that logs a warning if another library, such as `datasets`, waits for a lock for `PATIENCE` seconds.

Several threads may be inside it.
"""


def _tell(path: Path, purpose: str) -> None:
    found = holder(path)
    logger.warning(
        "waiting to %s: the lock %s is held by %s; %s", purpose, os.path.realpath(path), found.name, found.advice()
    )


def note_of(path: Path) -> Path:
    """The file beside a lock file that says which process holds the lock."""
    return path.with_name(f"{path.name}.json")


def _noted(path: Path) -> tuple[int, str] | None:
    try:
        note = read_json(note_of(path))
        return int(note["pid"]), f"{note['host']!s:.99}"
    except (UserError, KeyError, TypeError, ValueError, OverflowError):
        return None


def _marked(path: Path) -> tuple[int, str] | None:
    """Reads the process from a lock file on a file system without locks. Other lock files are empty."""
    try:
        return _process_in(read_bytes(path, LONGEST_MARK))
    except UserError:
        return None


def _process_in(content: bytes) -> tuple[int, str] | None:
    try:
        pid, host, *_ = content.decode().splitlines()
        return int(pid), f"{host:.99}"
    except ValueError:
        return None


def _holding_here(path: Path) -> tuple[int, str] | None:
    """Finds the process of this machine, and of a user whose processes may be inspected, that holds a lock."""
    try:
        wanted = path.stat()
        for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
            with contextlib.suppress(OSError):
                if not os.readlink(descriptor).endswith(f"/{path.name}"):
                    continue
                _, _, pid, _, number = descriptor.parts
                if os.path.samestat(wanted, descriptor.stat()):
                    locks = Path("/proc", pid, "fdinfo", number).read_text()
                    if "FLOCK" in locks:
                        return int(pid), socket.gethostname()
    except (OSError, ValueError):
        pass
    return None
