"""Trains networks with and without centers and prints what the centers gain in bits/dim.

    nice -n 19 python tests/benchmarks/centers.py --data FOLDER --out FOLDER --processes 2

FOLDER of `--data` has celeba-coarse/ and cifar10-lossless/, each with train.parquet and test.parquet with images of
32×32 pixels. Each comparison is of a decoder p(X | view), restricted or free, or of a prior p(X) ("plain"), with an
optimizer and a seed. The network is trained twice with the same steps and batches, `centered` or not, in one process
with one thread, and evaluated on the same held-out images. If the script is stopped, the same command continues it, and
finished runs are kept. The table has one line for comparisons that differ in the seed alone: bits/dim without and with
centers, and their difference, paired by image, with its error over images; for several seeds, all three are means.

    python tests/benchmarks/centers.py --data FOLDER --out FOLDER --speed

measures the time of training steps, of likelihoods and of samples of decoders with centers, divided by the time
without. Both take turns in one process with one thread.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import attrs
import torch

import auxar
from auxar.numerics.threads import threads
from auxar.recipe.building import build_model
from auxar_samplers import AutoSampler

NETWORK = (
    'name = "pixelcnn", filters = 48, blocks = 3, dropout = 0.0, kernel = 2, '
    'head = {{ name = "logistic_mixture", components = 10, centered = {centered} }}'
)
DECODER = """
[[stage]]
view = {view}
embedding = {{ name = "resnet", filters = 48, blocks_per_group = 1, dropout = 0.0 }}
decoder = {{ {network} }}
support = "{support}"
[prior]
name = "pixelcnn"
filters = 8
blocks = 1
dropout = 0.0
kernel = 2
head = "{head}"
[training.factor.prior]
steps = 1
"""
RECIPE = """
{model}
[data]
{data}
heldout = "test"
[image]
channels = 3
height = {side}
width = {side}
[training]
batch_size = {batch}
optimizer = {{ {optimizer} }}
schedule = "cosine"
ema = 0.99
flip = true
precision = "bf16"
seed = {seed}
steps = {steps}
[evaluation]
heldout_images = 1000
train_images = 0
[sampling]
images = 0
"""
OPTIMIZERS = {"adam": 'name = "adam", learning_rate = 0.003, betas = [0.9, 0.99]', "muon": 'name = "muon"'}


@attrs.frozen
class Case:
    """Images, and their view if a decoder is trained."""

    data: str
    side: int
    view: str | None
    batch: int
    steps: int


PYRAMID, GRAY = '{ name = "pyramid", factor = 2 }', '{ name = "grayscale", levels = 16 }'
FACES, CIFAR10, EMOJI = 'path = "{data}/celeba-coarse"', 'path = "{data}/cifar10-lossless"', 'path = "emoji"'
CASES = {
    "faces 16×16 | 8×8": Case('path = "{out}/faces16"', 16, PYRAMID, 16, 2000),
    "faces 32×32 | 16×16": Case(FACES, 32, PYRAMID, 8, 1200),
    "CIFAR-10 32×32 | 16×16": Case(CIFAR10, 32, PYRAMID, 8, 1200),
    "CIFAR-10 color | gray": Case(CIFAR10, 32, GRAY, 8, 1200),
    "emoji 32×32 | 16×16": Case(EMOJI, 32, PYRAMID, 8, 1200),
    "faces 8×8": Case('path = "{out}/faces8"', 8, None, 32, 3000),
    "faces 32×32": Case(FACES, 32, None, 8, 1400),
    "CIFAR-10 32×32": Case(CIFAR10, 32, None, 8, 1400),
    "emoji 32×32": Case(EMOJI, 32, None, 8, 1400),
}
"""Each training takes about five minutes on one core with AVX-512."""


@attrs.frozen
class Comparison:
    """A network to train with and without centers."""

    case: str
    optimizer: str
    support: str
    seed: int

    def folder(self, out: Path, centered: bool) -> Path:
        parts = (self.case.replace(" | ", "-").replace(" ", "-").replace("×", "x"), self.optimizer, self.support)
        return out / f"{'-'.join(parts)}-{self.seed}-{'with' if centered else 'without'}"


def recipe_of(own: Comparison, centered: bool, data: Path, out: Path, steps: float) -> Path:
    """Writes the recipe of one of the two trainings of a comparison."""
    case, network = CASES[own.case], NETWORK.format(centered=str(centered).lower())
    if case.view is None:
        model = f"prior = {{ {network} }}"
    else:
        head = "softmax" if case.view == GRAY else "logistic_mixture"
        model = DECODER.format(view=case.view, network=network, support=own.support, head=head)
    text = RECIPE.format(
        data=case.data.format(data=data, out=out),
        side=case.side,
        model=model,
        batch=case.batch,
        optimizer=OPTIMIZERS[own.optimizer],
        seed=own.seed,
        steps=round(case.steps * steps),
    )
    recipe = own.folder(out, centered).with_suffix(".toml")
    recipe.write_text(text)
    return recipe


def train(own: Comparison, centered: bool, data: Path, out: Path, steps: float) -> None:
    """Trains and evaluates a decoder, or continues its run; its output is in a log file."""
    folder, recipe = own.folder(out, centered), recipe_of(own, centered, data, out, steps)
    with folder.with_suffix(".log").open("a") as log:
        command = [sys.executable, "-m", "auxar", "run", str(recipe), "--out", str(folder)]
        done = subprocess.run(command, stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"})
    print(f"{folder.name}: {'done' if done.returncode == 0 else f'failed; {log.name} says why'}", flush=True)


def nats(folder: Path, factors: int) -> torch.Tensor | None:
    """The log-likelihoods of held-out images under the finest of the `factors`; None if the run is not finished."""
    from safetensors.torch import load_file

    path = folder / "evaluation.safetensors"
    rows = load_file(path)["heldout.nats"].double() if path.exists() else torch.zeros(0)
    # Before a decoder is trained, there is only the row of the prior.
    return rows[0] if len(rows) == factors else None


def lines(comparisons: list[Comparison], out: Path) -> Iterator[str]:
    """The lines of the table, one for comparisons that differ in nothing but the seed."""
    for kind in dict.fromkeys(attrs.evolve(own, seed=0) for own in comparisons):
        dims, factors = 3 * CASES[kind.case].side ** 2, 1 if CASES[kind.case].view is None else 2
        found = []
        for own in comparisons:
            if attrs.evolve(own, seed=0) == kind:
                without, around = (nats(own.folder(out, centered), factors) for centered in (False, True))
                if without is not None and around is not None:
                    found.append(torch.stack([without, around]) / (-math.log(2) * dims))
        if found:
            bits = torch.stack(found)
            gain = (bits[:, 1] - bits[:, 0]).mean(0)
            by_seed = " ".join(f"{each:+.3f}" for each in (bits[:, 1] - bits[:, 0]).mean(1).tolist())
            means = bits.mean((0, 2)).tolist()
            error = float(gain.std()) / len(gain) ** 0.5
            yield (
                f"| {kind.case} | {kind.optimizer} | {kind.support} | {means[0]:.3f} | {means[1]:.3f} | "
                f"{float(gain.mean()):+.3f} ± {error:.3f} | {by_seed} |"
            )


def speed(own: Comparison, data: Path, out: Path, repeats: int) -> str:
    """A line with the ratios of median times, of a step with a batch of the case and of images that are drawn."""
    factors = []
    for centered in (False, True):
        recipe, registry = auxar.load_recipe(recipe_of(own, centered, data, out, 1.0))
        torch.manual_seed(0)
        factors.append(build_model(recipe, registry).factors[0])
    images = torch.randint(0, 256, (CASES[own.case].batch, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(images.float(), size=CASES[own.case].side, mode="bilinear").long()
    assert factors[0].view is not None
    views = factors[0].view(images)
    for factor in factors:
        with torch.no_grad():
            factor.initialize(images, views)

    def step(factor: auxar.Factor) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            loss = -factor(images, views).mean()
        loss.backward()

    def evaluate(factor: auxar.Factor) -> None:
        with torch.no_grad():
            factor(images, views)

    def draw(count: int, factor: auxar.Factor) -> None:
        request = auxar.SampleRequest(tuple(range(count)))
        with auxar.evaluating(factor):
            factor.draw(request, AutoSampler("native"), views[:1].expand(count, -1, -1, -1))

    calls = {"step": step, "likelihood": evaluate, "1 image": partial(draw, 1), "16 images": partial(draw, 16)}
    found = []
    for name, call in calls.items():
        times: list[list[float]] = [[], []]
        for _ in range(repeats):
            for measured, factor in zip(times, factors, strict=True):
                started = time.perf_counter()
                call(factor)
                measured.append(time.perf_counter() - started)
        without, around = (statistics.median(measured[1:]) for measured in times)
        found.append(f"{name} {around / without:.3f} ({1000 * without:.1f} ms)")
    return f"{own.case}, {own.support}: {', '.join(found)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--optimizers", nargs="+", choices=OPTIMIZERS, default=list(OPTIMIZERS))
    parser.add_argument("--supports", nargs="+", choices=("restricted", "free"), default=["restricted", "free"])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=1, help="number of decoders that are trained at once")
    parser.add_argument("--steps", type=float, default=1.0, help="factor of all numbers of steps")
    parser.add_argument("--speed", action="store_true", help="measure times instead of bits/dim")
    parser.add_argument("--repeats", type=int, default=21, help="repetitions of each measurement of time")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    data, out = options.data.resolve(), options.out.resolve()
    comparisons = [
        Comparison(case, optimizer, support, seed)
        for seed in range(options.seeds)
        for optimizer in options.optimizers
        for support in (*options.supports, "plain")
        for case in options.cases
        if (CASES[case].view is None) == (support == "plain")
    ]
    for depth, name in ((1, "faces16"), (2, "faces8")):
        if not (out / name).exists():
            auxar.write_views("quickstart", depth, out / name, settings=[f"data.path={data}/celeba-coarse"])
    if options.speed:
        with threads(1):
            for own in dict.fromkeys(attrs.evolve(own, seed=0, optimizer="muon") for own in comparisons):
                if CASES[own.case].view is not None:
                    print(speed(own, data, out, options.repeats), flush=True)
        return
    with ThreadPoolExecutor(options.processes) as pool:
        trained = [
            pool.submit(train, own, centered, data, out, options.steps)
            for own in comparisons
            for centered in (False, True)
        ]
        for each in trained:
            each.result()
    print("| decoder | optimizer | support | without | with | difference | by seed |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    print("\n".join(lines(comparisons, out)))


if __name__ == "__main__":
    main()
