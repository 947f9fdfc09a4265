"""The command line of auxar: runs a command, prints its result, and converts errors to messages and exit statuses."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

from auxar.cli.completion import add_completion
from auxar.cli.options import add_output
from auxar.cli.output import is_death_of_worker, logging_to_stderr, print_result
from auxar.distributed.signals import PEER_DIED, Interrupted, heeding_signals
from auxar.errors import UserError, did_you_mean, one_line, printable, shown

COMMANDS = (
    "run",
    "launch",
    "check",
    "evaluate",
    "compare",
    "tables",
    "sample",
    "figures",
    "score",
    "classify",
    "demo",
    "views",
    "recipes",
    "models",
    "export",
    "push",
    "integers",
    "compress",
    "decompress",
    "inspect",
    "schema",
    "plugins",
    "new-plugin",
)
KEPT = "finished work is kept, and the same command continues a run from its last checkpoint"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit status. The default of `arguments` is the command line of the process.

    The status is 0 on success, 2 for a mistake of the user, a file that cannot be read or written, or lack of memory, 3
    if another process of the run or a data worker died, 130 after SIGINT and 143 after SIGTERM. After --help, --version
    and mistakes in the arguments, argparse raises `SystemExit`.
    """
    if not (sys.argv[1:] if arguments is None else arguments):
        _parser().print_help(sys.stderr)
        return 2
    options = parsed(arguments)
    with heeding_signals():
        return _done(options)


def parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses the arguments of a command. For mistakes in them, argparse prints a message and raises `SystemExit`."""
    return _parser().parse_args(arguments)


def _done(options: argparse.Namespace) -> int:
    try:
        with logging_to_stderr(options):
            result = options.command(options)
        print_result(result, as_json=getattr(options, "json", False))
        if result.mistake is not None:
            raise result.mistake
    except UserError as error:
        _say(str(error))
        return 2
    except KeyboardInterrupt as error:
        _say(f"{str(error) or 'interrupted'}; {KEPT}")
        return error.code if isinstance(error, Interrupted) else 130
    except SystemExit as error:  # No command raises it, but the code of a plugin or library may.
        raise RuntimeError(f"the command was ended by sys.exit({shown(error.code)}) in other code") from error
    except OSError as error:  # A full disk or a lack of permission is no bug, so no traceback is shown.
        _say(str(error))
        return 2
    except (MemoryError, RuntimeError) as error:
        if is_death_of_worker(error):
            _say(f"data.workers: a data worker process has died ({str(error).strip()}); {KEPT}")
            return PEER_DIED
        if not _is_lack_of_memory(error):
            raise
        reason = f" ({error})" if str(error) else ""
        _say(
            f"there is not enough memory{reason}; reduce the batch size or, for training, raise training.accumulate; "
            "`auxar check RECIPE` prints the memory that training needs"
        )
        return 2
    return 0


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether the error means that the machine or a device is out of memory. PyTorch reports this in several ways."""
    # Imported here, because the import is slow and is not needed to parse the command line.
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, MemoryError) or should_reduce_batch_size(error)


def _say(what: str) -> None:
    print(printable(f"auxar: {what}"), file=sys.stderr)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        super().error(one_line(message))

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            near = did_you_mean(str(value), map(str, action.choices))
            raise argparse.ArgumentError(action, f"there is no {shown(value)}{near}")


def _parser() -> argparse.ArgumentParser:
    from importlib import import_module, metadata

    parser: argparse.ArgumentParser = _Parser(
        prog="auxar",
        description="Auxiliary-variable autoregressive image models: p(X, X̂) = p(X̂) p(X | X̂) with a view X̂ = ψ(X).",
        epilog="`auxar COMMAND --help` describes a command. To use several processes: accelerate launch -m auxar run "
        "RECIPE",
    )
    parser.add_argument("--version", action="version", version=f"auxar {metadata.version('auxar')}")
    add_completion(parser)
    add_output(parser)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for name in COMMANDS:
        import_module(f"auxar.cli.{name.replace('-', '_')}").add_to(commands)
        # Without a default here, an option before the command's name is kept.
        add_output(commands.choices[name], default=False)
    return parser
