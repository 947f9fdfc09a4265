"""The entry point of the command `auxar` and of `python -m auxar`, which `torchrun -m auxar` runs too."""

from __future__ import annotations

import contextlib
import os
import signal
import sys


def start() -> None:
    """Runs the command line of this process, and ends the process with its exit status."""
    # A shell makes background processes ignore SIGINT.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupted)

    # Imported here, so that an interrupt during the imports is handled.
    from auxar.cli import main, streams

    output = streams.guard()
    try:
        status: str | int | None = main()
    except SystemExit as end:  # Raised by argparse, after help and after mistakes.
        status = end.code
    sys.exit(status or output.status())


def _interrupted(number: int, frame: object) -> None:
    """Ends the process at SIGINT, before and after a command, which has an own handler.

    An exception would not do: libraries that are being imported may catch or print it.
    """
    with contextlib.suppress(OSError):
        os.write(2, b"auxar: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    start()
