"""Measures what integers cost: bits/dim, and the time of likelihoods and of sampling, against float32.

    python tests/benchmarks/integers.py RUN … --images 100 --markdown
    python tests/benchmarks/integers.py RUN --widths 13/14 --speed 16

RUN is the folder of a finished run, or the name of a model that comes trained. Nothing is written into it. For each run
and each pair of widths (bits of weights / bits of values between layers), the output has the mean of the bits/dim in
integers minus those in float32, on the same held-out images, with its standard error. With `--speed N`, it also has the
time in integers divided by the time in float32, for the likelihoods of N images and for drawing N images with the
sampler `auto`. Both are medians over repeats that alternate between the two, in one thread.

Differences of bits/dim, measured with `quickstart`, `emoji32`, `emoji32_color` and faces of 16×16 pixels:

    12/12   +0.0008 ± 0.0001   +0.0415 ± 0.0033   +0.0301 ± 0.0020   +0.0061 ± 0.0005
    12/14   −0.0000 ± 0.0000   +0.0008 ± 0.0004   −0.0099 ± 0.0010
"""

import argparse
import functools
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from measuring import heldout_images, options_of, seconds_in_turn
from torch import Tensor

import auxar
from auxar import ImageModel
from auxar.model import Chain
from auxar_integers.arithmetic import IntegerArithmetic
from auxar_integers.conversion import IntegerConfig

WIDTHS = ["8/12", "12/12", "12/14", "13/14", "16/16"]
RANGES = 256
"""Number of training images from which the ranges of values are taken."""
REPEATS = 3


def main() -> None:
    """Prints one JSON object for each run or, with --markdown, one table for all runs."""
    options = options_of(
        __doc__,
        run={"positional": True, "nargs": "+", "type": Path},
        widths=WIDTHS,
        images={"type": int, "help": "number of held-out images (default: all)"},
        speed={"type": int, "default": 0, "metavar": "N", "help": "also time N images"},
        markdown=False,
    )
    torch.set_num_threads(1)
    results = []
    for path in options.run:
        results.append(_measured(path, options))
        if not options.markdown:
            print(json.dumps(results[-1]), flush=True)
    if options.markdown:
        print(_table(results, options.widths))


@torch.no_grad()
def _measured(path: Path, options: argparse.Namespace) -> dict[str, Any]:
    model = auxar.load(path, "cpu", arithmetic="float")
    heldout = heldout_images(model, options.images)
    floats = model.bits_per_dim(heldout)
    found: dict[str, Any] = {"run": path.name, "images": len(heldout), "float32": float(floats.mean())}
    for widths in options.widths:
        integers = _converted(model, IntegerConfig(*map(int, widths.split("/"))))
        apart = integers.bits_per_dim(heldout) - floats
        found[widths] = [float(apart.mean()), float(apart.std()) / math.sqrt(len(apart))]
        if options.speed:
            found[f"times of float32, {widths}"] = _times(model, integers, heldout[: options.speed])
    return found


def _times(model: ImageModel, integers: ImageModel, images: Tensor) -> dict[str, float]:
    """Returns the times in integers divided by those in float32, for likelihoods and for drawing as many images."""

    def draw(each: ImageModel) -> object:
        return each.sample(len(images), batch_size=len(images), progress=False)

    def score(each: ImageModel) -> object:
        return each.bits_per_dim(images, batch_size=len(images))

    found = {}
    for name, work in (("likelihood", score), ("sampling", draw)):
        calls = {"floats": functools.partial(work, model), "integers": functools.partial(work, integers)}
        times = seconds_in_turn(calls, REPEATS)  # The first calls compile the native engine.
        ratios = [one / other for one, other in zip(times["integers"], times["floats"], strict=True)]
        found[name] = statistics.median(ratios)
    return found


def _converted(model: ImageModel, config: IntegerConfig) -> ImageModel:
    arithmetic, train = IntegerArithmetic(config), auxar.load_images(model).train
    step = max(1, len(train) // RANGES) if hasattr(train, "__len__") else 1
    images = [image for _, image in train.every(step, 0, step * RANGES)]
    values = model.chain.values(torch.stack(images).long())
    factors = [arithmetic.restore(factor, arithmetic.convert(factor, values)) for factor in model.factors]
    return ImageModel(Chain(factors, sampler=model.chain.sampler).eval(), model.recipe)


def _table(results: Sequence[dict[str, Any]], widths: Sequence[str]) -> str:
    names = [f"`{found['run']}` ({found['float32']:.4f}, {found['images']} images)" for found in results]
    lines = ["| bits of weights / values | " + " | ".join(names) + " |", "|---|" + "---|" * len(names)]
    for each in widths:
        cells = ["{:+.4f} ± {:.4f}".format(*found[each]) for found in results]
        lines.append(f"| {each.replace('/', ' / ')} | " + " | ".join(cells) + " |")
    for each in widths:
        times = [found.get(f"times of float32, {each}") for found in results]
        for name in times[0] or ():
            cells = [f"{of[name]:.1f}" for of in times if of]
            lines.append(f"| {each.replace('/', ' / ')}, {name}: time of float32 | " + " | ".join(cells) + " |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
