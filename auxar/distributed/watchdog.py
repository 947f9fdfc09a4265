"""Several processes of one run: when one of them dies, the others say so and end."""

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
"""Seconds between two looks at the other processes."""
GRACE = 15.0
"""Seconds in which a process may leave by itself: one that trains a factor alone saves it."""


@attrs.frozen
class Peer:
    """One process of a run."""

    rank: int
    machine: str
    pid: int

    @classmethod
    def own(cls, rank: int) -> Peer:
        """The calling process."""
        return cls(rank, machine(), os.getpid())

    def find(self) -> psutil.Process | None:
        """The process itself, which has to be one of this machine; None if it has ended."""
        try:
            return psutil.Process(self.pid)
        except psutil.NoSuchProcess:
            return None


def alive(process: psutil.Process | None) -> bool:
    """Whether a process that was found still runs."""
    try:
        # The number of one that has ended may be another's by now, which this notices. Times of starting would not do:
        # they change for all processes when the machine's clock is set.
        return process is not None and process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def machine() -> str:
    """Equal for processes that can look each other up: one boot, and one space of process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # Not Linux, where there are no such spaces.
        return platform.node()


@contextlib.contextmanager
def watching(accelerator: Accelerator) -> Iterator[None]:
    """Within the block a process of this machine that dies ends the others, with an error that names it.

    At the block's end all processes wait for each other. Processes on other machines are not seen; their launchers end
    what cannot go on. An error that is raised because another process has died becomes `Interrupted`.
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
    """A thread that looks at the other processes, from entering to leaving."""

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
            # A connection breaks some moments before the process at its other end is seen to be gone.
            self.found.wait(4 * EVERY)
        requests.cause = lambda: None
        self.over.set()
        self.thread.join()

    def explanation(self, error: Exception) -> Interrupted | None:
        """What the error follows from, if it is the death of a process."""
        if self.dead:
            return self._interruption()
        if isinstance(error, torch.distributed.DistError):
            return Interrupted(f"the connection to a process on another machine broke ({error})", PEER_DIED)
        return None

    def _cause(self) -> Interrupted | None:
        if not self.dead and not self._gone():
            return None
        self.found.wait(4 * EVERY)
        return self._interruption() if self.dead else None

    def _interruption(self) -> Interrupted:
        names = " and ".join(f"process {peer.rank} of {self.count} (pid {peer.pid})" for peer in self.dead)
        return Interrupted(f"{names} ended before its work was done", PEER_DIED)

    def _gone(self) -> list[Peer]:
        return [peer for peer, process in self.peers if not alive(process)]

    def _look(self) -> None:
        while not self.over.wait(EVERY):
            self.dead = self._gone()
            if self.dead:
                self._end()
                return

    def _end(self) -> None:
        # Until the others have seen it too: they would take this process for dead as well if it left at once.
        time.sleep(2 * EVERY)
        if not requests.add(self._interruption()):
            _thread.interrupt_main(signal.SIGTERM)
        self.found.set()
        if not self.over.wait(GRACE):
            # The main thread waits for an answer of the dead, and hears nothing else.
            print(f"auxar: {self._interruption()}", file=sys.stderr, flush=True)
            os._exit(PEER_DIED)
