"""Compares held-out bits/dim of free and restricted decoders with the same networks, images, steps and seeds.

    python tests/benchmarks/tightness.py --celeba FOLDER --cifar FOLDER --out FOLDER

Trains factors of the small recipes with `auxar run` on aligned and cropped CelebA (178×218) and on CIFAR-10
(train.parquet and test.parquet), once with support = "free" and once with "restricted" for each seed. Prints these
figures as JSON, all in bits/dim over the factor's own sub-pixels:

- `free` and `restricted`: held-out likelihoods of the two models;
- `difference`: restricted − free on the same images (negative if the restricted model is better), with its standard
  error over images (`error`) and its spread over seeds;
- `wasted`: the bits/dim saved by restricting the weights of the free model without further training.

Runs that already exist in `--out` are not trained again.
"""

from __future__ import annotations

import math
import statistics
import sys
from pathlib import Path
from typing import Any

import attrs
from measuring import options_of, run_recipe, show

import auxar

RECIPES = Path(__file__).resolve().parents[2] / "recipes" / "small"
SUPPORTS = ("free", "restricted")


@attrs.frozen
class Case:
    """A factor of a recipe, with its data, batch size and number of training steps."""

    recipe: str
    stage: int
    data: str
    batch_size: int
    steps: int


CASES = {
    "16x16": Case("pyramid_celeba", 2, "celeba", 8, 1000),
    "32x32": Case("pyramid_celeba", 1, "celeba", 8, 700),
    "color": Case("grayscale_cifar10", 0, "cifar", 8, 500),
}


def train(case: Case, data: Path, support: str, seed: int, folder: Path) -> None:
    """Trains the factor, and evaluates it on all held-out images."""
    factor = f"stage{case.stage}"
    training = {
        "steps": case.steps,
        "batch_size": case.batch_size,
        "seed": seed,
        "checkpoint_every": case.steps // 4,
        "keep_checkpoints": 4,
    }
    settings = {
        "data.path": data,
        f"stage[{case.stage}].support": support,
        "evaluation.train_images": 0,
        "sampling.images": 0,
        **{f"training.factor.{factor}.{key}": value for key, value in training.items()},
    }
    chosen = [f"{key}={value}" for key, value in settings.items()]
    if not run_recipe(RECIPES / f"{case.recipe}.toml", folder, chosen, "--factors", factor):
        sys.exit(1)


def row(folders: list[tuple[Path, Path]], stage: int) -> dict[str, object]:
    """Returns the figures (bits/dim) of pairs of a free and a restricted run, one pair for each seed."""
    found: dict[str, list[Any]] = {name: [] for name in (*SUPPORTS, "difference", "error", "wasted")}
    for pair in folders:
        free, restricted = (run.factors[stage] for run in auxar.compare(pair).runs)
        for support, factor in zip(SUPPORTS, (free, restricted), strict=True):
            found[support].append(factor.heldout.bits_per_dim.value)
        found["wasted"].append(free.heldout.wasted.value)
        found["difference"].append(restricted.margin.bits_per_dim)
        found["error"].append(restricted.margin.standard_error)
    spread = statistics.stdev(found["difference"]) if len(folders) > 1 else math.nan
    means = {name: statistics.mean(values) for name, values in found.items()}
    return {"mean": means, "spread of the difference over seeds": spread, "seeds": found}


def main() -> None:
    options = options_of(
        __doc__,
        **{name: {"type": Path, "required": True} for name in ("celeba", "cifar", "out")},
        case={"choices": list(CASES), "action": "append"},
        seeds=3,
        times={"type": int, "default": 1, "help": "factor on the training steps; needs another --out"},
    )
    options.out.mkdir(parents=True, exist_ok=True)
    cases = {name: attrs.evolve(case, steps=case.steps * options.times) for name, case in CASES.items()}
    chosen = options.case or list(CASES)
    paths = {
        (name, seed, support): options.out / f"{name}-{support}-{seed}"
        for seed in range(options.seeds)
        for name in chosen
        for support in SUPPORTS
    }
    for (name, seed, support), folder in paths.items():
        if not (folder / "evaluation.safetensors").exists():
            train(cases[name], getattr(options, cases[name].data), support, seed, folder)
    for name in chosen:
        pairs = [(paths[name, seed, "free"], paths[name, seed, "restricted"]) for seed in range(options.seeds)]
        show({name: row(pairs, cases[name].stage)}, options)


if __name__ == "__main__":
    main()
