"""Tests that a run's folder is only changed in valid ways, and that errors name the damaged or unsuitable file."""

import os
import shutil
import stat
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers.evaluations import figures_of
from helpers.tiny_runs import VIEW, run, said, same, snapshot, tiny, weights, write
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError

import auxar
from auxar.commands.evaluate import evaluate
from auxar.commands.run import run as run_recipe
from auxar.errors import UserError
from auxar.files import read_json, replacing, write_tensors, write_text
from auxar.recipe import load_recipe
from auxar.runs.opening import begin_run

# Folders for runs


def another_recipe(folder: Path, named: str) -> str:
    return f"{folder} holds a run of another recipe (different keys: {named}); choose another folder with --out"


# New values of keys that must stay the same once a factor has weights, and the keys that are named if they are others.
FIXED: dict[str, tuple[Any, str]] = {
    "data.path": ("other", ""),
    "data.split.seed": (1, ""),
    "data.values": ("levels", "data.values, image.levels"),
    "stage": (None, ""),
    "stage[0].view": ("grayscale", "stage[0].view.factor, stage[0].view.levels, stage[0].view.name"),
    "prior.filters": (5, ""),
    "training.optimizer": (
        {"name": "adam", "betas": [0.5, 0.5]},
        "training.optimizer.betas[0], training.optimizer.betas[1]",
    ),
    "training.seed": (1, ""),
    "training.keep_best": (True, "data.split.validation, training.evaluate_every, training.keep_best"),
    "training.factor": ({"stage0": {"augment": ["flip"]}}, "training.factor.stage0.augment"),
    "condition": ({"kind": "label", "suffix": ".txt", "classes": 3}, ""),
    "plugins": (["thin.py"], ""),
}
# All keys without effect on the steps that are done, which may change, and new values.
FREE = {
    "data.workers": 1,
    **{f"training.{key}": 7 for key in ("steps", "warmup", "checkpoint_every", "keep_checkpoints", "log_every")},
    "training.epochs": 2.5,
    "training.schedule": "cosine",
    "training.optimizer.learning_rate": 0.5,
    "training.trackers": [{"name": "tensorboard"}],
    "training.nonfinite": "skip",
    "training.compile": True,
    "training.recompute": True,
    "training.sample_every": 7,
    "sampling.rule": "map",
    "evaluation.batch_size": 7,
    "arithmetic": "integer",
}


def test_a_run_with_weights_continues_only_if_fixed_keys_are_the_same(pictures, tmp_path):
    def begin(**changes: Any) -> None:
        recipe = load_recipe(write(tmp_path / "recipe.toml", tiny(pictures, **changes)), trust_plugins=True)
        begin_run(tmp_path / "run", recipe)

    def change(key: str, value: Any) -> dict[str, Any]:
        others: dict[str, dict[str, Any]] = {
            "training.epochs": {"training__steps": None},
            "data.values": {"image__levels": 16},
            "training.keep_best": {"data__split__validation": 0.5, "training__evaluate_every": 2},
        }
        return {key.replace("[0]", "__0").replace(".", "__"): value, **others.get(key, {})}

    (tmp_path / "thin.py").write_text(VIEW)
    begin()
    (tmp_path / "run" / "factors" / "prior").mkdir(parents=True)
    (tmp_path / "run" / "factors" / "prior" / "training-000000001.safetensors").touch()
    before = snapshot(tmp_path / "run")
    for key, (value, named) in FIXED.items():
        assert said(begin, **change(key, value)) == another_recipe(tmp_path / "run", named or key)
    assert snapshot(tmp_path / "run") == before
    for key, value in FREE.items():
        begin(**change(key, value))
        node: Any = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
        for part in key.split("."):
            node = node[part]
        assert node == value or node["name"] == value


def test_another_run_to_begin_from_is_named_with_its_old_and_new_path(pictures, tmp_path):
    def begin(folder: str) -> None:
        recipe = write(tmp_path / folder / "recipe.toml", tiny(pictures, training__init="first"))
        begin_run(tmp_path / "run", load_recipe(recipe))

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    begin("a")
    (tmp_path / "run" / "factors" / "prior").mkdir(parents=True)
    (tmp_path / "run" / "factors" / "prior" / "training-000000001.safetensors").touch()
    named = f"training.init; training.init was {tmp_path}/a/first and is {tmp_path}/b/first"
    assert said(begin, "b") == another_recipe(tmp_path / "run", named)


