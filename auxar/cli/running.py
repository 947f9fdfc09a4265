"""Runs a command that was parsed: prints its result, and converts errors to messages and exit statuses.

The result is on standard output, and everything else on standard error.
"""

import argparse
import contextlib
import logging
import os
import re
import sys
import warnings
from collections.abc import Iterator
from typing import Any

from auxar.commandline import Result
from auxar.commandline.parser import arguments_of
from auxar.errors import LONGEST_LINE, UserError, one_line, printable, shown
from auxar.work.signals import WORKER_DIED, Interrupted, heeding_signals

KEPT = "if work was stored, such as checkpoints or finished images, it is kept, and the same command continues from it"
LONGEST_MESSAGE = 2 * LONGEST_LINE
"""Maximum number of characters of a line of an error message."""


@heeding_signals()
def run(options: argparse.Namespace) -> int:
    """Runs a command, and returns its exit status, as `auxar.cli.main` describes it."""
    try:
        with logging_to_stderr(options):
            result = _result(options)
        print_result(result, as_json=options._json)
        if result.mistake is not None:
            raise result.mistake
    except KeyboardInterrupt as error:
        _say(f"{str(error) or 'interrupted'}; {KEPT}")
        return error.code if isinstance(error, Interrupted) else 130
    except SystemExit as error:  # No command raises it, but the code of a plugin or library may.
        if error.code not in (0, None):
            raise
        raise RuntimeError(f"the command was ended by sys.exit({shown(error.code)}) in other code") from error
    except BrokenPipeError:  # Standard output has no reader, which the caller handles.
        raise
    except (UserError, OSError) as error:  # A full disk or a lack of permission is no bug either.
        _say(str(error))
        return 2
    except (MemoryError, RuntimeError) as error:
        if str(error).startswith("DataLoader worker (pid"):
            _say(f"data.workers: a data worker process has died ({str(error).strip()}); {KEPT}")
            return WORKER_DIED
        # Imported here, because the import is slow and is not needed to parse the command line.
        from accelerate.utils.memory import should_reduce_batch_size

        if not isinstance(error, MemoryError) and not should_reduce_batch_size(error):
            raise
        reason = f" ({error})" if str(error) else ""
        _say(
            f"there is not enough memory{reason}; reduce the batch size or, for training, raise training.accumulate; "
            "`auxar check RECIPE` prints the memory that training needs"
        )
        return 2
    return 0


def _say(what: str) -> None:
    lines = f"auxar: {what}".split("\n")
    print("\n".join(one_line(line, LONGEST_MESSAGE) for line in lines), file=sys.stderr)


def _result(options: argparse.Namespace) -> Result:
    function = options._command
    _, show = function.__auxar__
    try:
        found: Result = show(function(**arguments_of(function, options)))
        return found
    except UserError as error:
        # The function names its parameters, as in `settings[0]: …`. The user has given options.
        named = re.match(r"(\w+)(\[\d+\])?(:.*)", str(error), re.DOTALL)
        flag = None if named is None else options._flags.get(f"{named[1]}[]" if named[2] else named[1])
        if named is None or flag is None:
            raise
        raise UserError(flag + named[3]) from None


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
