"""`auxar compress`: writes pictures without loss into a file of about −log₂ p bits."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_condition, add_json, add_run, add_shards, add_trust, condition_texts, division
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `compress` to the parser."""
    parser = commands.add_parser(
        "compress",
        help="compress pictures without loss, with a model in integers",
        description="Compresses pictures without loss into one file. An image x takes about −log₂ p(x) bits, and "
        "is decoded on every machine that has the same model. The run must have integers "
        "(`auxar integers`). Pictures may have any size; the model sees tiles of its own size.",
    )
    add_run(parser)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="image files, or folders of image files")
    parser.add_argument("-o", "--out", type=Path, required=True, metavar="FILE", help="the new file")
    parser.add_argument("--replace", action="store_true", help="replace the file if it exists")
    add_condition(
        parser,
        "label or attributes of the pictures, for a model that is given them: label=NAME, attributes=NAME,NAME… or "
        "none (the default); they are kept in the file",
    )
    add_shards(parser, "compress")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_compress)


def _compress(options: argparse.Namespace) -> Result:
    from auxar.commands.compress import compress

    made = compress(
        options.run,
        options.paths,
        options.out,
        replace=options.replace,
        condition=condition_texts(options),
        **division(options),
        trust_plugins=options.trust_plugins,
    )
    images = "1 image" if made.images == 1 else f"{made.images} images"
    line = f"{made.path}: {images}, {made.bytes:,} bytes, {made.bits_per_dim:.3f} bits/dim"
    record = {"file": str(made.path), "images": made.images, "bytes": made.bytes, "bits_per_dim": made.bits_per_dim}
    return Result([line], record)
