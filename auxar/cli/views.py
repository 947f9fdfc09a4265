"""`auxar views`: writes the views of a recipe's images as the data of another recipe."""

from __future__ import annotations

import argparse
from pathlib import Path

from auxar.cli.options import add_json, add_recipe, add_settings, add_trust, integer
from auxar.cli.output import Result


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `views` to the parser."""
    parser = commands.add_parser(
        "views",
        help="write the views of a recipe's images as another recipe's data",
        description="Writes the images of a recipe's data set at one depth of its chain as parquet, with lossless "
        "pictures. Another recipe can then train the factors from this depth on without the full images.",
    )
    add_recipe(parser)
    parser.add_argument(
        "--depth",
        type=integer,
        required=True,
        metavar="K",
        help="depth of the images: 0 for the cropped and resized image, k for its k-th view",
    )
    parser.add_argument(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="PATH",
        help="a new file that ends in .parquet, for all images of the split data.train in their order; any other name "
        "is a new folder, for the training images (train.parquet), the held-out images (test.parquet) and any "
        "validation images (validation.parquet)",
    )
    add_settings(parser, "data.path=FOLDER")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_views)


def _views(options: argparse.Namespace) -> Result:
    from pyarrow.parquet import read_metadata

    from auxar.commands.views import write_views

    found = write_views(
        options.recipe, options.depth, options.out, settings=options.settings, trust_plugins=options.trust_plugins
    )
    files = [found] if found.is_file() else sorted(found.glob("*.parquet"))
    record = {
        "path": str(found),
        "depth": options.depth,
        "files": [{"file": file.name, "images": read_metadata(file).num_rows} for file in files],
    }
    return Result([str(found)], record)
