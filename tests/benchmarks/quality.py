"""Trains networks for equal times or equal steps, and prints their bits/dim on the same held-out images.

    nice -n 19 python tests/benchmarks/quality.py --data FOLDER --out FOLDER --seconds 300 --processes 2

FOLDER of `--data` has celeba-coarse/ and cifar10-lossless/, each with train.parquet and test.parquet with images of
32×32 pixels. Each training is of a decoder p(X | view) or of a prior p(X) in one process with one thread. With
`--seconds`, the time of a step is measured first, alone on the machine, and each arm gets as many steps as fit. Without
it, arms have equal steps, which take about five minutes for `pixelcnn` on one core with AVX-512.

If the script is stopped, the same command continues it, and finished runs are kept. The table has a line for each case
and arm: steps, milliseconds of a step, bits/dim, and the difference from the first arm, paired by image, with its error
over images. For several seeds, bits/dim and differences are means, and the differences of all seeds follow. The last
column has the bits/dim of 200 exact samples of the factor, given views of held-out images. If the model fits its data,
they are those of held-out images.

Measured with restricted decoders, one thread of an Intel Xeon with AMX, one seed, 1,000 held-out images (of emoji,
198): milliseconds of a step, bits/dim after 60 and after 300 seconds, and bits/dim of samples after 300 seconds. Arms
are `pixelcnn` (48 filters and 3 blocks, with an embedding of 48 filters and 1 block for each group) with Adam and no
centers, the same with Muon and centers, and `convnet` with its defaults. A second seed of the first case gave 3.398
with the first arm and 3.111 with the last.

    faces, 16×16 given 8×8      160   3.836   3.390   3.466
                                171   3.534   3.245   3.290
                                 77   3.228   3.111   3.149
    faces, 32×32 given 16×16    276   3.738   2.916   3.167
                                319   3.253   2.693   2.779
                                137   2.604   2.386   2.404
    CIFAR-10, 32×32, a prior    165           3.687   4.189
                                175           3.408   4.317
                                 87           3.368   3.818
    emoji, 32×32 given 16×16    287           1.813   1.944
                                293           1.348   1.368
                                135           1.062   1.180
"""

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import attrs
import torch
from measuring import options_of, seconds, training_step

import auxar
from auxar.evaluation.stored import read_evaluation
from auxar.numerics.threads import threads
from auxar.recipe.building import build_model
from auxar.training.schedules import make_optimizer

