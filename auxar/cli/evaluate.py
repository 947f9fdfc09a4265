"""`auxar evaluate`: computes the bits/dim of a run."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import (
    add_arithmetic,
    add_json,
    add_run,
    add_settings,
    add_shards,
    add_trust,
    division,
    integer,
)
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `evaluate` to the parser."""
    parser = commands.add_parser(
        "evaluate",
        help="compute the bits/dim of a run, in total and for every factor",
        description="Evaluates the trained factors of a run on its held-out and training images, prints bits/dim, and "
        "writes evaluation.json, evaluation.safetensors (the log-likelihood of every image) and the report. With "
        "--arithmetic integer, it also evaluates in integers, and writes evaluation-integer.json and "
        "evaluation-integer.safetensors. For a model that comes trained, these files are written into the folder "
        "./NAME, without a report.",
    )
    add_run(parser)
    add_arithmetic(parser, "also evaluate with the integers that `auxar integers` made, and print the difference")
    add_settings(parser, "evaluation.batch_size=64, evaluation.train_images=0")
    parser.add_argument(
        "--fid",
        action="store_true",
        help="also compute FID and KID of drawn images, and write fid.json (needs `pip install 'auxar[fid]'`)",
    )
    parser.add_argument("--fid-images", type=integer, metavar="N", help="number of drawn images (default: 2048)")
    parser.add_argument(
        "--fid-reference",
        metavar="SET",
        help="heldout (default) or training: the images that drawn images are compared with",
    )
    parser.add_argument(
        "--fid-weights",
        type=Path,
        metavar="FILE",
        help="a file with the published weights of Inception-v3 (default: torch-fidelity downloads it)",
    )
    add_shards(parser, "evaluate")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_evaluate)


def _evaluate(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.commands.evaluate import evaluate
    from auxar.commands.fid import fid
    from auxar.distributed.shards import as_shard
    from auxar.errors import UserError
    from auxar.evaluation.records import Evaluation
    from auxar.evaluation.shards import evaluation_files
    from auxar.evaluation.stored import other_evaluations
    from auxar.report import words
    from auxar.report.text import evaluation_lines
    from auxar.runs.records import read_record

    given = {name: getattr(options, f"fid_{name}") for name in ("images", "reference", "weights")}
    given = {name: value for name, value in given.items() if value is not None}
    if given and not options.fid:
        raise UserError(f"--fid-{next(iter(given))} needs --fid")
    divided = division(options)
    if options.fid and divided["shard"] is not None:
        raise UserError("--fid cannot be combined with --shard; use it once, with --merge")
    distances = fid(options.run, trust_plugins=options.trust_plugins, **given) if options.fid else None
    run = evaluate(
        options.run,
        settings=options.settings,
        arithmetic=options.arithmetic,
        trust_plugins=options.trust_plugins,
        **divided,
    )
    if (shard := divided["shard"]) is not None:
        path = str(evaluation_files(run).path(as_shard(shard)))
        return Result([path], {"run": str(run.path), "shard": shard, "file": path})
    evaluation = read_record(run.evaluation, Evaluation)
    others = other_evaluations(run.path, evaluation)
    lines = [*evaluation_lines(evaluation), *(line for other in others for line in ("", words.cost_of(other)))]
    table = {"run": str(run.path), **attrs.asdict(evaluation)}
    if others:
        table["others"] = {other.arithmetic: attrs.asdict(other) for other in others}
    if distances is not None:
        lines += ["", words.fid(distances)]
        table["fid"] = attrs.asdict(distances)
    return Result(lines, table)
