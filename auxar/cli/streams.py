"""Makes the standard streams of a process safe to write to, whatever they are connected to.

A stream may be closed, its reader may have ended, its disk may be full, and its encoding may lack characters. None of
these raises an exception where text is printed, be it by auxar, a library or a plugin. For standard output, the failure
is reported once at the end, as the exit status.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import sys
from typing import Any, TextIO

READER_GONE = 141
"""Exit status if the reader of standard output ended before the output was written: that of SIGPIPE in a shell."""
DESCRIPTORS = range(3)
"""The file descriptors of standard input, output and error."""


class Sink(io.RawIOBase):
    """Writes bytes where a text stream writes. Bytes that cannot be written are dropped, and no exception is raised."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__()
        self.stream = stream  # Kept, because a text stream closes its raw stream when it is deleted.
        # A buffer would keep the bytes that cannot be written, and try again at the end of the process.
        self.raw: Any = getattr(stream.buffer, "raw", stream.buffer)
        self.failure: OSError | None = None
        """The first error of writing, or None."""

    def writable(self) -> bool:
        """True."""
        return True

    def write(self, content: Any) -> int:
        """Writes all bytes, or drops those that cannot be written. Returns the number of bytes in `content`."""
        left = memoryview(content).cast("B")
        size = len(left)
        try:
            while left:
                written = self.raw.write(left)
                if written is None:  # A stream that does not block, but would have to.
                    raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
                left = left[written:]
        except OSError as error:
            self.failure = self.failure or error
        return size

    def fileno(self) -> int:
        """The file descriptor of the text stream."""
        return int(self.raw.fileno())

    def isatty(self) -> bool:
        """Whether the text stream is a terminal."""
        return bool(self.raw.isatty())

    def status(self) -> int:
        """The exit status because of a failure: 0 if everything was written, `READER_GONE`, or 2 after a message."""
        sys.stdout.flush()
        if self.failure is None:
            return 0
        if self.failure.errno == errno.EPIPE:
            return READER_GONE
        print(f"auxar: standard output cannot be written: {self.failure.strerror}", file=sys.stderr)
        return 2


def guard() -> Sink:
    """Makes `sys.stdout` and `sys.stderr` safe to write to for the rest of the process.

    Characters that the encoding of a stream lacks are written as escapes. Streams that are closed become /dev/null.
    Returns the sink of standard output.
    """
    _open_descriptors()
    sys.stderr, _ = _guarded(sys.stderr)
    sys.stdout, output = _guarded(sys.stdout)
    return output


def _open_descriptors() -> None:
    """Opens /dev/null as each standard stream that is closed. Otherwise the next file would get its descriptor."""
    for descriptor in DESCRIPTORS:
        try:
            os.fstat(descriptor)
        except OSError:
            # The system uses the lowest free descriptor, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)


def _guarded(stream: TextIO | None) -> tuple[TextIO, Sink]:
    """Returns a stream that writes where `stream` does, and its sink. None stands for a closed stream."""
    if stream is None:
        stream = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    with contextlib.suppress(OSError):
        stream.flush()
    sink = Sink(stream)
    guarded = io.TextIOWrapper(  # type: ignore[type-var]
        sink,
        encoding=stream.encoding,
        errors="backslashreplace",
        line_buffering=bool(getattr(stream, "line_buffering", False)),
        write_through=bool(getattr(stream, "write_through", False)),
    )
    return guarded, sink
