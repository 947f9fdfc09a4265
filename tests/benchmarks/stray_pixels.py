"""Measures how many saturated pixels samples of a run have at their border, for rules and values of `min_weight`.

    python tests/benchmarks/stray_pixels.py RUN --images 256 --sheets FOLDER

A pixel counts as saturated if its largest and its smallest channel differ by more than half of the range of values. If
real images have no such pixels at their border, such pixels of samples are strays, which come from mixture components
of small weight. Prints a table with the shares of saturated pixels in row 0, row 1, column 0 and the whole image, and
the share of images with at least one of them in row 0, with standard errors over images. The first line is for the
held-out images. All samples have the same noise. The rule `ancestral` is measured without `min_weight` only.

With `--one-step`, each pixel of held-out images is drawn given the true pixels before it, by the finest decoder, which
must be free. These numbers show single strays, without the pixels that follow from earlier strays.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor

import auxar
from auxar import Adjustments, ImageModel, Images, SampleRequest
from auxar.data import load_images
from auxar.draw.conditions import first_examples
from auxar.model import CausalDistribution
from auxar.plugins import load_plugins
from auxar.recipe.building import build_rule

COLUMNS = ("", "images", "row 0", "row 1", "column 0", "all pixels", "images with any in row 0")


def line(name: str, images: Tensor, levels: int) -> str:
    """A line of the table, for images (b, 3, h, w)."""
    found = (images.amax(1) - images.amin(1) > (levels - 1) / 2).double()
    shares = [found[:, 0], found[:, 1], found[:, :, 0], found.flatten(1), found[:, 0].amax(1, keepdim=True)]
    return table_line([name, f"{len(images):,}", *(percent(share.mean(1)) for share in shares)])


def percent(shares: Tensor) -> str:
    """The mean of one share for each image, in percent, with its standard error."""
    return f"{100 * shares.mean():.2f} ± {100 * shares.std() / len(shares) ** 0.5:.2f} %"


def table_line(entries: Sequence[str]) -> str:
    return f"| {' | '.join(entries)} |"


def rules_of(names: Sequence[str], min_weights: Sequence[float]) -> Iterator[tuple[str, str]]:
    """The titles and the texts of the rules to measure: each with each `min_weight`, except `ancestral`."""
    for name in names:
        if name == "ancestral":
            yield name, name
        else:
            yield from ((f"{name}, {weight:g}", f"{name}:min_weight={weight}") for weight in min_weights)


@torch.no_grad()
def one_step(model: ImageModel, images: Tensor, adjustments: Adjustments) -> Tensor:
    """Images of which each pixel is drawn given the true pixels before it and the true view."""
    factor = model.chain.factors[0]
    assert not factor.restricted, "--one-step needs a free decoder"
    distribution, views = factor.distribution, model.chain.views(images)
    assert isinstance(distribution, CausalDistribution), "--one-step needs a causal network"
    view = views[1] if len(views) > 1 else None
    found = distribution.parameters_of(images, factor.features(len(images), view), factor.given(view))
    parameters, head = rearrange(found, "b p h w -> (b h w) p"), distribution.network.head
    uniforms = SampleRequest((0,)).uniforms((len(parameters), head.uniform_count))[0]
    drawn = head.draw(parameters, uniforms, adjustments)
    return rearrange(drawn, "(b h w) c -> b c h w", h=images.shape[2], w=images.shape[3])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a finished run's folder, of a model of RGB images")
    parser.add_argument("--images", type=int, default=256, help="number of samples for each rule")
    parser.add_argument(
        "--rules", nargs="+", default=["ancestral", "reduced", "map"], choices=("ancestral", "reduced", "map")
    )
    parser.add_argument("--min-weights", nargs="+", type=float, default=[0.0, 0.02, 0.05, 0.1])
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--one-step", action="store_true", help="draw each pixel given the true pixels before it")
    parser.add_argument("--sheets", type=Path, help="a folder for a contact sheet of each rule")
    options = parser.parse_args()
    model = auxar.load(options.run, device="cpu")
    data = load_images(model.recipe.data, model.recipe.image, load_plugins())
    heldout = first_examples(data.heldout, options.images).image.long()
    levels = model.image.levels
    print(table_line(COLUMNS), table_line(["---"] * len(COLUMNS)), line("held-out images", heldout, levels), sep="\n")
    for name, rule in rules_of(options.rules, options.min_weights):
        if options.one_step:
            adjustments = build_rule(rule, load_plugins(), "rule").adjustments(0)
            images = Images(one_step(model, heldout, adjustments), model.image)
        else:
            images = model.sample(options.images, rule=rule, batch_size=options.batch_size, progress=False)
        print(line(name, images.tensor, levels), flush=True)
        if options.sheets is not None:
            options.sheets.mkdir(parents=True, exist_ok=True)
            images.save(options.sheets / f"{name.replace(', ', '-')}.png")


if __name__ == "__main__":
    main()
