"""`auxar classify`: the most probable labels of images."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from auxar.cli.options import add_json, add_run, add_trust, integer
from auxar.cli.output import Result

if TYPE_CHECKING:
    from auxar.commands.classify import Classes


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `classify` to the parser."""
    parser = commands.add_parser(
        "classify",
        help="find the most probable labels of images",
        description="Computes the probability of each label given an image, p(y | X) ∝ p(X | y) p(y), with a model "
        "that is given labels. p(y) is the model's own if its recipe has condition.prior; otherwise all labels are "
        "equally probable.",
    )
    add_run(parser)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="image files, or folders of image files")
    parser.add_argument(
        "--top", type=integer, default=3, metavar="N", help="number of labels to show for each image (default: 3)"
    )
    parser.add_argument(
        "--resize", metavar="NAME", help="none, cover or stretch: images of other sizes (default: the recipe's)"
    )
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_classify)


def _classify(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.commands.classify import classify

    found = classify(
        options.run, options.paths, top=options.top, resize=options.resize, trust_plugins=options.trust_plugins
    )
    record = attrs.asdict(found)
    for image in record["images"]:
        image["file"] = str(image["file"])
    return Result(list(_lines(found)), record)


def _lines(found: Classes) -> Iterator[str]:
    from auxar.errors import one_line

    kind = "exact p(X | y)" if found.kind == "exact" else "lower bounds of p(X | y)"
    labels = "the model's p(y)" if found.modelled else "equally probable labels"
    yield f"probabilities p(y | X), from {kind} and {labels}"
    for image in found.images:
        pairs = zip(image.names, image.probabilities, strict=True)
        classes = ", ".join(f"{one_line(name)} {probability:.3f}" for name, probability in pairs)
        yield f"{one_line(str(image.file))}: {classes}"
