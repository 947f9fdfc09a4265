"""One process, or one team of processes, at a time works on a run."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import filelock

from auxar.errors import UserError
from auxar.files import read_json, write_json

LOCK, HOLDER = ".lock", ".lock.json"


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Keeps other processes from working on a run until the block or the process ends. Makes the folder.

    Raises `UserError`, naming the process, if another one is at work.
    """
    lock = filelock.FileLock(path / LOCK)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            f"{path} is being worked on by {_holder(path / HOLDER)}; wait until it is done, or choose another folder"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        write_json(path / HOLDER, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        # What stands in its place, if it is no file, has been told of.
        with contextlib.suppress(OSError):
            (path / HOLDER).unlink(missing_ok=True)
        lock.release()


def _holder(path: Path) -> str:
    try:
        holder = read_json(path)
        return f"process {int(holder['pid'])} on {holder['host']!s:.99}"
    except (UserError, KeyError, TypeError, ValueError, OverflowError):
        return "another process"
