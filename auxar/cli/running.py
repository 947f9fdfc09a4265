"""Runs a command that was parsed: prints its result, and converts errors to messages and exit statuses."""

from __future__ import annotations

import argparse
import re
import sys

from auxar.cli.output import logging_to_stderr, print_result
from auxar.commandline import Result
from auxar.commandline.parser import arguments_of
from auxar.errors import UserError, printable, shown
from auxar.work.signals import WORKER_DIED, Interrupted, heeding_signals

KEPT = "work that is stored, such as checkpoints and finished images, is kept, and the same command continues from it"


def run(options: argparse.Namespace) -> int:
    """Runs a command, and returns its exit status, as `auxar.cli.main` describes it."""
    with heeding_signals():
        return _done(options)


def _done(options: argparse.Namespace) -> int:
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
    print(printable(f"auxar: {what}"), file=sys.stderr)


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
