"""`auxar figures`: the paper's figures, of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_settings, add_trust


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb to the parser."""
    parser = verbs.add_parser(
        "figures",
        help="the paper's figures, of a run",
        description="Draws sheets like the paper's figures 2 to 6 into RUN/figures and shows them in the report: views "
        "with images drawn from them, images drawn from the views of held-out ones, the sweep of variance reduction, "
        "MAP samples, and images growing from coarse to fine.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument("--rows", type=int, default=6, metavar="N", help="images in each figure (default: 6)")
    add_settings(parser, "sampling.seed=1")
    add_trust(parser)
    parser.set_defaults(command=_figures)


def _figures(options: argparse.Namespace) -> None:
    from auxar.commands.figures import figures
    from auxar.errors import printable

    trust = options.trust_plugins
    print(printable(str(figures(options.run, rows=options.rows, settings=options.settings, trust_plugins=trust))))
