"""The command line: `auxar run | check | evaluate | compare | sample | figures | plugins | new-plugin`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from auxar.distributed.signals import PEER_DIED, Interrupted, heeding_signals
from auxar.errors import UserError, printable

VERBS = ("run", "check", "evaluate", "compare", "sample", "figures", "plugins", "new-plugin")
KEPT = "what is finished is kept, and a run continues from its last checkpoint by the same command"


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command.

    0 if it did what was asked, 2 for a user's mistake or a machine that refuses, 3 if another process of the run died,
    130 and 143 if it was ended by SIGINT and SIGTERM.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter("%(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("auxar").setLevel(logging.INFO)
    with heeding_signals():
        return _done(options)


def _done(options: argparse.Namespace) -> int:
    try:
        options.command(options)
    except UserError as error:
        _say(str(error))
        return 2
    except KeyboardInterrupt as error:
        _say(f"{str(error) or 'interrupted'}; {KEPT}")
        return error.code if isinstance(error, Interrupted) else 130
    except OSError as error:  # Disks that are full, folders that may not be read: the machine's, not ours.
        _say(str(error))
        return 2
    except (MemoryError, RuntimeError) as error:
        if str(error).startswith("DataLoader worker (pid"):  # PyTorch raises this wherever the loss is noticed.
            _say(f"data.workers: a process that prepares images has died ({str(error).strip()}); {KEPT}")
            return PEER_DIED
        if not _is_lack_of_memory(error):
            raise
        reason = f" ({error})" if str(error) else ""
        _say(
            f"there is not enough memory{reason}; smaller batches take less, and so does a larger training.accumulate; "
            "`auxar check RECIPE` tells what training takes"
        )
        return 2
    return 0


def _is_lack_of_memory(error: Exception) -> bool:
    """Whether a machine or one of its devices has no more memory, which PyTorch tells in various ways."""
    # Not needed to parse a command line, and takes long to import.
    from accelerate.utils.memory import should_reduce_batch_size

    return isinstance(error, MemoryError) or should_reduce_batch_size(error)


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _say(what: str) -> None:
    print(printable(f"auxar: {what}"), file=sys.stderr)


def _parser() -> argparse.ArgumentParser:
    from importlib import import_module, metadata

    parser = argparse.ArgumentParser(
        prog="auxar",
        description="Auxiliary-variable autoregressive image models: p(X, X̂) = p(X̂) p(X | X̂) with a view X̂ = ψ(X).",
        epilog="`auxar VERB --help` explains each. Several processes: accelerate launch -m auxar run RECIPE",
    )
    parser.add_argument("--version", action="version", version=f"auxar {metadata.version('auxar')}")
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        import_module(f"auxar.cli.{verb.replace('-', '_')}").add_to(verbs)
    return parser
