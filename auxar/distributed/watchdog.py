"""Watches the processes of a run. If one of them dies, the others report it and end."""

from __future__ import annotations

import _thread
import contextlib
import os
import platform
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import attrs
import psutil
import torch.distributed
from accelerate import Accelerator
from accelerate.utils import gather_object

from auxar.distributed.signals import PEER_DIED, Interrupted, requests
from auxar.errors import UserError

EVERY = 0.5
"""Seconds between two checks of the other processes."""
GRACE = 15.0
"""Time limit, in seconds, for a process to save a checkpoint and end by itself after another process died."""


@attrs.frozen
class Peer:
    """One process of a run."""

    rank: int
    """Rank of the process, from 0."""
    machine: str
    """The result of `machine` in the process."""
    pid: int
    """The process ID."""

    @classmethod
    def own(cls, rank: int) -> Peer:
        """The calling process."""
        return cls(rank, machine(), os.getpid())

    def find(self) -> psutil.Process | None:
        """The `psutil.Process` of the peer, which must run on this machine; None if it has ended."""
        try:
            return psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            return None


def alive(process: psutil.Process | None) -> bool:
    """Whether a process from `Peer.find` still runs; False for None."""
    try:
        # `is_running` detects that the pid of an ended process belongs to another process by now. A comparison of
        # start times would fail, because they change when the machine's clock is set.
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def machine() -> str:
    """An identifier that is equal for processes that can find each other by pid: the boot and the PID namespace."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # Other systems than Linux have no PID namespaces.
        return platform.node()


@contextlib.contextmanager
def watching(accelerator: Accelerator) -> Iterator[None]:
    """Ends this process with an error if another process of the run on this machine dies within the block.

    The error names the dead process. When the block ends without an error, all processes wait for each other. Processes
    on other machines are not watched; their launchers end them. An exception that is caused by the death of another
    process is replaced by `Interrupted`; a `UserError` is not replaced.
    """
    if accelerator.num_processes == 1:
        yield
        return
    peers = gather_object([Peer.own(accelerator.process_index)])
    watch = _Watch([peer for peer in peers if peer.machine == machine() and peer.pid != os.getpid()], len(peers))
    try:
        with watch:
            yield
    except UserError:
        raise
    except Exception as error:
        if interruption := watch.explanation(error):
            raise interruption from None
        raise
    accelerator.wait_for_everyone()


class _Watch:
    """A context manager that checks the other processes in a thread."""

    def __init__(self, peers: Sequence[Peer], count: int) -> None:
        self.peers = [(peer, peer.find()) for peer in peers]
        self.count = count
        self.dead: list[Peer] = []
        self.found = threading.Event()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look, name="auxar peers", daemon=True)

    def __enter__(self) -> None:
        requests.cause = self._cause
        self.thread.start()

    def __exit__(self, kind: type[BaseException] | None, *error: object) -> None:
        if kind is not None and issubclass(kind, Exception) and not issubclass(kind, UserError):
            # A broken connection raises an error shortly before the thread notices the dead process.
            self.found.wait(4 * EVERY)
        requests.cause = lambda: None
        self.over.set()
        self.thread.join()

    def explanation(self, error: Exception) -> Interrupted | None:
        """The request to end that replaces an error, if the death of another process caused the error; else None."""
        if self.dead:
            return self._interruption()
        if isinstance(error, torch.distributed.DistError):
            return Interrupted(f"the connection to another process broke ({error})", PEER_DIED)
        return None

    def _cause(self) -> Interrupted | None:
        if not self.dead and not self._gone():
            return None
        self.found.wait(4 * EVERY)
        return self._interruption() if self.dead else None

    def _interruption(self) -> Interrupted:
        names = " and ".join(
            f"the process with rank {peer.rank} of {self.count} (pid {peer.pid})" for peer in self.dead
        )
        return Interrupted(f"{names} ended before the work was done", PEER_DIED)

    def _gone(self) -> list[Peer]:
        return [peer for peer, process in self.peers if not alive(process)]

    def _look(self) -> None:
        while not self.over.wait(EVERY):
            self.dead = self._gone()
            if self.dead:
                self._end()
                return

    def _end(self) -> None:
        # The other processes need time to notice the dead process. If this process ended at once, they would report it
        # as dead too.
        time.sleep(2 * EVERY)
        if not requests.add(self._interruption()):
            _thread.interrupt_main(signal.SIGTERM)
        self.found.set()
        if not self.over.wait(GRACE):
            # The main thread is blocked in a collective operation with the dead process, and handles no signals.
            print(f"auxar: {self._interruption()}", file=sys.stderr, flush=True)
            os._exit(PEER_DIED)
