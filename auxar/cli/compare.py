"""`auxar compare`: compares the bits/dim of evaluated runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_json
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `compare` to the parser."""
    parser = commands.add_parser(
        "compare",
        help="compare the held-out bits/dim of evaluated runs",
        description="Compares evaluated runs with the first run: held-out bits/dim in total, by resolution and by "
        "factor, and the difference on the same images with its standard error. It reads only stored evaluations, so "
        "the images and the plugins of the runs are not needed.",
    )
    parser.add_argument(
        "run",
        type=Path,
        metavar="RUN",
        help="the folder of the run that the others are compared with, or the name of a model",
    )
    parser.add_argument("others", type=Path, nargs="*", metavar="RUN", help="runs that are compared with the first one")
    parser.add_argument(
        "--arithmetic",
        metavar="NAME",
        default="float",
        help="float (default), or integer: compare the evaluations in integers, which `auxar evaluate --arithmetic "
        "integer` wrote",
    )
    add_json(parser)
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="also write the comparison as a self-contained HTML page; only an earlier comparison page is replaced",
    )
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> Result:
    import logging

    import attrs

    from auxar.commands.compare import compare
    from auxar.report.comparison import write_comparison
    from auxar.report.text import comparison_lines

    comparison = compare([options.run, *options.others], arithmetic=options.arithmetic)
    if options.out is not None:
        write_comparison(options.out, comparison)
        logging.getLogger("auxar").info("page: %s", options.out)
    return Result(comparison_lines(comparison), attrs.asdict(comparison))
