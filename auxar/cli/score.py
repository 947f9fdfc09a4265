"""`auxar score`: how unusual images are for a model."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from auxar.cli.options import add_condition, add_json, add_run, add_trust, condition_texts, integer
from auxar.cli.output import Result

if TYPE_CHECKING:
    from auxar.commands.score import Scores

UNKNOWN = "–"
"""The text of a value that is unknown."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `score` to the parser."""
    parser = commands.add_parser(
        "score",
        help="score how unusual images are for a run's model",
        description="Scores images by their bits/dim under a run's model, and by their bits/dim minus those of a "
        "lossless file (PNG or WebP), which depends less on how complex an image is. The ranks are the shares of "
        "held-out images with smaller values: near 1 for images that are more unusual than nearly all of them.",
    )
    add_run(parser)
    parser.add_argument("paths", type=Path, nargs="+", metavar="PATH", help="image files, or folders of image files")
    add_condition(
        parser,
        "condition of a model that has one: one for all images, or one for each: label=NAME, attributes=NAME,NAME…, "
        "mask=FILE, image=FILE, or none (default: none, the null condition). Held-out images are given their own",
    )
    parser.add_argument(
        "--heldout",
        type=integer,
        default=200,
        metavar="N",
        help="number of held-out images that the ranks compare with (default: 200; 0: no ranks)",
    )
    parser.add_argument(
        "--resize", metavar="NAME", help="none, cover or stretch: images of other sizes (default: the recipe's)"
    )
    parser.add_argument("-o", "--out", type=Path, metavar="FILE", help="also write the table as CSV")
    parser.add_argument("--replace", action="store_true", help="replace FILE if it exists")
    add_trust(parser)
    add_json(parser)
    parser.set_defaults(command=_score)


def _score(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.commands.compress import check_new
    from auxar.commands.score import score
    from auxar.files import write_text

    if options.out is not None:
        check_new(options.out, options.replace)
    scores = score(
        options.run,
        options.paths,
        condition=condition_texts(options),
        heldout=options.heldout,
        resize=options.resize,
        trust_plugins=options.trust_plugins,
    )
    if options.out is not None:
        write_text(options.out, scores.csv())
    record = attrs.asdict(scores)
    for image in record["images"]:
        image["file"] = str(image["file"])
    return Result(list(_lines(scores)), record)


def _lines(scores: Scores) -> Iterator[str]:
    from auxar.errors import one_line

    kind = "" if scores.kind == "exact" else " (upper bounds)"
    heldout = f"ranks among {scores.heldout_images} held-out images"
    yield f"bits/dim of the model{kind} and of a lossless file, and their difference; {heldout}"
    yield f"{'bits/dim':>9}{'rank':>7}{'file':>8}{'difference':>12}{'rank':>7}  image"
    for image in scores.images:
        cells = (image.bits_per_dim, image.rank, image.codec_bits_per_dim, image.difference, image.difference_rank)
        widths = (9, 7, 8, 12, 7)
        texts = [UNKNOWN if cell is None else f"{cell:.3f}" for cell in cells]
        row = "".join(text.rjust(width) for text, width in zip(texts, widths, strict=True))
        yield f"{row}  {one_line(str(image.file))}"
