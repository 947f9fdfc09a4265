"""`auxar sample`: draws images from a run's model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from auxar.cli.options import (
    add_arithmetic,
    add_condition,
    add_json,
    add_rule,
    add_run,
    add_settings,
    add_shards,
    add_trust,
    condition_texts,
    division,
    integer,
)
from auxar.cli.output import Result
from auxar.errors import UserError

if TYPE_CHECKING:
    from auxar.generation.inputs import GivenRequest

OUT = "output folder (default: a folder in RUN/samples or, for a model that comes trained, in ./NAME/samples)"
"""The description of --out."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `sample` to the parser."""
    parser = commands.add_parser(
        "sample",
        help="draw images from a run's model",
        description="Draws images and writes each as a PNG file, and a sheet that shows many of them. For models with "
        "views and without --given, a second sheet shows images with their views, from coarse to fine. Options that "
        "are left out have the values of [sampling] in the run's recipe. With --given, images are drawn from the views "
        "of the given images (colorization, super-resolution). With --given and --keep, a part of each given image is "
        "kept and the rest is drawn.",
    )
    add_run(parser)
    parser.add_argument(
        "-n",
        "--images",
        type=integer,
        metavar="N",
        help="number of images, or of draws for each given image (default with --given: 4)",
    )
    parser.add_argument(
        "--given", type=Path, nargs="+", metavar="PATH", help="image files, or folders of images, to draw from"
    )
    parser.add_argument(
        "--stage",
        type=integer,
        metavar="K",
        help="draw the image at depth K given the view at depth K + 1, then all finer images (default: 0)",
    )
    parser.add_argument(
        "--as-view",
        action="store_true",
        help="the given files show the view at depth K + 1 (see --stage), not the image",
    )
    parser.add_argument(
        "--keep",
        metavar="ROWS|MASK",
        help="keep the upper ROWS rows, or the pixels that are white in the picture MASK; draw the rest",
    )
    add_condition(
        parser,
        "condition of a model that has one: label=NAME,NAME… (or label=all), attributes=NAME,NAME…, mask=FILE, "
        "image=FILE, none for the null condition, or drawn for conditions from p(y); several are used in turn "
        "(default: all classes of a label in turn; with --given, and for other kinds, the null condition)",
    )
    add_rule(parser)
    parser.add_argument("--seed", type=integer, metavar="S", help="seed of the noise")
    parser.add_argument("--batch-size", type=integer, metavar="B", help="number of images drawn at once")
    parser.add_argument("--sampler", metavar="NAME", help="name of a sampler (see `auxar plugins`)")
    add_arithmetic(
        parser, "draw with the integers that `auxar integers` made, which give the same images on every machine"
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help=OUT)
    add_settings(parser, "sampling.images=64 or, with --given, data.resize=cover")
    add_shards(parser, "draw")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_sample)


def _sample(options: argparse.Namespace) -> Result:
    from auxar.commands.sample import sample
    from auxar.files import read_json

    divided = division(options)
    folder = sample(
        options.run,
        _given(options),
        images=options.images,
        rule=options.rule,
        batch_size=options.batch_size,
        seed=options.seed,
        sampler=options.sampler,
        settings=options.settings,
        out=options.out,
        condition=condition_texts(options),
        arithmetic=options.arithmetic,
        trust_plugins=options.trust_plugins,
        **divided,
    )
    if (shard := divided["shard"]) is not None:
        return Result([str(folder)], {"folder": str(folder), "shard": shard})
    return Result([str(folder)], {"folder": str(folder), **read_json(folder / "samples.json")})


def _given(options: argparse.Namespace) -> GivenRequest | None:
    from auxar.generation.inputs import GivenRequest

    if options.given is None:
        for name, value in (("--stage", options.stage), ("--as-view", options.as_view), ("--keep", options.keep)):
            if value is not None and value is not False:
                raise UserError(f"{name} needs --given with the images to draw from")
        return None
    if options.keep is not None and (options.as_view or options.stage is not None):
        raise UserError(
            "--keep cannot be combined with --stage or --as-view: --keep completes images, and the other two options "
            "draw images from a view"
        )
    return GivenRequest(tuple(options.given), options.stage or 0, options.as_view, options.keep)
