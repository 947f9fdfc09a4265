"""Locks a folder, so that only one process, or one group of processes, works in it at a time."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

from accelerate import Accelerator

from auxar.errors import UserError
from auxar.locks import acquire, holder, noted

LOCK, HOLDER = ".lock", ".lock.json"
"""Names of the lock file, and of the file that says which process holds the lock."""


@contextlib.contextmanager
def holding(path: Path) -> Iterator[None]:
    """Holds the lock of the folder `path` until the block or the process ends. Creates the folder if it is missing.

    Raises `UserError` if another process holds the lock (the message names the process if it is known), if the folder
    cannot be written, or if its file system has no locks.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = acquire(path / LOCK, "choose a folder on another file system", timeout=0)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from None
    if lock is None:
        found = holder(path / LOCK)
        raise UserError(f"{path} is in use by {found.name}; {found.advice('choose another folder')}")
    with noted(path / LOCK, lock):
        yield


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
