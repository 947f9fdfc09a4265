"""Tests of validation images: the figures during training, the choice of weights, and early stopping."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluations import figures_of
from helpers.tiny_runs import assert_same_training, metrics, run, same, stopping_after, stopping_at, tiny, weights

import auxar
from auxar.errors import UserError
from auxar.files import read_tensors
from auxar.training import loop, validation
from auxar.training.averaging import WeightAverage
from auxar.training.validation import Validation

# Without a stage there is one factor, so that runs are short. There are evaluations after steps 2, 4, 6 and 7.
CHANGES = {
    "stage": None,
    "data__split__validation": 0.3,
    "training__steps": 7,
    "training__checkpoint_every": 3,
    "training__evaluate_every": 2,
    "training__keep_best": True,
    "training__schedule": {"name": "exponential", "decay": 0.9},
    "sampling__images": 0,
    "evaluation__train_images": 0,
}
FIGURES = {2: 5.0, 4: 3.0, 6: 4.0, 7: 3.0}


@pytest.fixture
def figures(monkeypatch) -> dict[int, float]:
    """Figures by step that replace the ones of validation images. A test may change them."""
    found = dict(FIGURES)

    def figure(self: Validation, images: Any) -> float:
        assert self.config.evaluate_every is not None
        return found[min(self.progress.step + self.config.evaluate_every, self.total)]

    monkeypatch.setattr(Validation, "_bits_per_dim", figure)
    return found


def files(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.glob("factors/prior/*") if file.suffix == ".safetensors")


def curve(folder: Path) -> dict[int, float]:
    return {line["step"]: line["validation_bits_per_dim"] for line in metrics(folder) if "bits_per_dim" not in line}


def metadata(folder: Path) -> dict[str, str]:
    return read_tensors(folder / "factors" / "prior" / "weights.safetensors")[1]


# Figures


def test_figures_are_computed_in_float32(pictures, tmp_path):
    """With training in bfloat16, and two factors, of which only one averages its weights."""
    table = tiny(pictures, training__precision="bf16", training__factor={"stage0": {"ema": 0.0}}, sampling__images=0)
    table["data"]["split"]["validation"] = 0.3
    table["training"] |= {"evaluate_every": 3, "validation_images": 5}
    folder = run(tmp_path / "run", table)
    lines = [line for line in metrics(folder) if "validation_bits_per_dim" in line]
    assert [(line["factor"], line["step"]) for line in lines] == [
        (name, step) for name in ("prior", "stage0") for step in (3, 4)
    ]
    model = auxar.load(folder)
    for factor in model.chain.factors:  # The limits of parameters are chosen after the last validation.
        factor.limit({})
    images = auxar.load_images(model).validation
    assert images is not None
    for nats in model.log_probs(next(images.in_order(5))):
        expected = nats.log_prob.mean().item() / (-math.log(2) * nats.image.dims)
        [found] = [line for line in lines if (line["factor"], line["step"]) == (nats.factor, 4)]
        assert found["validation_bits_per_dim"] == pytest.approx(expected, rel=1e-5)


# The weights that are kept


def test_the_best_weights_are_those_of_their_step(pictures, tmp_path, figures):
    """They equal those of a training of as many steps. Of two equal figures, the first is the best."""
    best = run(tmp_path / "best", tiny(pictures, **CHANGES))
    short = run(tmp_path / "short", tiny(pictures, **{**CHANGES, "training__keep_best": False, "training__steps": 4}))
    last = run(tmp_path / "last", tiny(pictures, **{**CHANGES, "training__keep_best": False}))
    assert same(weights(best), weights(short))
    assert not same(weights(best), weights(last))
    assert same(weights(best, "training"), weights(last, "training"))
    assert [file for file in files(best) if file.startswith("best")] == ["best-000000004.safetensors"]
    assert [file for file in files(last) if file.startswith("best")] == []
    assert curve(best) == FIGURES
    keys = ("step", "kept", "trained_steps", "complete_at")
    assert [metadata(best)[key] for key in keys] == ["4", "best", "7", "7"]
    assert [metadata(last)[key] for key in keys] == ["7", "last", "7", "7"]
    for folder, steps, kept in ((best, 4, "best"), (last, 7, "last")):
        evaluation = figures_of(folder)
        [factor] = evaluation["factors"]
        assert (factor["steps"], factor["kept"], factor["trained_steps"]) == (steps, kept, 7)
        assert (factor["stopped_early"], evaluation["images"]["heldout"]) == (False, 6)
        page = (folder / "report.html").read_text()
        assert ("the best by validation images: prior at step 4" in page) == (kept == "best")


def test_without_a_finite_figure_the_last_weights_are_kept(pictures, tmp_path, figures, caplog):
    figures.update(dict.fromkeys(figures, math.nan))
    folder = run(tmp_path / "run", tiny(pictures, **CHANGES))
    assert (metadata(folder)["step"], metadata(folder)["kept"]) == ("7", "last")
    assert "factor prior: no figure on validation images was finite; the last weights are kept" in caplog.text
    lines = (folder / "factors" / "prior" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["validation_bits_per_dim"] for line in lines if "validation" in line] == ["NaN"] * 4


# Interrupted training


@pytest.fixture(scope="module")
def whole(pictures, tmp_path_factory) -> Path:
    """A run that was never interrupted, with figures of its own. Its best weights are those of step 7."""
    return run(tmp_path_factory.mktemp("whole") / "run", tiny(pictures, **CHANGES))


@pytest.mark.parametrize(
    ("options", "left"),
    [
        # During step 5, after the evaluation of step 4 that no checkpoint has.
        (
            {"place": WeightAverage, "name": "update", "calls": 5},
            ["best-000000002", "best-000000004", "training-000000003"],
        ),
        # After the best weights of step 6, before the checkpoint of step 6.
        (
            {"place": validation.Validation, "name": "_remove_others", "calls": 3, "after": True},
            ["best-000000002", "best-000000006", "training-000000003"],
        ),
        # After the last checkpoint, before the weights.
        (
            {"place": loop, "name": "write_tensors", "calls": 1},
            ["best-000000006", "best-000000007", "training-000000006", "training-000000007"],
        ),
        # By a signal before step 4, so that the evaluation of step 4 is left out and a checkpoint is saved.
        (
            {"place": WeightAverage, "name": "update", "calls": 3, "signaled": True},
            ["best-000000002", "training-000000003", "training-000000004"],
        ),
    ],
    ids=["after an evaluation", "best weights", "the end", "signal"],
)
def test_a_stopped_training_makes_the_same_choice(pictures, whole, tmp_path, options, left):
    assert list(curve(whole)) == [2, 4, 6, 7]
    assert sorted(curve(whole).values(), reverse=True) == list(curve(whole).values())
    table = tiny(pictures, **CHANGES)
    with stopping_at(**options):
        run(tmp_path / "run", table)
    assert files(tmp_path / "run") == [f"{name}.safetensors" for name in left]
    stopped = run(tmp_path / "run", table)
    assert_same_training(stopped, whole)
    assert metadata(stopped) == metadata(whole)
    assert files(stopped) == files(whole)


def test_best_weights_and_pictures_of_an_abandoned_training_are_removed(pictures, tmp_path, figures):
    """The process is killed before the first checkpoint. Training then starts again, with fewer steps."""
    changes = {**CHANGES, "training__checkpoint_every": 100, "training__sample_every": 2}
    table = tiny(pictures, **changes)
    with stopping_after(4):
        run(tmp_path / "run", table)
    assert files(tmp_path / "run") == ["best-000000004.safetensors"]
    figures[3] = 6.0
    # As no checkpoint exists, other keys of the recipe may change, too.
    again = run(tmp_path / "run", tiny(pictures, **{**changes, "training__steps": 3, "training__batch_size": 2}))
    assert (metadata(again)["step"], metadata(again)["kept"]) == ("2", "best")
    assert [file for file in files(again) if file.startswith("best")] == ["best-000000002.safetensors"]
    drawn = sorted(file.name for file in again.glob("factors/prior/samples-*.png"))
    assert drawn == ["samples-000000002.png", "samples-000000003.png"]


def test_a_checkpoint_with_damaged_best_weights_counts_as_damaged(pictures, whole, tmp_path, caplog):
    shutil.copytree(whole, tmp_path / "run")
    folder = tmp_path / "run" / "factors" / "prior"
    (folder / "weights.safetensors").unlink()
    newest = folder / "best-000000007.safetensors"
    newest.write_bytes(newest.read_bytes()[:-9])
    again = run(tmp_path / "run", tiny(pictures, **CHANGES))
    assert f"{newest} is damaged: " in caplog.text
    assert f"training continues from {folder / 'training-000000006.safetensors'}" in caplog.text
    assert same(weights(again), weights(whole))
    for file in ("weights.safetensors", "best-000000007.safetensors", "best-000000006.safetensors"):
        (folder / file).unlink()
    with pytest.raises(UserError, match=r"best-000000007.safetensors is missing: .*; all earlier checkpoints are dama"):
        run(tmp_path / "run", tiny(pictures, **CHANGES))


# Early stopping


def test_training_stops_early(pictures, tmp_path, figures, caplog):
    """It stops after two evaluations that are not the best, as it does again after it was killed at its end."""
    figures.update({2: 5.0, 4: 6.0, 6: 4.0, 8: 4.0, 10: 4.5, 12: 1.0})
    changes = {**CHANGES, "training__steps": 30, "training__patience": 2, "training__keep_best": False}
    table = tiny(pictures, **changes)
    folder = run(tmp_path / "run", table)
    assert list(curve(folder)) == [2, 4, 6, 8, 10]
    short = run(tmp_path / "short", tiny(pictures, **{**changes, "training__patience": None, "training__steps": 10}))
    assert_same_training(folder, short)
    keys = ("step", "kept", "trained_steps", "complete_at")
    assert [metadata(folder)[key] for key in keys] == ["10", "last", "10", "30"]
    [factor] = figures_of(folder)["factors"]
    assert (factor["steps"], factor["trained_steps"], factor["stopped_early"]) == (10, 10, True)
    assert "10<small> stopped early" in (folder / "report.html").read_text()
    text = "factor prior: training stopped early after step 10 of 30, because the last 2 evaluations on validation "
    (folder / "factors" / "prior" / "weights.safetensors").unlink()
    with caplog.at_level("INFO", logger="auxar"), pytest.MonkeyPatch.context() as patch:
        patch.setattr(WeightAverage, "update", None)  # No step is made.
        run(folder, table)
    assert text in caplog.text
    assert same(weights(folder), weights(short))
