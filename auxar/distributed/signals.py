"""Requests to end a process: a signal, such as a preemptible machine sends, or the death of another process."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
"""The signals that request a process to end."""
TOGETHER = 2.0
"""Seconds in which repeated signals count as one: a terminal and a launcher may both send the same request."""
PATIENCE = 3.0
"""Seconds that the main thread has to handle a second signal. Then the process ends without it."""
PEER_DIED = 3
"""Exit status of a process that ended because another process of its run died."""


class Interrupted(KeyboardInterrupt):
    """A request to end, as an exception. `code` is the exit status: 128 + the signal's number, or `PEER_DIED`."""

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
        self.cause: Callable[[], Interrupted | None] = lambda: None
        """Returns the cause of a signal, or None if it is unknown. A launcher that sees one process die sends a signal
        to all others; the dead process is then the cause."""

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
        request = self.cause() or Interrupted.by_signal(number)
        if not self.add(request):
            raise request

    def handled(self, arrival: float) -> bool:
        """Whether `handle` was called for a signal that arrived at this time, in seconds of `time.monotonic`."""
        return self.last is not None and self.last > arrival - TOGETHER


requests = Requests()


_descriptor = -1
"""The file descriptor to which this process writes the numbers of its signals within `_ending_if_blocked`, else -1."""


@contextlib.contextmanager
def _ending_if_blocked() -> Iterator[None]:
    """Ends the process if a second signal arrives within the block while the main thread is blocked.

    Python runs its handlers in the main thread, between two instructions, and therefore not while an operation in C++
    waits, such as a collective operation with a stopped process. But the numbers of signals are written to a file
    descriptor at once, and a thread reads them. A process has only one such descriptor. If it is in use, for example by
    an outer block or an event loop, nothing is done.
    """
    global _descriptor
    reader, writer = socket.socketpair()
    with reader, writer:
        writer.setblocking(False)
        if (before := signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)) != -1:
            signal.set_wakeup_fd(before)
            yield
            return
        _descriptor = writer.fileno()
        thread = threading.Thread(target=_listen, args=[reader], name="auxar signals", daemon=True)
        thread.start()
        try:
            yield
        finally:
            _forget_descriptor()
            writer.shutdown(socket.SHUT_RDWR)  # Ends the thread, even if forked processes still have the descriptor.
            thread.join()


def _forget_descriptor() -> None:
    global _descriptor
    if _descriptor != -1 and (current := signal.set_wakeup_fd(-1)) != _descriptor:
        signal.set_wakeup_fd(current)  # Other code has replaced it.
    _descriptor = -1


# A forked process, such as a data worker, would write its own signals to the descriptor of its parent.
os.register_at_fork(after_in_child=_forget_descriptor)


def _listen(reader: socket.socket) -> None:
    first: float | None = None
    second: tuple[float, int] | None = None
    while True:
        # A timeout of 0 would have another meaning.
        reader.settimeout(None if second is None else max(second[0] + PATIENCE - time.monotonic(), 0.001))
        try:
            numbers = reader.recv(1)
        except TimeoutError:
            if second is not None and not requests.handled(second[0]):
                _end(second[1])
            second = None
            continue
        if not numbers:
            return
        if numbers[0] in SIGNALS:
            now = time.monotonic()
            first = now if first is None else first
            if second is None and now - first >= TOGETHER:
                second = now, numbers[0]


def _end(number: int) -> None:
    """Ends the process although its main thread is blocked."""
    request = Interrupted.by_signal(number)
    try:
        print(
            f"auxar: {request} without a checkpoint, because this was the second signal and the process did not react "
            f"within {PATIENCE:.0f} seconds",
            file=sys.stderr,
            flush=True,
        )
    finally:
        os._exit(request.code)


@contextlib.contextmanager
def heeding_signals() -> Iterator[None]:
    """Makes SIGINT and SIGTERM raise `Interrupted` within the block. A signal that the process ignores stays ignored.

    `between_steps` delays the first signal to the end of its block. If the main thread is blocked when a second signal
    arrives, the process ends after `PATIENCE` seconds.
    """
    if threading.current_thread() is not threading.main_thread():
        yield  # Only the main thread can install signal handlers, and only it runs them.
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:
            signal.signal(number, requests.handle)
    try:
        with _ending_if_blocked():
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
