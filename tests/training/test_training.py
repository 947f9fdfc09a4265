"""Tests that training depends only on the recipe and the seed, even if it is interrupted."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from helpers.tiny_runs import (
    metrics,
    run,
    same,
    snapshot,
    tiny,
    weights,
    with_dropout,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import auxar
from auxar.data import load_images
from auxar.files import read_json, read_tensors
from auxar.runs.opening import open_run
from auxar.training.averaging import WeightAverage

# Settings that have a state or use random numbers, and a number of steps that is no multiple of the other intervals.
EVERYTHING = {
    "training__steps": 7,
    "training__flip": True,
    "training__decay": 0.9,
    "training__accumulate": 2,
    "training__clip": 1.0,
    "training__checkpoint_every": 3,
    "sampling__images": 1,
}


class Stopped(Exception):
    """An exception that simulates the end of a process."""


@pytest.fixture(scope="module")
def everything(pictures, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    return run(tmp_path_factory.mktemp("uninterrupted") / "run", with_dropout(tiny(pictures, **EVERYTHING)))


# Stopped and continued


@pytest.mark.parametrize(
    "after", [pytest.param(1, marks=pytest.mark.slow), 3, pytest.param(5, marks=pytest.mark.slow), 13]
)
def test_a_run_that_was_stopped_ends_like_one_that_was_not(pictures, tmp_path, monkeypatch, everything, after):
    updates = 0

    def update(self, update=WeightAverage.update):
        nonlocal updates
        if updates == after:
            raise Stopped
        updates += 1
        update(self)

    table = with_dropout(tiny(pictures, **EVERYTHING))
    with monkeypatch.context() as patch:
        patch.setattr(WeightAverage, "update", update)
        with pytest.raises(Stopped):
            run(tmp_path / "run", table)
    assert not (tmp_path / "run" / "factors" / "stage0" / "weights.safetensors").exists()
    torch.rand(after)  # Earlier draws in the process do not matter.
    stopped = run(tmp_path / "run", table)
    assert same(weights(stopped), weights(everything))
    assert same(weights(stopped, "training"), weights(everything, "training"))
    assert metrics(stopped) == metrics(everything)
    assert read_json(stopped / "evaluation.json") == read_json(everything / "evaluation.json")


def test_a_finished_run_says_so_and_changes_nothing(pictures, everything, caplog):
    before = snapshot(everything)
    with caplog.at_level("INFO", logger="auxar"):
        run(everything, with_dropout(tiny(pictures, **EVERYTHING)))
    assert f"this run is finished: {everything / 'report.html'}" in caplog.messages
    assert snapshot(everything) == before


# Dependence on recipe and seed


def test_the_seed_says_all(pictures, tmp_path, everything):
    again = run(tmp_path / "again", with_dropout(tiny(pictures, **EVERYTHING)))
    assert same(weights(again), weights(everything))
    assert metrics(again) == metrics(everything)


def test_factors_train_apart(pictures, tmp_path, everything):
    table = with_dropout(tiny(pictures, **EVERYTHING))
    parts = {name: run(tmp_path / name, table, only=[name]) for name in ("stage0", "prior")}
    assert [file.parent.name for file in parts["prior"].glob("factors/*/weights.safetensors")] == ["prior"]
    assert not (parts["prior"] / "samples").exists()
    (parts["prior"] / "factors" / "prior").rename(parts["stage0"] / "factors" / "prior")
    together = run(parts["stage0"], table)
    assert same(weights(together), weights(everything))
    assert read_json(together / "evaluation.json") == read_json(everything / "evaluation.json")


def test_checkpoints_have_no_part_in_the_weights(pictures, tmp_path, everything):
    changes = {**EVERYTHING, "training__checkpoint_every": 100, "training__log_every": 4}
    assert same(weights(run(tmp_path / "run", with_dropout(tiny(pictures, **changes)))), weights(everything))


# Effects of settings


def test_metrics_are_logged_as_often_as_asked_and_at_the_end(pictures, tmp_path):
    table = tiny(pictures, training__steps=5, training__log_every=2, sampling__images=0)
    lines = metrics(run(tmp_path / "run", table, only=["prior"]))
    assert [line["step"] for line in lines] == [2, 4, 5]
    every = metrics(run(tmp_path / "every", tiny(pictures, training__steps=5, sampling__images=0), only=["prior"]))
    losses = [line["bits_per_dim"] for line in every]
    means = [sum(losses[:2]) / 2, sum(losses[2:4]) / 2, losses[4]]
    assert [line["bits_per_dim"] for line in lines] == pytest.approx(means)


def heldout_images(folder):
    _, recipe, registry = open_run(folder)
    heldout = load_images(recipe.data, recipe.image, registry.dataset_paths()).heldout
    return torch.stack([pixels for _, pixels in heldout.every(1, 0, 64)])


def test_a_gradient_in_bfloat16_is_near_that_in_float32(pictures, tmp_path):
    """bfloat16 rounds to a relative precision of 1/256, so loss and gradient must agree to a few times as much."""
    changes = {"training__steps": 1, "sampling__images": 0}
    exact = run(tmp_path / "exact", tiny(pictures, **changes))
    rough = run(tmp_path / "rough", tiny(pictures, **changes, training__precision="bf16"))
    assert all(tensor.dtype == torch.float32 for tensor in weights(rough, "training").values())
    for first, second in zip(metrics(exact), metrics(rough), strict=True):
        assert first["bits_per_dim"] == pytest.approx(second["bits_per_dim"], rel=2e-3)
    for factor in ("prior", "stage0"):
        # After one step, Adam's first moment is a tenth of the gradient.
        first, second = (moments(folder, factor) for folder in (exact, rough))
        assert 1e-4 < (first - second).norm() / first.norm() < 0.03
    # Evaluation computes in float32.
    said = read_json(rough / "evaluation.json")["bits_per_dim"]["heldout"]
    assert auxar.load(rough).bits_per_dim(heldout_images(rough)).mean().item() == pytest.approx(said, rel=1e-6)


def moments(folder, factor):
    """Adam's first moments of a factor in one row."""
    found = weights(folder, "training")
    names = [name for name in found if name.startswith(f"{factor}/optimizer.") and name.endswith(".exp_avg")]
    return torch.cat([found[name].flatten() for name in names])


