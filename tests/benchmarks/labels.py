"""Measures the worth of labels: a model that is given the classes of CIFAR-10 beside the same model without them.

    nice -n 19 python tests/benchmarks/labels.py --data FOLDER --out FOLDER --processes 2

FOLDER of `--data` has train.parquet and test.parquet with CIFAR-10 images and the column `label`. The script trains
small/labels/cifar10, and the same recipe without its condition, each with one thread. It then prints the held-out
bits/dim of both, and the accuracy of `auxar.classify` on held-out images. If the script is stopped, the same
command continues it, and finished runs are kept.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs

import auxar
from auxar.recipe import recipe_text

LABELS = "small/labels/cifar10"


def plain_recipe(out: Path) -> Path:
    """Writes the recipe without its condition, and returns its file."""
    path = out / "plain.toml"
    recipe, _ = auxar.load_recipe(LABELS)
    path.write_text(recipe_text(attrs.evolve(recipe, condition=None)))
    return path


def run(recipe: str | Path, out: Path, settings: list[str]) -> Path:
    """Trains and evaluates a model with one thread, or continues its run; returns the run's folder."""
    command = [sys.executable, "-m", "auxar", "-q", "run", str(recipe), "--out", str(out), "--set", *settings]
    with out.with_suffix(".log").open("a") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
    return out


def main() -> None:
    """Trains both models and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=1, help="number of models that are trained at once")
    parser.add_argument("--images", type=int, default=1000, help="number of held-out images that are classified")
    parser.add_argument("--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of both recipes")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    settings = [f"data.path={options.data.resolve()}", *options.set]
    recipes = {"labels": Path(LABELS), "plain": plain_recipe(options.out)}
    with ThreadPoolExecutor(options.processes) as pool:
        runs = [pool.submit(run, recipe, options.out / name, settings) for name, recipe in recipes.items()]
        labels, plain = (future.result() for future in runs)
    compared = auxar.compare([plain, labels])
    for found in compared.runs:
        print(f"{found.run}: {found.bits_per_dim:.3f} ± {found.standard_error:.3f} bits/dim")
    print("difference:", compared.runs[1].margin, *compared.runs[1].notes)
    accuracy = auxar.classify(labels, heldout=options.images).accuracy
    assert accuracy is not None
    print(f"accuracy on {accuracy.images} held-out images: {accuracy.share:.3f} ± {accuracy.standard_error:.3f}")


if __name__ == "__main__":
    main()
