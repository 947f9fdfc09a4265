"""Trains the models of table 1 in small: PixelCNN++, and the grayscale and the pyramid model, free and restricted.

    nice -n 19 python tests/benchmarks/table1.py --data FOLDER --out FOLDER --processes 2

FOLDER of `--data` has train.parquet and test.parquet with CIFAR-10 images. Each model of recipes/small/table1 is
trained with three values of `training.seed`. Each run has one thread and takes about 20 minutes. The seeds are the
outer loop, so every model has one run before the second seed begins. If the script is stopped, the same command
continues it, and finished runs are kept. In the end, this command reads the runs:

    python docs/generate/results.py --machine "one core of an AMD EPYC" --runs FOLDER
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

RECIPES = (
    "small/table1/plain",
    "small/table1/grayscale",
    "tight/small/table1/grayscale",
    "small/table1/pyramid",
    "tight/small/table1/pyramid",
)


def run(recipe: str, seed: int, data: Path, out: Path, settings: list[str]) -> bool:
    """Trains and evaluates a model, or continues its run. Returns whether it succeeded; its output is in a log file."""
    folder = out / f"{recipe.replace('/', '-')}-{seed}"
    command = [sys.executable, "-m", "auxar", "-q", "run", recipe, "--out", str(folder), "--set", f"data.path={data}"]
    command += [f"training.seed={seed}", "sampling.images=0", *settings]
    started = time.monotonic()
    with folder.with_suffix(".log").open("a") as log:
        done = subprocess.run(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
    minutes = (time.monotonic() - started) / 60
    outcome = f"took {minutes:.1f} minutes" if done.returncode == 0 else f"failed; {log.name} says why"
    print(f"{folder.name}: {outcome}", flush=True)
    return done.returncode == 0


def main() -> int:
    """Trains all models; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="number of models that are trained at once")
    parser.add_argument(
        "--set", nargs="+", default=[], metavar="KEY=VALUE", help="settings of all recipes, for a trial"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data = options.data.resolve()
    with ThreadPoolExecutor(options.processes) as pool:
        results = [
            pool.submit(run, recipe, seed, data, options.out, options.set)
            for seed in range(options.seeds)
            for recipe in RECIPES
        ]
        return int(not all(result.result() for result in results))


if __name__ == "__main__":
    sys.exit(main())
