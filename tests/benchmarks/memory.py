"""Compares the memory that `auxar check` estimates with the memory that training takes, with and without recomputation.

    python tests/benchmarks/memory.py --json

The model is the stage of `recipes/pyramid_celeba.toml` for 64×64 given 32×32, trained with Adam and an average of the
weights on batches of random images. Each precision is measured with and without `training.recompute`, each time in a
new process. `measured` is the peak of the process's resident memory above its peak after a step with tiny networks,
and `estimated` is the figure of `auxar check`, both in GiB. `seconds` is the median processor time of the steps
after the first, in which Adam's moments are created.
"""

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from measuring import options_of, show, training_step

from auxar.model import Factor, recomputing
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model
from auxar.recipe.cost import factor_costs
from auxar.training.averaging import WeightAverage

RECIPE = Path(__file__).parents[2] / "recipes" / "pyramid_celeba.toml"
GIB = 2**30


def settings(side: int, batch: int, precision: str, recompute: bool, filters: int = 100) -> list[str]:
    """Returns the settings of the recipe for a pyramid with one stage."""
    return [
        f"image.height={side}",
        f"image.width={side}",
        "stage[0].repeat=1",
        f"stage[0].embedding.filters={filters}",
        f"stage[0].decoder.filters={filters}",
        f"training.batch_size={batch}",
        f"training.precision={precision}",
        f"training.recompute={str(recompute).lower()}",
    ]


def train(chosen: list[str], steps: int) -> list[float]:
    """Trains the stage of a recipe with these settings, and returns the processor time of each step in seconds."""
    recipe = load_recipe(RECIPE, chosen)
    config = recipe.training
    factor: Factor = build_model(recipe).factors[0].train()
    optimizer = torch.optim.Adam(factor.parameters(), lr=1e-3, fused=True)
    average = WeightAverage(factor, 0.9995)
    assert factor.view_spec is not None
    specs = factor.image, factor.view_spec
    image, view = (torch.randint(0, 256, (config.batch_size, *spec.shape), dtype=torch.uint8) for spec in specs)
    durations = []
    for _ in range(steps):
        started = time.process_time()
        with recomputing(factor) if config.recompute else contextlib.nullcontext():
            training_step(factor, optimizer, image, view, bf16=config.precision == "bf16")
        average.update()
        durations.append(time.process_time() - started)
    return durations


def peak() -> int:
    """Returns the peak of this process's resident memory so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure(side: int, batch: int, precision: str, recompute: bool, steps: int) -> dict[str, float]:
    """Measures one setting in this process, which must be new."""
    train(settings(8, 1, precision, recompute, filters=1), 1)
    before = peak()
    durations = train(settings(side, batch, precision, recompute), steps)
    return {"measured": (peak() - before) / GIB, "seconds": statistics.median(durations[1:])}


def in_new_process(options: argparse.Namespace, precision: str, recompute: bool) -> dict[str, Any]:
    """Measures one setting in a new process, and returns the result with the estimate and their ratio."""
    size = ["--side", str(options.side), "--batch", str(options.batch), "--steps", str(options.steps)]
    one = [sys.executable, __file__, *size, "--one", precision, str(int(recompute))]
    # Without this, the C library keeps freed tensors of up to 32 MiB, and gaps between the others count as used.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": str(2**20)}
    found = json.loads(subprocess.run(one, check=True, capture_output=True, text=True, env=environment).stdout)
    estimated = factor_costs(load_recipe(RECIPE, settings(options.side, options.batch, precision, recompute)))[0]
    found["estimated"] = estimated.memory / GIB
    return {**found, "ratio": found["estimated"] / found["measured"]}


def main() -> None:
    one = {"nargs": 2, "metavar": ("PRECISION", "RECOMPUTE"), "help": argparse.SUPPRESS}
    options = options_of(__doc__, side=64, batch=4, steps=3, one=one)
    if options.one:
        precision, recompute = options.one
        print(json.dumps(measure(options.side, options.batch, precision, recompute == "1", options.steps)))
        return
    results: dict[str, Any] = {"threads": torch.get_num_threads(), "side": options.side, "batch": options.batch}
    for precision in ("float32", "bf16"):
        kept, recomputed = (in_new_process(options, precision, recompute) for recompute in (False, True))
        results[precision] = {
            "kept": kept,
            "recomputed": recomputed,
            "memory_ratio": recomputed["measured"] / kept["measured"],
            "time_ratio": recomputed["seconds"] / kept["seconds"],
        }
    show(results, options)


if __name__ == "__main__":
    main()
