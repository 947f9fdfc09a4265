"""`auxar compare`: runs side by side."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb to the parser."""
    parser = verbs.add_parser(
        "compare",
        help="runs side by side, and their differences on the same images",
        description="Compares evaluated runs with the first: held-out bits/dim in total, by resolution and by factor, "
        "and the difference on the same images with its standard error. It reads what `auxar evaluate` wrote; neither "
        "the images nor a run's plugins are needed.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="the run to compare with")
    parser.add_argument("others", type=Path, nargs="+", metavar="RUN", help="runs to compare")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of tables")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write a web page that needs no other file")
    parser.set_defaults(command=_compare)


def _compare(options: argparse.Namespace) -> None:
    import json
    import logging

    import attrs

    from auxar.commands.compare import compare
    from auxar.report.comparison import write_comparison
    from auxar.report.text import comparison_lines

    comparison = compare([options.run, *options.others])
    if options.out is not None:
        write_comparison(options.out, comparison)
        logging.getLogger("auxar").info("page: %s", options.out)
    if options.json:
        # In ASCII, because JSON does not escape all characters that control a terminal.
        print(json.dumps(attrs.asdict(comparison), indent=2))
    else:
        print("\n".join(comparison_lines(comparison)))
