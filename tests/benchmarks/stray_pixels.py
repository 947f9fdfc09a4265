"""Measures how many saturated pixels samples of a run have at their border, for rules and values of `min_weight`.

    python tests/benchmarks/stray_pixels.py RUN --images 256

A pixel counts as saturated if its largest and its smallest channel differ by more than half of the range of values. If
real images have no such pixels at their border, such pixels of samples are strays, which come from mixture components
of small weight. Prints a table with the shares of saturated pixels in row 0, row 1, column 0 and the whole image, and
the share of images with at least one of them in row 0, with standard errors over images. The first line is for the
held-out images. All samples have the same noise. The rule `ancestral` is measured without `min_weight` only.
"""

from __future__ import annotations

from pathlib import Path

from measuring import heldout_images, options_of
from torch import Tensor

import auxar

COLUMNS = ("", "images", "row 0", "row 1", "column 0", "all pixels", "images with any in row 0")


def line(name: str, images: Tensor, levels: int) -> str:
    """A line of the table, for images (b, 3, h, w)."""
    found = (images.amax(1) - images.amin(1) > (levels - 1) / 2).double()
    shares = [found[:, 0], found[:, 1], found[:, :, 0], found.flatten(1), found[:, 0].amax(1, keepdim=True)]
    return table_line([name, f"{len(images):,}", *(percent(share.mean(1)) for share in shares)])


def percent(shares: Tensor) -> str:
    """The mean of one share for each image, in percent, with its standard error."""
    return f"{100 * shares.mean():.2f} ± {100 * shares.std() / len(shares) ** 0.5:.2f} %"


def table_line(entries: list[str] | tuple[str, ...]) -> str:
    return f"| {' | '.join(entries)} |"


def main() -> None:
    options = options_of(__doc__, run=Path, images=256, min_weights=[0.0, 0.02, 0.05, 0.1], batch_size=64)
    model = auxar.load(options.run, device="cpu")
    heldout = heldout_images(model, options.images).long()
    print(
        table_line(COLUMNS),
        table_line(["---"] * len(COLUMNS)),
        line("held-out images", heldout, model.image.levels),
        sep="\n",
    )
    weighted = [f"{name}:min_weight={each}" for name in ("reduced", "map") for each in options.min_weights]
    for rule in ("ancestral", *weighted):
        images = model.sample(options.images, rule=rule, batch_size=options.batch_size, progress=False)
        print(line(rule, images.tensor, model.image.levels), flush=True)


if __name__ == "__main__":
    main()
