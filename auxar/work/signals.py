"""Requests to end a process by a signal, such as a preemptible machine or a launcher sends."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The signals that request a process to end."""
TOGETHER = 2.0
"""Seconds in which repeated signals count as one: a terminal and a launcher may both send the same request."""
WORKER_DIED = 3
"""Exit status of a process that ended because a process that prepares its images died."""


class Interrupted(KeyboardInterrupt):
    """A request to end, as an exception. `code` is the exit status: 128 + the signal's number."""

    def __init__(self, why: str, code: int) -> None:
        super().__init__(why)
        self.code = code

    @classmethod
    def by_signal(cls, number: int) -> Interrupted:
        """The request by a signal, with the exit status that shells use: 130 for SIGINT, 143 for SIGTERM."""
        return cls(
            "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}", 128 + number
        )


class Requests:
    """Keeps a request to end until the work can stop. `requests` is the only instance in this process."""

    def __init__(self) -> None:
        self.pending: Interrupted | None = None
        """The request that is kept, if there is one."""
        self.waiting = False
        """Whether requests are kept (within `between_steps`) or raised at once."""
        self.last: float | None = None
        """Time of the last signal that was handled, in seconds of `time.monotonic`."""

    def add(self, request: Interrupted) -> bool:
        """Keeps the request if `waiting` is set and no other request is pending. Returns whether it is kept."""
        if self.waiting and self.pending is None:
            self.pending = request
            return True
        return False

    def handle(self, number: int, frame: FrameType | None) -> None:
        """The handler of `SIGNALS`. The first signal may be kept until the work can stop; a later one raises at once.

        A signal within `TOGETHER` seconds of the last one is ignored.
        """
        now = time.monotonic()
        if self.last is not None and now - self.last < TOGETHER:
            return
        self.last = now
        request = Interrupted.by_signal(number)
        if not self.add(request):
            raise request


requests = Requests()


@contextlib.contextmanager
def heeding_signals() -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise `Interrupted` within the block. A signal that the process ignores stays ignored.

    `between_steps` delays the first signal to the end of its block.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread can install signal handlers, and only it runs them.
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
    """Keeps the first request to end that arrives within the block in `pending`, and raises it when the block ends.

    An exception in the block after such a request is replaced by the request, because processes that end together break
    each other's connections.
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
