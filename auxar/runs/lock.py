"""Locks a folder, so that only one process, or one group of processes, works in it at a time."""

import contextlib
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from auxar.errors import UserError, logger
from auxar.files import refusing
from auxar.locks import ADVICE, PATIENCE, acquire, holder, noted, noted_by
from auxar.work.processes import Processes

LOCK, HOLDER = ".lock", ".lock.json"
"""Names of the lock file, and of the file that says which process holds the lock."""
SEEN_AFTER = 10.0
"""Maximum time, in seconds, until a file that one machine writes is seen by others that share its folder."""


@contextlib.contextmanager
def holding(path: Path, patience: float = 0.0) -> Iterator[None]:
    """Holds the lock of the folder `path` until the block or the process ends. Creates the folder if it is missing.

    Raises `UserError` if another process still holds the lock after `patience` seconds (the message names the process
    if it is known), if the folder cannot be written, or if its file system refuses locks.
    """
    with refusing(path, "written"):
        path.mkdir(parents=True, exist_ok=True)
        lock = acquire(path / LOCK, timeout=min(patience, PATIENCE))
        if lock is None and patience > PATIENCE:
            logger.info("waiting for %s, which is in use by %s", path, holder(path / LOCK))
            lock = acquire(path / LOCK, timeout=patience - PATIENCE)
    if lock is None:
        raise UserError(f"{path} is in use by {holder(path / LOCK)}; {ADVICE}, or choose another folder")
    with noted(path / LOCK, lock):
        yield


@contextlib.contextmanager
def holding_for_all(
    path: Path, processes: Processes, check: Callable[[Path], None], patience: float = 0.0
) -> Iterator[None]:
    """Holds the lock of the folder `path` for the processes of a command, which must all enter the block.

    The main process runs `check` on the folder and then locks it. Raises `UserError` in all processes if it cannot
    within `patience` seconds, or if a process sees another folder under the same path.
    """
    with contextlib.ExitStack() as held:
        with processes.agreeing():
            if processes.is_main:
                check(path)
                held.enter_context(holding(path, patience))
        main = processes.from_main((os.getpid(), socket.gethostname()))
        with processes.agreeing():
            until = time.monotonic() + SEEN_AFTER
            # Without a note, which needs space on the disk, the main process still has its own folder.
            while not processes.is_main and noted_by(path / LOCK) != main:
                if time.monotonic() >= until:
                    raise UserError(
                        f"{path} on {socket.gethostname()} is not the folder that the process with rank 0 uses on "
                        f"{main[1]}; all processes need access to the same folder"
                    )
                time.sleep(0.1)
        yield