def test_a_folder_that_is_no_run_is_left_alone_and_refused_before_images_are_read(pictures, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.txt").write_text("mine")
    before = snapshot(folder)
    for place in (folder, folder / "holiday.txt"):
        message = f"{place} exists and is not a run's folder; choose another folder with --out"
        assert said(run_recipe, write(tmp_path / "a.toml", tiny(pictures, data__path="/nowhere")), out=place) == message
    assert snapshot(folder) == before


def test_what_has_no_part_in_the_weights_may_change(pictures, copied):
    before = weights(copied), (copied / "factors" / "prior" / "weights.safetensors").stat().st_mtime_ns
    table = tiny(
        pictures,
        sampling__images=5,
        sampling__rule="map",
        sampling__seed=3,
        evaluation={"train_images": 4, "batch_size": 2},
        training__checkpoint_every=2,
        training__log_every=3,
    )
    run(copied, table)
    facts = read_json(copied / "samples" / "samples.json")
    assert (facts["count"], facts["rule"]["name"], facts["seed"]) == (5, "map", 3)
    assert figures_of(copied)["images"] == {"heldout": 6, "training": 4}
    assert same(weights(copied), before[0])
    assert (copied / "factors" / "prior" / "weights.safetensors").stat().st_mtime_ns == before[1]


def test_a_runs_recipe_gives_the_same_run(finished, tmp_path):
    run_recipe(finished / "recipe.toml", out=tmp_path / "again")
    assert same(weights(tmp_path / "again"), weights(finished))
    assert (tmp_path / "again" / "recipe.toml").read_bytes() == (finished / "recipe.toml").read_bytes()


# Files


@settings(deadline=None, max_examples=20)
@given(old=st.none() | st.binary(max_size=20), new=st.binary(max_size=20), fails=st.booleans())
def test_a_file_is_the_old_one_or_the_new_one(tmp_path_factory, old, new, fails):
    path = tmp_path_factory.mktemp("files") / "sub" / "file"
    if old is not None:
        path.parent.mkdir()
        path.write_bytes(old)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(new)
            assert (path.read_bytes() if path.exists() else None) == old
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert (path.read_bytes() if path.exists() else None) == old
    else:
        assert path.read_bytes() == new
    assert [file.name for file in path.parent.iterdir()] == (["file"] if path.exists() else [])


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").touch()
    write_text(tmp_path / "file", "text")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_users_problem(tmp_path, monkeypatch):
    with pytest.raises(UserError, match="cannot be written: No space left"), replacing(tmp_path / "file"):
        Path("/dev/full").write_text("x" * 10000)

    def full(*_: Any) -> None:
        raise SafetensorError("No space left on device")

    monkeypatch.setattr("auxar.files.save_file", full)
    with pytest.raises(UserError, match=r"file cannot be written: .*No space left"):
        write_tensors(tmp_path / "file", {"a": torch.zeros(1)}, {})
    assert not list(tmp_path.iterdir())


# Plugin files


def test_a_run_keeps_the_plugin_files_it_needs(pictures, tmp_path):
    recipe = tmp_path / "beside" / "recipe.toml"
    recipe.parent.mkdir()
    plugin = recipe.with_name("thin.py")
    # The copy in the run keeps the line ends of the plugin file.
    plugin.write_bytes(VIEW.replace("\n", "\r\n").encode())
    table = tiny(pictures, plugins=["thin.py"], stage__0__view={"name": "thin", "every": 2}, sampling__images=1)
    folder = run(recipe.parent / "run", table)
    assert (folder / "plugins" / "thin.py").read_bytes() == plugin.read_bytes()
    before = snapshot(folder)
    run(folder, table)
    assert snapshot(folder) == before
    plugin.write_text(VIEW + "\nMORE = 1\n")
    with pytest.raises(UserError, match=r"was made with another version of the plugin file .*thin.py; restore"):
        run(folder, table)
    assert snapshot(folder) == before
    moved = tmp_path / "moved"
    folder.rename(moved)
    shutil.rmtree(recipe.parent)
    assert "this recipe names plugin files, which are code" in said(auxar.load, moved)
    assert auxar.load(moved, trust_plugins=True).sample(2).shape == (2, 3, 8, 8)
    assert evaluate(moved, trust_plugins=True).path == moved
    (moved / "plugins" / "thin.py").unlink()
    with pytest.raises(UserError, match=r"thin\.py does not exist"):
        auxar.load(moved, trust_plugins=True)


def test_evaluation_of_a_part_is_a_part_and_is_made_again(copied, pictures):
    (copied / "factors" / "stage0" / "weights.safetensors").unlink()
    table = figures_of(evaluate(copied).path)
    assert table["bits_per_dim"] == {"heldout": None, "training": None}
    assert [entry["heldout"] is None for entry in table["factors"]] == [True, False]
    assert figures_of(copied) == table
    run(copied, tiny(pictures))
    assert None not in figures_of(copied)["bits_per_dim"].values()
    (copied / "factors" / "stage0" / "weights.safetensors").unlink()
    (copied / "factors" / "prior" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="no factor is trained yet; train the run with `auxar run RECIPE`"):
        evaluate(copied)


def test_a_finished_run_says_so_and_removes_only_what_killed_processes_left(pictures, finished, caplog):
    before = snapshot(finished)
    for folder in (".", "samples", "samples/images", "factors/prior"):
        (finished / folder / ".a.abcdefgh.part").touch()
        os.utime(finished / folder / ".a.abcdefgh.part", (0, 0))
    with caplog.at_level("INFO", logger="auxar"):
        run(finished, tiny(pictures))
    assert f"this run is finished: {finished / 'report.html'}" in caplog.messages
    assert snapshot(finished) == before
    picture, weights = finished / "samples/images/000000.png", finished / "factors/prior/weights.safetensors"
    content = picture.read_bytes()
    for rest in (b"", content[:-9]):
        picture.unlink()
        if rest:
            picture.write_bytes(rest)
        run(finished, tiny(pictures))
        assert picture.read_bytes() == content
    report = (finished / "report.html").read_text()
    (finished / "report.html").write_text("mine")
    with pytest.raises(UserError, match=r"report\.html cannot be written: it is not a report page of auxar; delete it"):
        run(finished, tiny(pictures))
    (finished / "report.html").write_text(report)
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"prior/weights\.safetensors is damaged: .*; delete this file, and"):
        run(finished, tiny(pictures))
