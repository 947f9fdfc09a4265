"""The output of a command: its result on standard output, and everything else on standard error."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from auxar.commandline import Result
from auxar.errors import printable


def print_result(result: Result, *, as_json: bool) -> None:
    """Prints a result on standard output, as text or as JSON. Prints nothing unless this is the main process."""
    # A launcher of several processes sets RANK before Python starts.
    if os.environ.get("RANK", "0") != "0":
        return
    if as_json:
        from auxar.files import to_json

        # `to_json` writes ASCII by default. This is needed, because other characters may control the terminal.
        print(to_json(result.record, indent=2))
    else:
        print(printable("\n".join(result.lines)))


@contextlib.contextmanager
def logging_to_stderr(options: argparse.Namespace) -> Iterator[None]:
    """A context in which messages from the chosen level on are written to standard error. So is all other output.

    `options` are those of `add_output`. At levels above INFO, progress is hidden, too. Whatever plugins and libraries
    print to standard output goes to standard error, so that only the result of the command is on standard output.
    """
    level = max(logging.getLevelName(options._log_level.upper()), logging.WARNING if options._quiet else 0)
    logging.basicConfig(handlers=[_Handler()], level=max(level, logging.WARNING), format="%(message)s")
    logger = logging.getLogger("auxar")
    before = logger.level
    logger.setLevel(level)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr):
            if level > logging.WARNING:
                warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(before)


class _Handler(logging.StreamHandler[Any]):
    """Writes messages to standard error. Progress bars on a terminal are cleared before, and drawn again after it."""

    def emit(self, record: logging.LogRecord) -> None:
        from tqdm import tqdm

        with tqdm.external_write_mode(file=self.stream):
            super().emit(record)

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))
