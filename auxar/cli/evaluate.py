"""`auxar evaluate`: computes the bits/dim of a run."""

from __future__ import annotations

import argparse

from auxar.cli.options import add_json, add_run, add_settings, add_trust
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `evaluate` to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="compute the bits/dim of a run, in total and for every factor",
        description="Evaluates the trained factors of a run on its held-out and training images, prints bits/dim, and "
        "writes evaluation.json, evaluation.safetensors (the log-likelihood of every image) and the report. For a "
        "model that comes trained, the first two are written into the folder ./NAME.",
    )
    add_run(parser)
    add_settings(parser, "evaluation.batch_size=64, evaluation.train_images=0")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.commands.evaluate import evaluate
    from auxar.evaluation.records import Evaluation
    from auxar.report.text import evaluation_lines
    from auxar.runs.records import read_record

    run = evaluate(options.run, settings=options.settings, trust_plugins=options.trust_plugins)
    evaluation = read_record(run.evaluation, Evaluation)
    return Result(evaluation_lines(evaluation), {"run": str(run.path), **attrs.asdict(evaluation)})
