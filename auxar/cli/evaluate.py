"""`auxar evaluate`: bits/dim of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_settings


def add_to(verbs: argparse._SubParsersAction) -> None:
    """Adds the verb to the parser."""
    parser = verbs.add_parser(
        "evaluate",
        help="bits/dim of a run, factor by factor",
        description="Evaluates the trained factors of a run on its held-out and training images, and writes "
        "evaluation.json and the report.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    add_settings(parser, "evaluation.batch_size=64, evaluation.train_images=0")
    parser.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> None:
    from auxar.files import read_json
    from auxar.running import evaluate

    run = evaluate(options.run, settings=options.settings)
    table = read_json(run.evaluation)
    print(f"{'factor':<10}{'held-out':>12}{'training':>12}   bits/dim of the factor's own size")
    for entry in table["factors"]:
        figures = [entry[name]["bits_per_dim"] if entry[name] else None for name in ("heldout", "training")]
        print(f"{entry['factor']:<10}" + "".join(_figure(value) for value in figures))
    total = table["bits_per_dim"]
    print(f"{'total':<10}{_figure(total['heldout'])}{_figure(total['training'])}   of the image ({table['kind']})")


def _figure(value: float | None) -> str:
    return f"{'–':>12}" if value is None else f"{value:>12.4f}"