@pytest.mark.slow
def test_likelihoods_of_a_trained_model_are_near_in_bfloat16(tmp_path):
    """On held-out images, bfloat16 changes the mean bits/dim by less than 0.01 and each image's by less than 0.05."""
    emoji = {"data__path": "noto-emoji", "data__resize": "cover", "training__steps": 150, "training__batch_size": 16}
    table = tiny(tmp_path, **emoji, prior__filters=16, stage__0__decoder__filters=16, sampling__images=0)
    folder = run(tmp_path / "run", table)
    images = heldout_images(folder)
    model = auxar.load(folder)
    with torch.no_grad():
        exact = model.bits_per_dim(images)
        with torch.autocast("cpu", torch.bfloat16):
            rough = model.bits_per_dim(images)
    assert exact.mean() < 7, "the model is not trained"
    assert rough.dtype == torch.float32
    assert not torch.equal(exact, rough)
    assert abs((exact - rough).mean()) < 0.01
    assert (exact - rough).abs().max() < 0.05
    torch.testing.assert_close(model.double().bits_per_dim(images).detach(), exact.double(), rtol=0, atol=1e-4)


def test_no_steps_leave_the_initialized_networks(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures, training__steps=0, sampling__images=1))
    assert not list(folder.glob("factors/*/metrics.jsonl"))
    table = read_json(folder / "evaluation.json")
    assert [entry["steps"] for entry in table["factors"]] == [0, 0]


def test_a_batch_that_is_no_multiple_is_shared_out(pictures, tmp_path):
    """Parts of an accumulated batch may differ in size. With more parts than images, each image is a part."""
    table = tiny(pictures, training__batch_size=3, training__accumulate=5, training__steps=1, sampling__images=0)
    whole = tiny(pictures, training__batch_size=3, training__steps=1, sampling__images=0)
    first, second = metrics(run(tmp_path / "parts", table)), metrics(run(tmp_path / "whole", whole))
    assert [line["bits_per_dim"] for line in first] == pytest.approx([line["bits_per_dim"] for line in second])


# The average of weights


@settings(deadline=None)
@given(
    st.floats(0, 0.9999),
    st.lists(st.lists(st.floats(-100, 100), min_size=3, max_size=3), min_size=1, max_size=8),
    st.data(),
)
def test_the_average_is_its_closed_form(decay, steps, data):
    module = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    average = WeightAverage(module, decay)
    stop = data.draw(st.integers(0, len(steps)))
    for step, values in enumerate(steps, start=1):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([values], dtype=torch.float64))
        average.update()
        if step == stop:
            saved = {name: tensor.clone() for name, tensor in average.tensors().items()}
            average = WeightAverage(module, decay)
            average.restore(saved, step)
    average.apply()
    shares = torch.tensor([decay ** (len(steps) - step) for step in range(1, len(steps) + 1)], dtype=torch.float64)
    expected = (shares[:, None] * torch.tensor(steps, dtype=torch.float64)).sum(0) / shares.sum()
    torch.testing.assert_close(module.weight[0].detach(), expected, rtol=1e-9, atol=1e-9)


def test_without_an_average_weights_are_the_last(pictures, tmp_path):
    folder = run(tmp_path / "run", tiny(pictures, training__ema=0.0, training__steps=2, sampling__images=0))
    state = weights(folder, "training")
    for name, tensor in weights(folder).items():
        factor, _, key = name.partition("/")
        assert torch.equal(tensor, state[f"{factor}/factor.{key}"])
    assert kinds_of_weights(folder) == {"last"}


def kinds_of_weights(folder):
    """The kinds that files of weights name, which evaluations repeat."""
    return {read_tensors(file)[1]["weights"] for file in folder.glob("factors/*/weights.safetensors")}


def test_an_average_of_weights_is_named(everything):
    assert kinds_of_weights(everything) == {"ema"}


# Seeds


@given(st.lists(st.integers() | st.text(max_size=5), max_size=4))
def test_seeds_are_what_torch_takes(parts):
    seed = auxar.training.loop.seed_of(*parts)
    torch.manual_seed(seed)
    assert 0 <= seed < 2**63
    assert seed == auxar.training.loop.seed_of(*parts)