SAMPLES = 200
"""Exact samples whose own bits/dim are measured."""
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
augment = ["flip"]
precision = "bf16"
seed = {seed}
steps = {steps}
[evaluation]
heldout_images = 1000
train_images = 0
samples = {samples}
[sampling]
images = 0
"""
STAGE = """
[[stage]]
view = {view}
embedding = {{ {embedding} }}
decoder = {{ {network} }}
support = "restricted"
[prior]
name = "pixelcnn"
filters = 8
blocks = 1
dropout = 0.0
kernel = 2
head = "logistic_mixture"
[training.factor.prior]
steps = 1
"""


@attrs.frozen
class Arm:
    """Networks and the optimizer that trains them."""

    network: str
    embedding: str
    optimizer: str


def _pixelcnn(centered: bool, optimizer: str) -> Arm:
    """The networks of PixelCNN++ at one resolution, with and without centers."""
    head = f'{{ name = "logistic_mixture", components = 10, centered = {str(centered).lower()} }}'
    network = f'name = "pixelcnn", filters = 48, blocks = 3, dropout = 0.0, kernel = 2, head = {head}'
    return Arm(network, 'name = "resnet", filters = 48, blocks_per_group = 1, dropout = 0.0', optimizer)


ADAM, MUON = 'name = "adam", learning_rate = 0.003, betas = [0.9, 0.99]', 'name = "muon"'
ARMS = {
    "pixelcnn, Adam, no centers": _pixelcnn(False, ADAM),
    "pixelcnn, Muon": _pixelcnn(True, MUON),
    "convnet, Muon": Arm('name = "convnet"', 'name = "convnet"', MUON),
}

Key = tuple[str, str]
"""A case and an arm."""


@attrs.frozen
class Case:
    """Images, and their view if a decoder is trained."""

    data: str
    side: int
    view: str | None
    batch: int
    steps: int
    """Steps of each arm, unless the time or the multiply-adds are equal."""


PYRAMID = '{ name = "pyramid", factor = 2 }'
FACES, CIFAR10, EMOJI = 'path = "{data}/celeba-coarse"', 'path = "{data}/cifar10-lossless"', 'path = "emoji"'
CASES = {
    "faces 16×16 given 8×8": Case('path = "{out}/faces16"', 16, PYRAMID, 16, 2000),
    "faces 32×32 given 16×16": Case(FACES, 32, PYRAMID, 8, 1200),
    "emoji 32×32 given 16×16": Case(EMOJI, 32, PYRAMID, 8, 1200),
    "CIFAR-10 32×32": Case(CIFAR10, 32, None, 8, 1400),
}


@attrs.frozen
class Bench:
    """The folders of the data and of the runs."""

    data: Path
    out: Path

    def folder(self, case: str, arm: str, steps: int, seed: int) -> Path:
        name = f"{case}-{arm}-{steps}-{seed}".translate({ord(","): None, ord(" "): "-", ord("×"): "x"})
        return self.out / name

    def recipe(self, case: str, arm: str, steps: int, seed: int) -> Path:
        """Writes the recipe of a training."""
        of, parts = CASES[case], ARMS[arm]
        if of.view is None:
            model = f"prior = {{ {parts.network} }}"
        else:
            model = STAGE.format(view=of.view, **attrs.asdict(parts))
        text = RECIPE.format(
            data=of.data.format(data=self.data, out=self.out),
            model=model,
            optimizer=parts.optimizer,
            samples=SAMPLES,
            **{"side": of.side, "batch": of.batch, "seed": seed, "steps": steps},
        )
        path = self.folder(case, arm, steps, seed).with_suffix(".toml")
        path.write_text(text)
        return path

    def train(self, case: str, arm: str, steps: int, seed: int) -> int:
        """Trains and evaluates a factor, or continues its run, with one thread. Returns the command's exit status.

        The log is beside the run.
        """
        out, recipe = self.folder(case, arm, steps, seed), self.recipe(case, arm, steps, seed)
        with out.with_suffix(".log").open("a") as log:
            command = [sys.executable, "-m", "auxar", "-q", "run", str(recipe), "--out", str(out)]
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            return subprocess.run(command, stdout=log, stderr=log, env=environment, check=False).returncode

    def seconds_of_step(self, case: str, arm: str, repeats: int) -> float:
        """The seconds of a step, which are measured once and kept in a file."""
        recipe = auxar.load_recipe(self.recipe(case, arm, 1, 0))
        kept = self.folder(case, arm, 1, 0).with_suffix(".json")
        if not kept.exists():
            factor = build_model(recipe).factors[0]
            kept.write_text(json.dumps(seconds_of_step(factor, recipe, repeats)))
        return float(json.loads(kept.read_text()))

    def bits(self, case: str, arm: str, steps: int, seed: int) -> torch.Tensor | None:
        """The bits/dim of held-out images under the finest factor; None if the run is not finished."""
        path = self.folder(case, arm, steps, seed) / "evaluation.safetensors"
        if not path.exists():
            return None
        figures = read_evaluation(path).figures("heldout", "prior" if CASES[case].view is None else "stage0")
        return None if figures.own is None else figures.own / (-math.log(2) * figures.dims)

    def bits_of_samples(self, case: str, arm: str, steps: int, seed: int) -> float:
        """The bits/dim of the factor's own exact samples, given the views of held-out images."""
        found = read_evaluation(self.folder(case, arm, steps, seed) / "evaluation.safetensors")
        kind = "in_chain" if CASES[case].view is None else "given_heldout_views"
        bits = found.samples(found.factors[0].factor, kind).value
        assert bits is not None
        return bits


