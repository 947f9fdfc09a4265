"""Tests of training steps, their random numbers and their metrics against computations in the test."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from helpers.tiny_runs import metrics, tiny, weights, with_dropout, write
from torch import Tensor

from auxar.data import DataSets, StoredImages, load_images
from auxar.model import Chain
from auxar.numerics.threads import threads
from auxar.recipe import TrainingConfig, load_recipe
from auxar.recipe.building import build_model
from auxar.runs.layout import RunFolder
from auxar.runs.opening import begin_run
from auxar.training.checkpoints import Progress
from auxar.training.factors import FactorTraining
from auxar.training.lengths import total_steps
from auxar.training.loop import train_factor
from auxar.training.progress import Meter
from auxar.work.accelerator import make_accelerator
from auxar.work.team import Team

# All 18 training images are in every batch, so a batch is the same in any order. Its four parts have 5, 5, 5 and 3.
IMAGES = 18
STEPS = 4
SETTINGS = {
    "stage__0__repeat": 2,
    "training__batch_size": IMAGES,
    "training__initialization_images": IMAGES,
    "training__accumulate": 4,
    "training__optimizer": {"name": "adam", "learning_rate": 0.005, "betas": [0.8, 0.95]},
    "training__schedule": {"name": "exponential", "decay": 0.6},
    "training__ema": 0.7,
    "training__ema_warmup": False,
    "training__factor": {
        "stage1": {
            "optimizer": {"name": "adamw", "weight_decay": 2.0, "learning_rate": 0.003, "betas": [0.8, 0.95]},
            **{"schedule": "cosine:final_fraction=0.2", "warmup": 1, "ema_warmup": True, "clip": 0.1},
        },
        "prior": {
            "optimizer": {"learning_rate": 0.006},
            **{"schedule": "constant", "warmup": 2, "ema": 0.2, "ema_warmup": True},
        },
    },
}


@attrs.frozen
class Expected:
    """How a factor is trained, in numbers for each of the four steps."""

    rates: list[float]
    parts: list[float]
    """The part of the weights after each step in the average, up to a factor."""
    weight_decay: float = 0.0
    clip: float = math.inf


OF_FACTORS = {
    "stage0": Expected([0.005, 0.003, 0.0018, 0.00108], [0.343, 0.49, 0.7, 1]),
    # The cosine begins at the second step. A half period of three steps passes 1, 3/4, 1/4 and 0. The average
    # moves by 10/10, 10/11, 10/12 and 10/13.
    "stage1": Expected([0.0015, 0.003, 0.0024, 0.0012], [1, 10, 55, 220], weight_decay=2.0, clip=0.1),
    # The average moves by 10/10, 10/11, 10/12 and, because this is more than 10/13, by 0.8.
    "prior": Expected([0.002, 0.004, 0.006, 0.006], [1, 10, 55, 264]),
}


def train(folder: Path, table: dict[str, Any]) -> tuple[Chain, DataSets]:
    """Trains all factors of a recipe in a new folder. Returns the untrained model and the images."""
    recipe, registry = load_recipe(write(folder.with_suffix(".toml"), table))
    data = load_images(recipe.data, recipe.image, registry)
    run, recipe = begin_run(folder, recipe, registry)
    steps = total_steps(run, recipe, lambda: data.train)
    training = FactorTraining(recipe, registry, run, data, steps, make_accelerator("float32", folder))
    assert training.train(recipe.factor_names) is not None
    torch.manual_seed(recipe.training.seed)
    return build_model(recipe, registry), data


def test_steps_are_those_of_the_optimizer_on_the_bits_per_dim_of_each_factor(pictures, tmp_path):
    """Weights, their average and the metrics are those of the formulas, computed in float64 from the same start."""
    model, data = train(tmp_path / "run", tiny(pictures, **SETTINGS, training__steps=STEPS))
    depths = [torch.stack([pixels for _, pixels in data.train.every(1, 0, None)]).long()]
    assert len(depths[0]) == IMAGES
    for _ in range(2):
        quarters = depths[-1].unflatten(3, (-1, 2)).unflatten(2, (-1, 2))
        depths.append((quarters.sum((3, 5)) + 2) // 4)
    last, averaged = weights(tmp_path / "run", "training"), weights(tmp_path / "run")
    lines = {(line["factor"], line["step"]): line for line in metrics(tmp_path / "run")}
    assert len(lines) == 3 * STEPS
    for depth, factor in enumerate(model.double().factors):
        expected = OF_FACTORS[factor.name]
        inputs = depths[depth : depth + 2]
        factor.initialize(*inputs)
        names, parameters = zip(*factor.named_parameters(), strict=True)
        first, second = ([torch.zeros_like(value) for value in parameters] for _ in range(2))
        path: list[list[Tensor]] = []
        for step in range(STEPS):
            bits = -factor(*inputs).mean() / math.log(2) / inputs[0][0].numel()
            gradients = torch.autograd.grad(bits, parameters)
            norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
            assert norm > expected.clip or expected.clip == math.inf
            line = lines[factor.name, step + 1]
            assert line["bits_per_dim"] == pytest.approx(bits.item(), rel=1e-4)
            assert line["gradient_norm"] == pytest.approx(norm, rel=1e-3)
            assert line["learning_rate"] == pytest.approx(expected.rates[step])
            path.append([])
            for k, (value, gradient) in enumerate(zip(parameters, gradients, strict=True)):
                gradient = gradient * min(1, expected.clip / norm)
                first[k] = 0.8 * first[k] + 0.2 * gradient
                second[k] = 0.95 * second[k] + 0.05 * gradient**2
                mean, square = first[k] / (1 - 0.8 ** (step + 1)), second[k] / (1 - 0.95 ** (step + 1))
                with torch.no_grad():
                    update = mean / (square.sqrt() + 1e-8) + expected.weight_decay * value
                    value -= expected.rates[step] * update
                path[-1].append(value.detach().clone())
        for k, name in enumerate(names):
            parts = zip(expected.parts, path, strict=True)
            average = sum(part * values[k] for part, values in parts) / sum(expected.parts)
            found = {last[f"{factor.name}/factor.{name}"]: path[-1][k], averaged[f"{factor.name}/{name}"]: average}
            for tensor, value in found.items():
                torch.testing.assert_close(tensor.double(), value, rtol=0, atol=5e-5)


# Random numbers


def seeds_and_batches(out: Path, table: dict[str, Any]) -> tuple[list[int], list[list[int]]]:
    """Trains a recipe. Returns the seeds of PyTorch from which numbers were drawn, and the images of every batch."""
    seeds: list[int] = []
    batches: list[list[int]] = []
    before = torch.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:

        def manual_seed(seed: int, manual_seed: Any = torch.manual_seed) -> torch.Generator:
            nonlocal before
            if seeds and torch.equal(torch.get_rng_state(), before):
                seeds.pop()
            seeds.append(seed)
            generator: torch.Generator = manual_seed(seed)
            before = torch.get_rng_state()
            return generator

        def fetch(images: StoredImages, numbers: Any, fetch: Any = StoredImages.fetch) -> Tensor:
            batches.append(list(numbers))
            return fetch(images, numbers)

        patch.setattr(torch, "manual_seed", manual_seed)
        patch.setattr(StoredImages, "fetch", fetch)
        train(out, table)
    return seeds, batches


def test_factors_steps_and_runs_share_no_random_numbers(pictures, tmp_path):
    """Each initialization and each step of each factor has its own seed, and each factor its own order of images."""
    all_seeds: list[int] = []
    orders: list[tuple[int, ...]] = []
    for seed in (0, 1):
        table = with_dropout(tiny(pictures, training__seed=seed, training__steps=3))
        with threads(1):
            seeds, batches = seeds_and_batches(tmp_path / str(seed), table)
        # The weights of both factors are drawn first, with the seed as it is. It is set again to build the model here.
        assert len(seeds) == 1 + 2 * (1 + 3) + 1
        all_seeds += seeds[:-1]
        # Each factor is initialized from the first 8 images, and trained on 3 batches of 4.
        assert [len(batch) for batch in batches] == 2 * [8, 4, 4, 4]
        for first, *others in (batches[:4], batches[4:]):
            assert first == [*others[0], *others[1]]
            orders.append(tuple(itertools.chain(*others)))
            assert len(set(orders[-1])) == 12
    assert len(set(all_seeds)) == len(all_seeds)
    assert len(set(orders)) == 4


def test_processes_of_a_team_share_no_random_numbers_of_steps(pictures, tmp_path, monkeypatch):
    recipe, registry = load_recipe(write(tmp_path / "recipe.toml", tiny(pictures, training__steps=2)))
    images = load_images(recipe.data, recipe.image, registry).train
    seeds: dict[int, list[int]] = {1: [], 2: []}
    for rank, found in seeds.items():
        model = build_model(recipe, registry)
        monkeypatch.setattr(Team, "rank", rank)
        monkeypatch.setattr(torch, "manual_seed", found.append)
        team = Team(make_accelerator("float32", tmp_path))
        train_factor(model, model.factors[0], images, recipe.training, RunFolder(tmp_path / "run"), team)
    (first, *steps), (other, *other_steps) = seeds.values()
    assert first == other, "all processes start with the same weights"
    assert len({*steps, *other_steps}) == 4


def test_flipped_images_are_trained_on(pictures, tmp_path):
    losses = []
    for flip in (False, True):
        folder = tmp_path / str(flip)
        train(folder, tiny(pictures, stage=None, training__steps=1, training__flip=flip))
        losses.append(metrics(folder)[0]["bits_per_dim"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-4)


# Metrics


@pytest.mark.parametrize("processes", [1, 2])
def test_speed_and_time_are_those_of_the_clock(pictures, tmp_path, monkeypatch, processes):
    """Images per second count the images of all processes, and seconds include those before training was resumed.

    An evaluation of ten seconds after step 4, and another one after step 12, have no part in the speed of training.
    """
    clock = [100.0]
    monkeypatch.setattr("auxar.training.progress.time.perf_counter", lambda: clock[0])
    lines: list[dict[str, Any]] = []
    team: Any = SimpleNamespace(
        rank=0,
        processes=processes,
        accelerator=SimpleNamespace(process_index=0, num_processes=processes),
        log=lambda scalars, step: lines.append({**scalars, "step": step}),
    )
    factor: Any = SimpleNamespace(name="prior")
    config = TrainingConfig(steps=20, batch_size=8, log_every=3, checkpoint_every=5)
    progress = Progress()
    for _ in range(2):
        meter = Meter(factor, config, tmp_path / "metrics.jsonl", team, 20)
        meter.resume(progress)
        clock[0] += 1000  # The networks are built, and the first batch is read.
        meter.begin()
        for number in range(8):
            clock[0] += 0.5
            meter.add(meter.step + 1.0, 1.0, 1e-3, finite=True)
            if number == 3:
                clock[0] += 10
                meter.add_validation(3.0, 10.0)
        clock[0] += 0.25
        progress = meter.progress
        meter.close()
    every = [line.copy() for line in lines]
    validation = [lines.pop(1), lines.pop(6)]
    assert [line["step"] for line in lines] == [3, 5, 6, 9, 10, 12, 15]
    # Each line has the mean loss of the steps since the line before, also if training was resumed between.
    assert [line["prior/bits_per_dim"] for line in lines] == pytest.approx([2, 4.5, 6, 8, 10, 11.5, 14])
    assert [line["prior/images_per_second"] for line in lines] == pytest.approx([16.0] * 7)
    # The second part begins after step 8, to which four seconds and a quarter of another step led.
    assert [line["prior/seconds"] for line in lines] == pytest.approx([1.5, 12.5, 13, 14.75, 15.25, 16.25, 27.75])
    assert validation == [
        {"prior/validation_bits_per_dim": 3.0, "prior/seconds": pytest.approx(seconds), "step": step}
        for step, seconds in ((4, 12), (12, 26.25))
    ]
    logged = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [
        {f"prior/{key}": line[key] for key in line.keys() - {"factor", "step", "total_steps"}} for line in logged
    ] == [{key: line[key] for key in line.keys() - {"step"}} for line in every]
