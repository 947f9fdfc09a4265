"""`auxar integers`: converts a run to integers, with which samples are the same on every machine."""

from __future__ import annotations

import argparse

from auxar.cli.options import add_json, add_run, add_settings, add_trust, integer
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `integers` to the parser."""
    parser = commands.add_parser(
        "integers",
        help="convert a finished run to integers, with which samples are the same on every machine",
        description="Converts the factors of a finished run to integers, once, and stores them beside the weights. "
        "Frequencies of values, and samples, are the same in integers, bit for bit, for every batch size, number of "
        "threads, sampler and machine: see `auxar sample --arithmetic integer`. For a model that comes trained, the "
        "integers are written into the folder ./NAME.",
    )
    add_run(parser)
    for name, what, usual in (("weights", "weight", 12), ("activations", "value between layers", 16)):
        parser.add_argument(
            f"--{name}",
            type=integer,
            metavar="BITS",
            help=f"bits of each {what}, 4 … 16 (default: those that integer.json records, or {usual})",
        )
    parser.add_argument(
        "--images",
        type=integer,
        default=256,
        metavar="N",
        help="number of training images from which the ranges of values are taken (default: 256)",
    )
    add_settings(parser, "data.path=FOLDER")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_integers)


def _integers(options: argparse.Namespace) -> Result:
    from auxar.commands.integers import integers

    made = integers(
        options.run,
        weights=options.weights,
        activations=options.activations,
        images=options.images,
        settings=options.settings,
        trust_plugins=options.trust_plugins,
    )
    lines = [f"{factor:<10}{digest}" for factor, digest in made.digests.items()]
    return Result(lines, {"run": str(made.folder.path), "digests": made.digests})
