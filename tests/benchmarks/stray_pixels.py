"""Measures how many saturated pixels samples of a run have at their border, for rules and values of `min_weight`.

    python tests/benchmarks/stray_pixels.py RUN --images 256

A pixel counts as saturated if its largest and its smallest channel differ by more than half of the range of values. If
real images have no such pixels at their border, such pixels of samples are strays, which come from mixture components
of small weight. Prints a table with the shares of saturated pixels in row 0, row 1, column 0 and the whole image, and
the share of images with at least one of them in row 0, with standard errors over images. The first line is for the
held-out images. All samples have the same noise. The rule `ancestral` is measured without `min_weight` only.
"""

from pathlib import Path

from measuring import heldout_images, options_of
from torch import Tensor

import auxar

HEADER = (
    "| | images | row 0 | row 1 | column 0 | all pixels | images with any in row 0 |\n|---|---|---|---|---|---|---|"
)


def line(name: str, images: Tensor, levels: int) -> str:
    """A line of the table, for images (b, 3, h, w): shares in percent, with their standard errors."""
    found = (images.amax(1) - images.amin(1) > (levels - 1) / 2).double()
    parts = [found[:, 0], found[:, 1], found[:, :, 0], found.flatten(1), found[:, 0].amax(1, keepdim=True)]
    shares = [100 * part.mean(1) for part in parts]
    cells = [f"{share.mean():.2f} ± {share.std() / len(share) ** 0.5:.2f} %" for share in shares]
    return f"| {' | '.join([name, f'{len(images):,}', *cells])} |"


def main() -> None:
    options = options_of(__doc__, run=Path, images=256, min_weights=[0.0, 0.02, 0.05, 0.1], batch_size=64)
    model = auxar.load(options.run, device="cpu")
    heldout = heldout_images(model, options.images).long()
    print(HEADER, line("held-out images", heldout, model.image.levels), sep="\n")
    weighted = [f"{name}:min_weight={each}" for name in ("reduced", "map") for each in options.min_weights]
    for rule in ("ancestral", *weighted):
        images = model.sample(options.images, rule=rule, batch_size=options.batch_size, progress=False)
        print(line(rule, images.tensor, model.image.levels), flush=True)


if __name__ == "__main__":
    main()
