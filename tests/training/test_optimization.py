"""Tests of the metrics and the times of training against computations in the test, and of seeds of processes."""

import functools
import json
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from helpers.clock import Clock
from helpers.tiny_runs import tiny, write

from auxar.data.batches import TrainingExamples
from auxar.data.loading import load_images
from auxar.recipe import TrainingConfig, load_recipe
from auxar.recipe.building import build_model
from auxar.runs.layout import RunFolder
from auxar.training import loop
from auxar.training.checkpoints import Progress
from auxar.training.progress import Meter
from auxar.work.accelerator import make_accelerator


def test_speed_and_time_are_those_of_the_clock(tmp_path, monkeypatch):
    """Images per second count the images of all processes, and seconds include those before training was resumed.

    An evaluation of ten seconds after step 4, and another one after step 12, have no part in the speed of training.
    """
    clock = Clock(monkeypatch)
    lines: list[dict[str, Any]] = []
    accelerator: Any = SimpleNamespace(
        is_main_process=True, log=lambda scalars, step: lines.append({**scalars, "step": step})
    )
    factor: Any = SimpleNamespace(name="prior")
    config = TrainingConfig(steps=20, batch_size=8, log_every=3, checkpoint_every=5)
    progress = Progress(0, 0, 0.0, ())
    for _ in range(2):
        meter = Meter(factor, config, tmp_path / "metrics.jsonl", accelerator, 20)
        meter.resume(progress)
        clock.move(1000)  # The networks are built, and the first batch is read.
        meter.begin()
        for number in range(8):
            clock.move(0.5)
            meter.add(meter.step + 1.0, 1.0, 1e-3, finite=True)
            if number == 3:
                clock.move(10)
                meter.add_validation(3.0, 10.0)
        clock.move(0.25)
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


def test_processes_factors_and_seeds_share_no_random_numbers(pictures, tmp_path, monkeypatch):
    """Two processes of a factor begin with the same weights and read the same batches; everything else differs."""
    found: list[list[int]] = []
    monkeypatch.setattr(Accelerator, "is_main_process", False)
    for seed, place, rank in ((0, 0, 1), (0, 0, 2), (0, 1, 1), (1, 0, 1)):
        recipe = load_recipe(write(tmp_path / "recipe.toml", tiny(pictures, training__steps=2, training__seed=seed)))
        data, model = load_images(recipe.data, recipe.image, recipe.registry), build_model(recipe)
        found.append([])
        with monkeypatch.context() as patch:
            patch.setattr(Accelerator, "process_index", rank)
            patch.setattr(torch, "manual_seed", found[-1].append)
            patch.setattr(loop, "TrainingExamples", functools.partial(read, found[-1]))
            accelerator, run = make_accelerator("float32", tmp_path), RunFolder(tmp_path / "run")
            loop.FactorLoop(model, model.factors[place], data, recipe, run, accelerator).run_to_end()
    # The seeds of the weights, of the batch that initializes them, of the batches, and of two steps.
    assert [len(seeds) for seeds in found] == [5] * 4
    assert found[0][:3] == found[1][:3]
    assert all(seeds[1] == seeds[2] for seeds in found)
    numbers = [*found[0], *found[1][3:], *found[2], *found[3]]
    assert len(set(numbers)) == len(numbers) - 3


def read(seeds: list[int], images: Any, batch_size: int, steps: int, seed: int, *others: Any, **options: Any) -> Any:
    """Training examples, whose seed is added to a list."""
    seeds.append(seed)
    return TrainingExamples(images, batch_size, steps, seed, *others, **options)
