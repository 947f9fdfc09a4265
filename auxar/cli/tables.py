"""`auxar tables`: writes the tables of evaluated runs as CSV and LaTeX."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_json
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `tables` to the parser."""
    parser = commands.add_parser(
        "tables",
        help="write the tables of evaluated runs as CSV and LaTeX",
        description="Writes the tables of a run's report, or of the comparison of several runs with the first one, "
        "into a folder, each as CSV with all digits and as LaTeX, rounded, for the package booktabs. It reads only "
        "stored evaluations, so the images and the plugins of the runs are not needed.",
    )
    parser.add_argument(
        "runs", type=Path, nargs="+", metavar="RUN", help="the folder of an evaluated run, or the name of a model"
    )
    parser.add_argument(
        "--arithmetic",
        metavar="NAME",
        default="float",
        help="float (default), or integer: the evaluations in integers, which `auxar evaluate --arithmetic integer` "
        "wrote",
    )
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FOLDER", help="the folder of the files")
    parser.add_argument("--replace", action="store_true", help="replace files that exist")
    add_json(parser)
    parser.set_defaults(command=_tables)


def _tables(options: argparse.Namespace) -> Result:
    from auxar.commands.tables import tables
    from auxar.errors import one_line

    written = tables(options.runs, options.out, arithmetic=options.arithmetic, replace=options.replace)
    return Result([one_line(str(path)) for path in written], {"files": [str(path) for path in written]})