def seconds_of_step(factor: auxar.Factor, recipe: auxar.Recipe, repeats: int) -> float:
    """The median time of a training step with a batch of smooth random images."""
    images = torch.randint(0, 256, (recipe.training.batch_size, 3, 4, 4), generator=torch.Generator().manual_seed(0))
    images = torch.nn.functional.interpolate(images.float(), size=recipe.image.height, mode="bilinear").long()
    views = {} if factor.view is None else {auxar.variable_at(factor.depth + 1): factor.view(images)}
    values = auxar.Values({factor.variable: images} | views)
    with torch.no_grad():
        factor.initialize(values)
    optimizer = make_optimizer(factor, recipe.training.optimizer, 1000)
    return seconds(lambda: training_step(factor, optimizer, values, bf16=True), repeats, warm_up=2)


def table(bench: Bench, plan: Mapping[Key, int], seeds: int, milliseconds: Mapping[Key, float]) -> Iterator[str]:
    """The lines of the table."""
    yield "| factor | networks, optimizer | steps | ms | bits/dim | difference | by seed | samples |"
    yield "| --- | --- | --- | --- | --- | --- | --- | --- |"
    first: dict[str, str] = {}
    for (case, arm), steps in plan.items():
        base = first.setdefault(case, arm)
        pairs, samples = [], []
        for seed in range(seeds):
            own, other = bench.bits(case, arm, steps, seed), bench.bits(case, base, plan[case, base], seed)
            if own is not None and other is not None:
                pairs.append(torch.stack([own, own - other]))
                samples.append(bench.bits_of_samples(case, arm, steps, seed))
        if pairs:
            (bits, apart), by_seed = torch.stack(pairs).mean(0), torch.stack(pairs)[:, 1].mean(1).tolist()
            error = float(apart.std()) / len(apart) ** 0.5
            seen = " ".join(f"{each:+.3f}" for each in by_seed)
            yield (
                f"| {case} | {arm} | {steps:,} | {milliseconds.get((case, arm), math.nan):.0f} | {bits.mean():.3f} | "
                f"{apart.mean():+.3f} ± {error:.3f} | {seen} | {statistics.mean(samples):.3f} |"
            )


def main() -> None:
    options = options_of(
        __doc__,
        data={"type": Path, "required": True},
        out={"type": Path, "required": True},
        cases={"nargs": "+", "choices": CASES, "default": list(CASES)},
        arms={"nargs": "+", "choices": ARMS, "default": list(ARMS)},
        seeds=3,
        seconds={"type": float, "help": "seconds of each training; without it, arms have equal steps"},
        steps={"type": float, "default": 1.0, "help": "without --seconds: factor of all numbers of steps"},
        processes={"type": int, "default": 1, "help": "number of trainings at once"},
        repeats={"type": int, "default": 20, "help": "steps whose time is measured"},
    )
    options.out.mkdir(parents=True, exist_ok=True)
    bench = Bench(options.data.resolve(), options.out.resolve())
    if not (bench.out / "faces16").exists():
        auxar.write_views("quickstart", 1, bench.out / "faces16", settings=[f"data.path={bench.data}/celeba-coarse"])
    plan, milliseconds = planned(bench, options)
    jobs = [(*key, steps, seed) for seed in range(options.seeds) for key, steps in plan.items()]
    with ThreadPoolExecutor(options.processes) as pool:
        statuses = list(pool.map(lambda job: bench.train(*job), jobs))
    print("\n".join(table(bench, plan, options.seeds, milliseconds)))
    if any(statuses):
        sys.exit(
            f"{len(statuses) - statuses.count(0)} of {len(statuses)} trainings failed: see the logs in {bench.out}"
        )


def planned(bench: Bench, options: argparse.Namespace) -> tuple[dict[Key, int], dict[Key, float]]:
    """The steps of each training, and the measured milliseconds of a step."""
    keys = [(case, arm) for case in options.cases for arm in options.arms]
    if options.seconds is None:
        return {key: round(CASES[key[0]].steps * options.steps) for key in keys}, {}
    with threads(1):
        seconds_of = {key: bench.seconds_of_step(*key, options.repeats) for key in keys}
    plan = {key: round(options.seconds / duration) for key, duration in seconds_of.items()}
    return plan, {key: 1000 * duration for key, duration in seconds_of.items()}


if __name__ == "__main__":
    main()
