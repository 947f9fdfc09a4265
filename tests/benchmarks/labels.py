"""Measures the worth of labels: a model that is given the classes of CIFAR-10 beside the same model without them.

    nice -n 19 python tests/benchmarks/labels.py --data FOLDER --out FOLDER --processes 2

FOLDER of `--data` has train.parquet and test.parquet with CIFAR-10 images and the column `label`. The script trains
small/labels/cifar10, and the same recipe without its condition, each with one thread. It then prints the held-out
bits/dim of both, and the accuracy of `auxar.classify` on held-out images. If the script is stopped, the same
command continues it, and finished runs are kept.
"""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
from measuring import options_of, run_recipe

import auxar
from auxar.recipe import recipe_text

LABELS = "small/labels/cifar10"


def plain_recipe(out: Path) -> Path:
    """Writes the recipe without its condition, and returns its file."""
    path = out / "plain.toml"
    recipe, _ = auxar.load_recipe(LABELS)
    path.write_text(recipe_text(attrs.evolve(recipe, condition=None)))
    return path


def main() -> None:
    """Trains both models and prints the figures."""
    folder = {"type": Path, "required": True}
    options = options_of(
        __doc__,
        data=dict(folder),
        out=dict(folder),
        processes=1,
        images=1000,
        set={"nargs": "+", "default": [], "metavar": "KEY=VALUE", "help": "settings of both recipes"},
    )
    options.out.mkdir(parents=True, exist_ok=True)
    settings = [f"data.path={options.data.resolve()}", *options.set]
    recipes = {"labels": Path(LABELS), "plain": plain_recipe(options.out)}
    with ThreadPoolExecutor(options.processes) as pool:
        runs = [pool.submit(run_recipe, recipe, options.out / name, settings) for name, recipe in recipes.items()]
    if not all(future.result() for future in runs):
        sys.exit(1)
    labels, plain = (options.out / name for name in recipes)
    compared = auxar.compare([plain, labels])
    for found in compared.runs:
        print(f"{found.run}: {found.bits_per_dim:.3f} ± {found.standard_error:.3f} bits/dim")
    print("difference:", compared.runs[1].margin, *compared.runs[1].notes)
    accuracy = auxar.classify(labels, heldout=options.images).accuracy
    assert accuracy is not None
    print(f"accuracy on {accuracy.images} held-out images: {accuracy.share:.3f} ± {accuracy.standard_error:.3f}")


if __name__ == "__main__":
    main()
