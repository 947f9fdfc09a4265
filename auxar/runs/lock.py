"""The lock of a folder: one process, or one group of processes, at a time works in it."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
from accelerate import Accelerator

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
        # Anything other than a regular file in its place was already reported.
        with contextlib.suppress(OSError):
            (path / HOLDER).unlink(missing_ok=True)
        lock.release()


@contextlib.contextmanager
def holding_for_all(path: Path, accelerator: Accelerator, check: Callable[[Path], None]) -> Iterator[None]:
    """`holding` by the first process for all of a group, once `check` has accepted the folder."""
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
