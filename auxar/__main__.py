"""The entry point of the command `auxar` and of `python -m auxar`, which `torchrun -m auxar` runs too."""

import contextlib
import os
import signal
import sys

READER_GONE = 141
"""Exit status if the reader of standard output ended before the output was written: that of SIGPIPE in a shell."""


def start() -> None:
    """Runs the command line of this process, and ends the process with its exit status."""
    # A shell makes background processes ignore SIGINT.
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, _interrupted)

    # Imported here, so that an interrupt during the imports is handled.
    from auxar.cli import main

    try:
        try:
            status: str | int | None = main()
        except SystemExit as end:  # Raised by argparse, after help and after mistakes.
            status = end.code
        sys.stdout.flush()
    except OSError as error:
        # Commands report their own errors, so standard output cannot be written. Python would try again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        status = READER_GONE if isinstance(error, BrokenPipeError) else 2
        if status == 2:
            print(f"auxar: standard output cannot be written: {error.strerror}", file=sys.stderr)
    sys.exit(status)


def _interrupted(number: int, frame: object) -> None:
    """Ends the process at SIGINT, before and after a command, which has an own handler.

    An exception would not do: libraries that are being imported may catch or print it.
    """
    with contextlib.suppress(OSError):
        os.write(2, b"auxar: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    start()
