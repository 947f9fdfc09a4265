"""`auxar run`: trains, evaluates and samples a recipe's model, and writes a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_json, add_recipe, add_settings, add_trust
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `run` to the parser."""
    parser = commands.add_parser(
        "run",
        help="train, evaluate and sample a recipe's model, and write a report",
        description="Trains every factor of the recipe's model, evaluates it in bits/dim, draws samples and figures, "
        "and writes a report. The same command continues a stopped run from its last checkpoints. With more steps, it "
        "trains a finished run further.",
    )
    add_recipe(parser)
    add_settings(parser, "training.steps=100, stage[0].decoder.filters=32")
    add_trust(parser)
    add_json(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the run's folder (default: runs/<recipe name>)")
    parser.add_argument(
        "--factors",
        default="",
        metavar="NAME,…",
        help="train only these factors: stage0 (the image given its view), stage1, … or prior (the coarsest view)",
    )
    parser.add_argument(
        "--train-only",
        action="store_true",
        help="train the factors without evaluation, samples and report; several such commands can train different "
        "factors of a run at the same time, and the command without this option finishes the run",
    )
    parser.set_defaults(command=_run)


def _run(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.pipeline import run
    from auxar.recipe import read_recipe
    from auxar.report.progress import progress_table, training_progress
    from auxar.report.summary import run_summary, summary_lines
    from auxar.report.text import table_lines

    only = [name.strip() for name in options.factors.split(",") if name.strip()]
    folder = run(
        options.recipe,
        settings=options.settings,
        out=options.out,
        only=only,
        train_only=options.train_only,
        trust_plugins=options.trust_plugins,
    )
    if options.train_only:
        progress = training_progress(folder, read_recipe(folder.recipe))
        return Result(table_lines(progress_table(progress)), [attrs.asdict(factor) for factor in progress])
    summary = run_summary(folder)
    return Result(summary_lines(summary), attrs.asdict(summary))
