"""Watches the processes of a run. If one of them dies, the others report it and end."""

from __future__ import annotations

import _thread
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence

import torch.distributed
from accelerate import PartialState

from auxar.distributed.peers import Peer, alive, stopped
from auxar.distributed.processes import Processes
from auxar.distributed.signals import PEER_DIED, Interrupted, requests
from auxar.errors import UserError

logger = logging.getLogger("auxar")

EVERY = 0.5
"""Seconds between two checks of the other processes."""
GRACE = 15.0
"""Time limit, in seconds, for a process to save a checkpoint and end by itself after another process died."""
STOPPED_LOOKS = 20
"""Number of checks in a row that must find a process stopped before a message names it. A stop that is shorter, such as
that of a debugger, delays the work only a little. Checks are counted instead of seconds, because this process may have
been stopped too."""


@contextlib.contextmanager
def watching(processes: Processes) -> Iterator[None]:
    """Ends this process with an error if another process of the command on this machine dies within the block.

    The error names the dead process. A process that is stopped by a signal is named in a warning. When the block ends
    without an error, all processes wait for each other. Processes on other machines are not watched; their launchers
    end them. An exception that is caused by the death of another process is replaced by `Interrupted`; a `UserError` is
    not replaced.
    """
    if processes.count == 1:
        yield
        return
    own = processes.peers[processes.rank]
    watch = _Watch(
        [peer for peer in processes.peers if peer.machine == own.machine and peer != own], own, processes.count
    )
    try:
        with watch:
            yield
    except UserError:
        raise
    except Exception as error:
        if interruption := watch.explanation(error):
            raise interruption from None
        raise
    PartialState().wait_for_everyone()


class _Watch:
    """A context manager that checks the other processes in a thread."""

    def __init__(self, peers: Sequence[Peer], own: Peer, count: int) -> None:
        self.peers = [(peer, peer.find()) for peer in peers]
        self.own = own
        self.count = count
        self.dead: list[Peer] = []
        self.stops: dict[Peer, int] = {}
        """Number of checks in a row that found a process stopped."""
        self.named: set[Peer] = set()
        """Stopped processes that this process named in a message."""
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
        names = " and ".join(map(self._name, self.dead))
        return Interrupted(f"{names} ended before the work was done", PEER_DIED)

    def _name(self, peer: Peer) -> str:
        return f"the process with rank {peer.rank} of {self.count} (pid {peer.pid})"

    def _gone(self) -> list[Peer]:
        return [peer for peer, process in self.peers if not alive(process)]

    def _look(self) -> None:
        while not self.over.wait(EVERY):
            self.dead = self._gone()
            if self.dead:
                self._end()
                return
            self._tell_of_stops()

    def _tell_of_stops(self) -> None:
        """Logs a warning about each process that `STOPPED_LOOKS` checks in a row found stopped, and when it goes on.

        Of several running processes, the one with the lowest rank logs the warning.
        """
        self.stops = {peer: self.stops.get(peer, 0) + 1 for peer, process in self.peers if stopped(process)}
        tells = all(peer in self.stops for peer, _ in self.peers if peer.rank < self.own.rank)
        for peer, looks in self.stops.items():
            if looks == STOPPED_LOOKS and tells:
                self.named.add(peer)
                logger.warning(
                    "%s is stopped, and the other processes wait for it; `kill -CONT %d` lets it go on; or end it with "
                    "`kill -KILL %d`, and start the same command again",
                    *(self._name(peer), peer.pid, peer.pid),
                )
        for peer in self.named - self.stops.keys():
            self.named.remove(peer)
            logger.warning("%s goes on", self._name(peer))

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
