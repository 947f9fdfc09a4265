"""Tests that training depends only on the recipe and the seed, even if it is interrupted."""

import math
from pathlib import Path

import pytest
import torch
from helpers.evaluations import figures_of
from helpers.tiny_runs import (
    Stopped,
    assert_same_training,
    metrics,
    run,
    same,
    stopping_after,
    tiny,
    weights,
    with_dropout,
)
from hypothesis import given, settings
from hypothesis import strategies as st

import auxar
from auxar.data.loading import load_images
from auxar.draw.previews import IMAGES
from auxar.draw.previews import pictures as drawn_pictures
from auxar.draw.sheets import save_png, sheet
from auxar.files import read_tensors
from auxar.model import SampleRequest
from auxar.recipe.building import own_sampler
from auxar.runs.opening import open_run
from auxar.training.averaging import WeightAverage

# Settings that have a state or use random numbers, and a number of steps that is no multiple of the other intervals.
# The three factors have all optimizers, schedules and averages.
EVERYTHING = {
    "stage__0__repeat": 2,
    "training__steps": 7,
    "training__augment": ["flip"],
    "training__optimizer": "adamw",
    "training__schedule": "cosine",
    "training__warmup": 2,
    "training__accumulate": 2,
    "training__clip": 1.0,
    "training__checkpoint_every": 3,
    "training__factor": {
        "stage1": {"optimizer": "adam", "schedule": "exponential:decay=0.9", "warmup": 0, "ema_warmup": False},
        "prior": {"schedule": "constant", "ema": 0.0},
    },
    "sampling__images": 1,
}


@pytest.fixture(scope="module")
def everything(pictures, tmp_path_factory) -> Path:
    """An uninterrupted run."""
    return run(tmp_path_factory.mktemp("uninterrupted") / "run", with_dropout(tiny(pictures, **EVERYTHING)))


# Stopped and continued


def test_a_run_that_was_stopped_ends_like_one_that_was_not(pictures, tmp_path, everything):
    """The factors are trained in the order prior, stage1, stage0, with 7 steps each, and each is stopped."""
    table = with_dropout(tiny(pictures, **EVERYTHING))
    # The number of steps until the run is stopped, and its newest checkpoint then.
    stops = [(5, "prior/training-000000003"), (6, "prior/training-000000007"), (6, "stage1/training-000000006")]
    stops += [(5, "stage0/training-000000003")]
    for steps, newest in stops:
        torch.rand(steps)  # Earlier draws in the process do not matter.
        with stopping_after(steps):
            run(tmp_path / "run", table)
        files = (tmp_path / "run" / "factors").glob("*/training-*")
        file = max(files, key=lambda file: file.stat().st_mtime_ns)
        assert f"{file.parent.name}/{file.stem}" == newest
    assert not (tmp_path / "run" / "factors" / "stage0" / "weights.safetensors").exists()
    stopped = run(tmp_path / "run", table)
    assert_same_training(stopped, everything)
    assert figures_of(stopped) == figures_of(everything)


def test_samples_and_reports_during_training_have_no_part_in_the_result(pictures, tmp_path, monkeypatch, everything):
    """The run is stopped twice: while stage0 is trained, when the others are finished, and before the last report."""
    table = with_dropout(tiny(pictures, **EVERYTHING, training__sample_every=3))
    folder = tmp_path / "run"
    with stopping_after(20):
        run(folder, table)
    report = (folder / "report.html").read_text("utf-8")
    assert "These factors are not trained yet, so they have no likelihood: stage0." in report
    assert "No samples have been drawn yet." in report
    prior = figures_of(folder)["factors"][2]
    assert prior == figures_of(everything)["factors"][2]
    with monkeypatch.context() as patch:
        patch.setattr("auxar.pipeline.update_report", lambda *arguments: raise_stopped())
        with pytest.raises(Stopped):
            run(folder, table)
    run(folder, table)
    assert "No samples have been drawn yet." not in (folder / "report.html").read_text("utf-8")
    assert_same_training(folder, everything)
    assert figures_of(folder) == figures_of(everything)
    # The last picture of a factor shows the first samples of the finished model.
    model = auxar.load(folder).chain
    with torch.no_grad():
        drawn = model.by_depth(model.draw(SampleRequest(tuple(range(IMAGES))), own_sampler(model)))
    for factor, images in zip(model.factors, drawn, strict=True):
        steps = dict(drawn_pictures(folder / "factors" / factor.name))
        assert list(steps) == [3, 6, 7]
        save_png(sheet(images, factor.image, columns=IMAGES), tmp_path / "expected.png")
        assert steps[7].read_bytes() == (tmp_path / "expected.png").read_bytes()
        assert steps[3].read_bytes() != steps[6].read_bytes()


def raise_stopped():
    raise Stopped


# Dependence on recipe and seed


def heldout_images(folder):
    _, recipe = open_run(folder)
    heldout = load_images(recipe.data, recipe.image, recipe.registry).heldout
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
    said = figures_of(rough)["bits_per_dim"]["heldout"]
    assert auxar.load(rough).chain.bits_per_dim(heldout_images(rough)).mean().item() == pytest.approx(said, rel=1e-6)


def moments(folder, factor):
    """Adam's first moments of a factor in one row."""
    found = weights(folder, "training")
    names = [name for name in found if name.startswith(f"{factor}/optimizer.") and name.endswith(".exp_avg")]
    return torch.cat([found[name].flatten() for name in names])


# The average of weights


@settings(deadline=None)
@given(
    st.floats(0, 0.9999),
    st.booleans(),
    st.lists(st.lists(st.floats(-100, 100), min_size=3, max_size=3), min_size=1, max_size=8),
    st.data(),
)
def test_the_average_is_its_closed_form(decay, warmup, steps, data):
    module = torch.nn.Linear(3, 1, bias=False, dtype=torch.float64)
    average = WeightAverage(module, decay, warmup=warmup)
    stop = data.draw(st.integers(0, len(steps)))
    for step, values in enumerate(steps, start=1):
        with torch.no_grad():
            module.weight.copy_(torch.tensor([values], dtype=torch.float64))
        average.update()
        if step == stop:
            saved = {name: tensor.clone() for name, tensor in average.tensors().items()}
            average = WeightAverage(module, decay, warmup=warmup)
            average.restore(saved, step)
    average.apply()
    parts = torch.tensor([decay ** (len(steps) - step) for step in range(1, len(steps) + 1)], dtype=torch.float64)
    if warmup:
        kept = [min(decay, (step - 1) / (step + 9)) for step in range(1, len(steps) + 1)]
        parts = torch.tensor([(1 - kept[k]) * math.prod(kept[k + 1 :]) for k in range(len(steps))], dtype=torch.float64)
    expected = (parts[:, None] * torch.tensor(steps, dtype=torch.float64)).sum(0) / parts.sum()
    torch.testing.assert_close(module.weight[0].detach(), expected, rtol=1e-9, atol=1e-9)


def test_weights_are_averages_or_the_last(everything):
    """Files of weights name the kind of their weights, and evaluations repeat it."""
    state = weights(everything, "training")
    for factor, kind in {"stage0": "ema", "stage1": "ema", "prior": "last"}.items():
        tensors, metadata = read_tensors(everything / "factors" / factor / "weights.safetensors")
        assert metadata["weights"] == kind
        assert same(tensors, {name: state[f"{factor}/factor.{name}"] for name in tensors}) == (kind == "last")
