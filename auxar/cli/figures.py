"""`auxar figures`: draws the paper's figures with a run's model."""

from __future__ import annotations

import argparse

from auxar.cli.options import add_json, add_run, add_settings, add_trust, integer
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `figures` to the parser."""
    parser = commands.add_parser(
        "figures",
        help="draw the figures of Kolesnikov & Lampert (2017) with a run's model",
        description="Draws sheets like figures 2 to 6 of Kolesnikov & Lampert (2017) into RUN/figures and adds them to "
        "the report: images drawn given drawn views, images drawn given the views of held-out images, samples at "
        "several strengths of variance reduction, images drawn by the rule map, samples from coarse to fine, and the "
        "training images nearest to samples. Figures of views, and of rules that change nothing in the model, are left "
        "out. For a model that comes trained, the sheets are written into ./NAME/figures.",
    )
    add_run(parser)
    parser.add_argument(
        "--rows", type=integer, default=6, metavar="N", help="number of rows of images in each figure (default: 6)"
    )
    add_settings(parser, "sampling.seed=1, data.path=FOLDER")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_figures)


def _figures(options: argparse.Namespace) -> Result:
    from auxar.commands.figures import figures
    from auxar.files import read_json

    trust = options.trust_plugins
    folder = figures(options.run, rows=options.rows, settings=options.settings, trust_plugins=trust)
    return Result([str(folder)], {"folder": str(folder), "figures": read_json(folder / "figures.json")})
