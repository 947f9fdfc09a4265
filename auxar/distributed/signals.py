"""Being asked to end: by a signal, as machines that can be taken away send, or because another process has died."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
TOGETHER = 2.0
"""Seconds in which several signals are one: a terminal sends it to all processes, and a launcher passes it on."""
PEER_DIED = 3
"""Exit status of a process that ended because another one of its run did."""


class Interrupted(KeyboardInterrupt):
    """Ends the work. `code` is the exit status that says why: 128 + the signal's number, or `PEER_DIED`."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code

    @classmethod
    def by_signal(cls, number: int) -> Interrupted:
        """As shells count: 130 for SIGINT, 143 for SIGTERM."""
        return cls(
            "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}", 128 + number
        )


class Requests:
    """Requests to end that wait until the work can be left; the one of this process is `requests`."""

    def __init__(self) -> None:
        self.pending: Interrupted | None = None
        self.waiting = False
        self.last: float | None = None
        """When a signal was heeded last."""
        self.cause: Callable[[], Interrupted | None] = lambda: None
        """Gives the cause of a signal, if known: launchers end all processes when one has died."""

    def add(self, request: Interrupted) -> bool:
        """Keeps the request if it has to wait, and returns whether it does. Only the first of several is kept."""
        if self.waiting and self.pending is None:
            self.pending = request
            return True
        return False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler of `SIGNALS`. A second signal does not wait, unless it comes with the first."""
        now = time.monotonic()
        if self.last is not None and now - self.last < TOGETHER:
            return
        self.last = now
        request = self.cause() or Interrupted.by_signal(number)
        if not self.add(request):
            raise request


requests = Requests()


@contextlib.contextmanager
def heeding_signals() -> Iterator[None]:
    """Within the block SIGINT and SIGTERM raise `Interrupted`, but for one that the process was started to ignore."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread may say what signals do, and only it gets them.
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, requests.handle)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def between_steps() -> Iterator[Requests]:
    """Within the block the first request to end waits in `pending` for whoever asks; at the block's end it is raised.

    An error that leaves the block after such a request is taken to follow from it: processes that are told to end
    together cut each other's connections.
    """
    with heeding_signals():
        requests.waiting = True
        try:
            yield requests
        except Exception:
            if requests.pending is None:
                raise
        finally:
            pending, requests.pending, requests.waiting = requests.pending, None, False
        if pending is not None:
            raise pending
