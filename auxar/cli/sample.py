"""`auxar sample`: images drawn from a run's model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from auxar.cli.options import add_settings, add_trust
from auxar.errors import UserError, printable
from auxar.interfaces import RULES

if TYPE_CHECKING:
    from auxar.generation.inputs import GivenRequest


def add_to(verbs: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the verb to the parser."""
    parser = verbs.add_parser(
        "sample",
        help="draw images from a run's model",
        description="Draws images and writes a sheet, single PNGs and, for models with views, the way from coarse to "
        "fine. What is not given is as the run's recipe has it under [sampling]. With --given, images are drawn from "
        "the view of given ones (colorization, super-resolution) or, with --keep, from a part of them.",
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run's folder")
    parser.add_argument(
        "-n", "--images", type=int, metavar="N", help="number of images, or of draws for each given one"
    )
    parser.add_argument("--given", type=Path, nargs="+", metavar="PATH", help="images or folders of images")
    parser.add_argument(
        "--stage",
        type=int,
        metavar="K",
        help="draw depth K given the view at depth K + 1, then all finer images (default: 0)",
    )
    parser.add_argument("--as-view", action="store_true", help="the given files show the view itself, at depth K + 1")
    parser.add_argument(
        "--keep", metavar="ROWS|MASK", help="keep upper rows, or where a picture is white; draw the rest"
    )
    parser.add_argument("--rule", choices=RULES, help="how values are drawn")
    parser.add_argument("--reduction", type=float, metavar="R", help="for --rule reduced: off the log-scales")
    parser.add_argument("--temperature", type=float, metavar="T", help="divides the logits of softmax heads")
    parser.add_argument("--seed", type=int, metavar="S")
    parser.add_argument("--batch-size", type=int, metavar="B", help="images drawn at once")
    parser.add_argument("--sampler", metavar="NAME", help="a sampler, as `auxar plugins` lists them")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default: a folder in RUN/samples)")
    add_settings(parser, "sampling.images=64")
    add_trust(parser)
    parser.set_defaults(command=_sample)


def _sample(options: argparse.Namespace) -> None:
    from auxar.commands.sample import sample

    folder = sample(
        options.run,
        _given(options),
        images=options.images,
        rule=options.rule,
        reduction=options.reduction,
        temperature=options.temperature,
        batch_size=options.batch_size,
        seed=options.seed,
        sampler=options.sampler,
        settings=options.settings,
        out=options.out,
        trust_plugins=options.trust_plugins,
    )
    print(printable(str(folder)))


def _given(options: argparse.Namespace) -> GivenRequest | None:
    from auxar.generation.inputs import GivenRequest

    if options.given is None:
        for name, value in (("--stage", options.stage), ("--as-view", options.as_view), ("--keep", options.keep)):
            if value is not None and value is not False:
                raise UserError(f"{name} needs --given, the images to draw from")
        return None
    if options.keep is not None and (options.as_view or options.stage is not None):
        raise UserError("--keep completes images, --stage and --as-view draw from a view: they do not go together")
    return GivenRequest(tuple(options.given), options.stage or 0, options.as_view, options.keep)
