"""Tests that no file of a user is lost, and that results are not silently mixed with others."""

import os
import shutil
from pathlib import Path

import pytest
from helpers.evaluations import figures_of, with_facts
from helpers.tiny_runs import run, snapshot, tiny, write_pictures

from auxar.commands.evaluate import evaluate
from auxar.commands.sample import sample
from auxar.errors import UserError


def test_training_does_not_go_on_with_other_images(tmp_path):
    pictures = write_pictures(tmp_path / "pictures")
    table = tiny(pictures)
    folder = run(tmp_path / "run", table, only=["prior"])
    (folder / "factors" / "prior" / "weights.safetensors").unlink()
    next(iter(sorted(pictures.glob("*.png")))).unlink()
    before = snapshot(folder / "factors")
    with pytest.raises(UserError, match=r"prior/training-000000004\.safetensors was trained on other images"):
        run(folder, table)
    assert snapshot(folder / "factors") == before


def test_an_evaluation_on_other_images_says_so(tmp_path, caplog):
    pictures = write_pictures(tmp_path / "pictures")
    folder = run(tmp_path / "run", tiny(pictures, sampling__images=0))
    assert "other images" not in caplog.text
    next(iter(sorted(pictures.glob("*.png")))).unlink()
    evaluate(folder)
    assert "factor prior was trained on other images" in caplog.text


@pytest.fixture(scope="module")
def evaluated(pictures, tmp_path_factory):
    """A run with an evaluation and without samples."""
    return run(tmp_path_factory.mktemp("evaluated") / "run", tiny(pictures, sampling__images=0))


@pytest.mark.parametrize("changed", [None, "weights", "report", "images"])
def test_a_run_whose_evaluation_or_report_is_out_of_date_is_evaluated_again(evaluated, pictures, tmp_path, changed):
    """If a run was killed, the evaluation may be of other weights, and newer than the report. `auxar evaluate` may have
    evaluated other images."""
    folder = Path(shutil.copytree(evaluated, tmp_path / "run"))
    right = figures_of(folder)
    with_facts(folder, data__skipped=99)
    os.utime(folder / "evaluation.safetensors", (1000, 1000))
    if changed == "weights":
        with_facts(folder, checksums__stage0="f00d")
    if changed == "images":
        with_facts(folder, data__settings__path="other")
    if changed == "report":
        os.utime(folder / "recipe.toml", (998, 998))
        os.utime(folder / "report.html", (999, 999))
    stale = figures_of(folder)
    run(folder, tiny(pictures, sampling__images=0))
    assert figures_of(folder) == (right if changed else stale)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sampling__sampler": "wavefront", "prior": {"name": "pixelcnn++", "filters": 4}}, "changes the resolution"),
        ({"data__path": "/nowhere"}, r"^data\.path: "),
        ({"data__train": "other"}, r"^data\.train: "),
        ({"data__split": {"train": 0.99}}, r"^data\.split\.train: "),
        ({"image__height": 16}, r"^data\.resize: "),
    ],
)
def test_a_mistake_leaves_no_folder(pictures, tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        run(tmp_path / "run", tiny(pictures, **change))
    assert not (tmp_path / "run").exists()


def test_what_was_trained_is_not_changed_by_settings(evaluated):
    with pytest.raises(UserError, match=r"seed=1: this command accepts only the keys evaluation\.…, data\.path, "):
        evaluate(evaluated, settings=["data.split.seed=1"])
    with pytest.raises(UserError, match=r"--set prior\.filters=8: this command accepts only the keys sampling\.…"):
        sample(evaluated, settings=["prior.filters=8"])
    with pytest.raises(UserError, match=r"^arithmetic: 'intger' is unknown; did you mean 'integer'\?"):
        evaluate(evaluated, arithmetic="intger")
