"""Tests that several calls train different factors of a run at the same time."""

import re
import shutil
import threading

import pytest
import torch
from helpers.marks import with_slow
from helpers.tiny_runs import run, same, stopping_after, tiny, weights

from auxar import RunFolder, UserError
from auxar.evaluation.stored import read_evaluation
from auxar.recipe import read_recipe
from auxar.report.training_tables import training_progress
from auxar.runs.lock import holding


@pytest.fixture(scope="module")
def table(pictures):
    return tiny(pictures, sampling__images=0, training__checkpoint_every=2)


def test_factors_that_are_trained_apart_are_those_of_one_run(tmp_path, table):
    whole = run(tmp_path / "whole", table)
    for name in ("stage0", "prior"):
        folder = run(tmp_path / "parts", table, only=[name], train_only=True)
    assert not {"evaluation.safetensors", "report.html", "samples"} & {path.name for path in folder.iterdir()}
    assert same(weights(folder), weights(whole))
    # The call without `train_only` trains nothing, and finishes the run.
    run(folder, table)
    assert same(weights(folder), weights(whole))
    found, expected = (read_evaluation(path / "evaluation.safetensors") for path in (folder, whole))
    assert found.has_facts_of(expected)
    # The number of threads, which decides the rounding, is chosen by the time that it takes.
    assert all(torch.allclose(found.tensors[key], nats, rtol=1e-5) for key, nats in expected.tensors.items())
    assert (folder / "report.html").is_file()


@pytest.mark.parametrize("train_only", with_slow([True, False], False))
def test_a_factor_is_trained_by_one_call_at_a_time(tmp_path, table, train_only, caplog):
    folder = run(tmp_path / "run", table, only=["stage0"], train_only=True)
    # A file that another process, which trains the prior, is just writing.
    unfinished = folder / "factors" / "prior" / ".metrics.jsonl.0123abcd.part"
    with holding(folder / "factors" / "prior"):
        unfinished.touch()
        caplog.set_level("INFO", logger="auxar")
        run(folder, table, train_only=train_only, wait=False)
        assert re.search(r"factor prior is trained by process \d+ .*, and this command does not wait", caplog.text)
        # Other factors can be trained, and nothing of the locked one is removed.
        run(folder, table, only=["stage0"], train_only=train_only)
        assert unfinished.exists()
    run(folder, table, train_only=train_only)
    assert (folder / "factors" / "prior" / "weights.safetensors").is_file()
    assert not unfinished.exists()


def test_a_recipe_is_not_replaced_while_a_factor_is_trained_with_it(tmp_path, table):
    folder = run(tmp_path / "run", table, only=["stage0"], train_only=True)
    for file in (folder / "factors" / "stage0").glob("*.safetensors"):
        file.unlink()  # As before the first checkpoint, when any recipe is accepted.
    before = (folder / "recipe.toml").read_bytes()
    other = {**table, "training": {**table["training"], "seed": 5}}
    with holding(folder / "factors" / "stage0"):
        with pytest.raises(UserError, match=r"factors/stage0 is in use by process \d+"):
            run(folder, other, only=["prior"], train_only=True)
        assert (folder / "recipe.toml").read_bytes() == before
        run(folder, table, only=["prior"], train_only=True)
    (folder / "factors" / "prior" / "weights.safetensors").unlink()
    for file in (folder / "factors" / "prior").glob("training-*.safetensors"):
        file.unlink()
    run(folder, other, only=["prior"], train_only=True)
    assert (folder / "recipe.toml").read_bytes() != before


def test_a_call_waits_while_another_one_begins(tmp_path, table):
    folder = run(tmp_path / "run", table, only=["stage0"], train_only=True)
    begun, ended = threading.Event(), threading.Event()

    def hold():
        with holding(folder):
            begun.set()
            ended.wait(0.5)

    other = threading.Thread(target=hold)
    other.start()
    begun.wait()
    run(folder, table, only=["prior"], train_only=True)
    other.join()
    assert (folder / "factors" / "prior" / "weights.safetensors").is_file()


def test_progress_is_that_of_the_metrics_and_of_the_weights(tmp_path, table):
    def progress():
        return training_progress(RunFolder(folder), read_recipe(folder / "recipe.toml"))

    folder = run(tmp_path / "run", table, only=["prior"], train_only=True)
    with stopping_after(3):
        run(folder, table, only=["stage0"], train_only=True)
    stage0, prior = progress()
    assert (stage0.factor, stage0.steps, stage0.total, stage0.trained) == ("stage0", 3, 4, False)
    assert stage0.seconds_left > 0
    assert (prior.steps, prior.total, prior.trained, prior.seconds_left) == (4, 4, True, None)
    assert prior.bits_per_dim > 0
    # A longer training of a trained factor is progress from its last step on.
    with stopping_after(1):
        run(folder, {**table, "training": {**table["training"], "steps": 9}}, only=["prior"], train_only=True)
    prior = progress()[1]
    assert (prior.steps, prior.total, prior.trained) == (5, 9, False)
    shutil.rmtree(folder / "factors" / "prior")
    prior = progress()[1]
    assert (prior.steps, prior.total, prior.trained, prior.bits_per_dim) == (0, 9, False, None)
