"""The command line: `auxar run | check | evaluate | compare | sample | figures | plugins | new-plugin`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from auxar.errors import UserError

VERBS = ("run", "check", "evaluate", "compare", "sample", "figures", "plugins", "new-plugin")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; 0 if it did what was asked, 2 for a user's mistake, 130 if interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("auxar").setLevel(logging.INFO)
    try:
        options.command(options)
    except UserError as error:
        print(f"auxar: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        kept = "what is finished is kept, and a run continues from its last checkpoint by the same command"
        print(f"auxar: interrupted; {kept}", file=sys.stderr)
        return 130
    except OSError as error:  # Disks that are full, folders that may not be read: the machine's, not ours.
        print(f"auxar: {error}", file=sys.stderr)
        return 2
    return 0


def _parser() -> argparse.ArgumentParser:
    from importlib import import_module

    parser = argparse.ArgumentParser(
        prog="auxar",
        description="Auxiliary-variable autoregressive image models: p(X, X̂) = p(X̂) p(X | X̂) with a view X̂ = ψ(X).",
        epilog="`auxar VERB --help` explains each. Several processes: accelerate launch -m auxar run RECIPE",
    )
    verbs = parser.add_subparsers(metavar="VERB", required=True)
    for verb in VERBS:
        import_module(f"auxar.cli.{verb.replace('-', '_')}").add_to(verbs)
    return parser
