"""Locks a folder, so that only one process, or one group of processes, works in it at a time."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
from accelerate import Accelerator

from auxar.errors import UserError
from auxar.files import check_output, read_json, write_json

LOCK, HOLDER = ".lock", ".lock.json"
"""Names of the lock file, and of the file that says which process holds the lock."""


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Holds the lock of the folder `path` until the block or the process ends. Creates the folder if it is missing.

    Raises `UserError` if another process holds the lock (the message names the process if it is known), or if the
    folder cannot be written.
    """
    check_output(path / LOCK)
    lock = filelock.FileLock(path / LOCK)
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise UserError(
            f"{path} is in use by {_holder(path / HOLDER)}; wait until it is done, or choose another folder"
        ) from None
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    try:
        write_json(path / HOLDER, {"pid": os.getpid(), "host": socket.gethostname()})
        yield
    finally:
        # If a folder has the name of this file, `write_json` has raised an error, and `unlink` must not raise another.
        with contextlib.suppress(OSError):
            (path / HOLDER).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def holding_for_all(path: Path, accelerator: Accelerator, check: Callable[[Path], None]) -> Iterator[None]:
    """Holds the lock of the folder `path` for a group of processes.

    The main process runs `check` on the folder and then locks it. The other processes do neither, and do not wait for
    the main process.
    """
    if not accelerator.is_main_process:
        yield
        return
    check(path)
    with holding(path):
        yield


def _holder(path: Path) -> str:
    try:
        holder = read_json(path)
        return f"process {int(holder['pid'])} on {holder['host']!s:.99}"
    except (UserError, KeyError, TypeError, ValueError, OverflowError):
        return "another process"
