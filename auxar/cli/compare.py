"""`auxar compare`: compares the bits/dim of evaluated runs."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `compare` to the parser."""
    parser = verbs.add_parser(
        "compare",
        help="compare the held-out bits/dim of evaluated runs",
        description="Compares evaluated runs with the first run: held-out bits/dim in total, by resolution and by "
        "factor, and the difference on the same images with its standard error. It reads only stored evaluations, so "
        "the images and the plugins of the runs are not needed.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run that the others are compared with")
    parser.add_argument("others", type=Path, nargs="+", metavar="RUN", help="runs that are compared with the first one")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument(
        "--out",
        type=Path,
        metavar="FILE",
        help="also write the comparison as a self-contained HTML page; only an earlier comparison page is replaced",
    )
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> None:
    import logging

    import attrs

    from auxar.commands.compare import compare
    from auxar.files import to_json
    from auxar.report.comparison import write_comparison
    from auxar.report.text import comparison_lines

    comparison = compare([options.run, *options.others])
    if options.out is not None:
        write_comparison(options.out, comparison)
        logging.getLogger("auxar").info("page: %s", options.out)
    if options.json:
        # `to_json` writes ASCII by default. This is needed, because other characters may control the terminal.
        print(to_json(attrs.asdict(comparison), indent=2))
    else:
        print("\n".join(comparison_lines(comparison)))
