"""Measures the share of each optimizer in the time of a training step.

    python tests/benchmarks/optimizers.py RECIPE:FACTOR:BATCH … --precision bf16

A step is the gradient of a batch of random smooth images and the update. In each repetition, all optimizers make an
update from the same gradient, in the same process and with one thread. Prints the median time of the gradient in
milliseconds and, for each optimizer, the median time of its update and its share of the step in percent.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

import auxar
from auxar.numerics.threads import threads
from auxar.recipe.building import build_model
from auxar.training.optimization import make_optimizer


def batch_of(image: auxar.ImageSpec, count: int) -> Tensor:
    """Random images that are smooth up to a little noise, so that gradients have the usual structure."""
    small = torch.rand((count, image.channels, max(1, image.height // 4), max(1, image.width // 4))) * image.levels
    smooth = torch.nn.functional.interpolate(small, size=(image.height, image.width), mode="bilinear")
    return (smooth + 5 * torch.randn_like(smooth)).round().clamp(0, image.levels - 1).long()


def milliseconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return 1000 * (time.perf_counter() - started)


def measured(
    recipe: str, name: str, batch: int, optimizers: list[str], precision: str, repeats: int
) -> dict[str, float]:
    """The median time of the gradient and of each optimizer's update, in milliseconds."""
    loaded, registry = auxar.load_recipe(recipe)
    model = build_model(loaded, registry)
    factor = next(factor for factor in model.factors if factor.name == name).train()
    views = model.views(batch_of(model.image, batch), factor.depth + 1)
    inputs = [given for given in factor.inputs(views, None) if given is not None]
    with torch.no_grad():
        factor.initialize(*inputs)
    choices = [auxar.load_recipe(recipe, [f"training.optimizer={each}"])[0].training.optimizer for each in optimizers]
    made = {each: make_optimizer(factor, choice, 1) for each, choice in zip(optimizers, choices, strict=True)}
    for optimizer in made.values():
        for group in optimizer.param_groups:
            group["lr"] = 1e-6  # All optimizers change the same weights, so none may change them much.

    def gradient() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = -factor(*inputs).sum() / (math.log(2) * factor.image.dims * batch)
        loss.backward()

    times: dict[str, list[float]] = {each: [] for each in ("gradient", *made)}
    for _ in range(repeats):
        factor.zero_grad(set_to_none=True)
        times["gradient"].append(milliseconds(gradient))
        for each, optimizer in made.items():
            times[each].append(milliseconds(optimizer.step))
    return {each: statistics.median(own[1:]) for each, own in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="+", metavar="RECIPE:FACTOR:BATCH")
    parser.add_argument("--optimizers", nargs="+", default=["adam", "muon"])
    parser.add_argument("--precision", choices=("float32", "bf16"), default="bf16")
    parser.add_argument("--repeats", type=int, default=21)
    options = parser.parse_args()
    with threads(1):
        for case in options.cases:
            recipe, name, batch = case.rsplit(":", 2)
            found = measured(recipe, name, int(batch), options.optimizers, options.precision, options.repeats)
            gradient = found.pop("gradient")
            shares = (f"{each} {own:.1f} ms, {100 * own / (gradient + own):.1f} %" for each, own in found.items())
            print(f"{case}: gradient {gradient:.1f} ms; {'; '.join(shares)}", flush=True)


if __name__ == "__main__":
    main()
