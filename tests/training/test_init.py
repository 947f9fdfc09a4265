"""Tests that a run can start with the trained weights of another run."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers.evaluations import with_metadata
from helpers.tiny_runs import run, same, tiny, weights, with_dropout, write, write_pictures

from auxar.errors import UserError
from auxar.evaluation.stored import read_evaluation
from auxar.files import read_checksum, read_metadata
from auxar.recipe import load_recipe, read_recipe
from auxar.recipe.building import build_model
from auxar.report.text import evaluation_lines
from auxar.runs.history import Origin
from auxar.runs.layout import RunFolder
from auxar.training.initialization import check_init

CODE = "raise AssertionError('the plugin file of the other run was executed')\n"


def test_a_run_starts_with_the_weights_of_another(copied, tmp_path, monkeypatch):
    """Data, image size, dropout and support may differ. The other run is not needed any more when training goes on."""
    source = copied.rename(tmp_path / "source")
    (source / "plugins").mkdir(exist_ok=True)
    (source / "plugins" / "code.py").write_text(CODE)
    text = (source / "recipe.toml").read_text()
    (source / "recipe.toml").write_text(f'plugins = ["plugins/code.py"]\n{text}')
    # Components of plugins have other options in other versions.
    file = source / "factors" / "prior" / "weights.safetensors"
    part = json.loads(read_metadata(file)["recipe"])
    del part[-1]["filters"]
    with_metadata(file, recipe=json.dumps(part))
    monkeypatch.chdir(tmp_path)
    other = {"image__height": 16, "image__width": 16, "stage__0__support": "restricted", "sampling__images": 0}
    table = with_dropout(tiny(write_pictures(tmp_path / "large", 12, 16), **other))
    table["training"] |= {"init": "source", "steps": 0}
    folder = run(tmp_path / "run", table)
    # No steps leave the initial weights.
    assert same(weights(folder), weights(source))
    assert not list(folder.glob("factors/*/metrics.jsonl"))
    assert read_recipe(folder / "recipe.toml").training.init == str(source)
    checksum = read_checksum(file)
    evaluation = read_evaluation(folder / "evaluation.safetensors")
    assert [factor.steps for factor in evaluation.factors] == [0, 0]
    assert evaluation.factors[1].history is not None
    assert evaluation.factors[1].history.init == Origin(str(source), checksum)
    said = f"trained from the weights of {source}, checksum {checksum[:12]}"
    assert f"prior     {said}" in evaluation_lines(evaluation)
    assert f"; {said}." not in (folder / "report.html").read_text("utf-8")  # There are no metrics of training yet.

    shutil.rmtree(source)
    table["training"]["steps"] = 2
    run(folder, table)
    history = read_evaluation(folder / "evaluation.safetensors").factors[1].history
    assert history is not None
    assert [(part.first_step, part.last_step) for part in history.parts] == [(1, 2)]
    assert history.init == Origin(str(source), checksum)
    assert (folder / "report.html").read_text("utf-8").count(f"; trained from the weights of {source}, ") == 2


def remove_weights(source: Path) -> None:
    (source / "factors" / "stage0" / "weights.safetensors").unlink()


def damage_weights(source: Path) -> None:
    (source / "factors" / "stage0" / "weights.safetensors").write_bytes(b"damaged")


@pytest.mark.parametrize(
    ("prepare", "changes", "message"),
    [
        (shutil.rmtree, {}, "training.init: {source} is not a run's folder: it does not exist"),
        (remove_weights, {}, "training.init: {file} is missing: factor stage0 of that run is not trained"),
        (damage_weights, {}, "training.init: {file} is damaged: "),
        (
            None,
            {"stage__0__repeat": 2},
            "training.init: the run {source} has no factor named 'stage1'; did you mean 'stage0'? (known: prior, "
            "stage0)",
        ),
        (
            # The weights of a mixture of logistics have the same shapes for any number of levels.
            None,
            {"image__levels": 16},
            "training.init: {file} does not fit factor stage0: it was trained with another image, view or network: "
            "image.levels: expected 16, found 256",
        ),
        (
            None,
            {"stage": None},
            "training.init: {prior} does not fit factor prior: it was trained with more views or conditions",
        ),
        (
            remove_weights,
            {"training__init": None, "training__factor": {"stage0": {"init": "{source}"}}},
            "training.factor.stage0.init: {file} is missing: ",
        ),
    ],
)
def test_other_runs_and_networks_are_refused_before_the_folder_is_made(
    pictures, copied, tmp_path, prepare: Callable[[Path], Any] | None, changes, message
):
    source = copied.rename(tmp_path / "source")
    files = {name: source / "factors" / name / "weights.safetensors" for name in ("stage0", "prior")}
    places = {"source": source, "file": files["stage0"], "prior": files["prior"]}
    if prepare is not None:
        prepare(source)
    table = tiny(pictures, **{"training__init": str(source), **changes})
    for settings in table["training"].get("factor", {}).values():
        settings["init"] = settings["init"].format(**places)
    with pytest.raises(UserError, match=f"^{re.escape(message.format(**places))}"):
        run(tmp_path / "run", table)
    assert not (tmp_path / "run").exists()


def test_processes_compare_the_checksums_of_initial_weights(pictures, finished, tmp_path):
    recipe = load_recipe(write(tmp_path / "recipe.toml", tiny(pictures, training__init=str(finished))))
    model = build_model(recipe, on="meta")
    checksum = read_checksum(finished / "factors" / "prior" / "weights.safetensors")
    facts = {"the checksum of prior's initial weights": checksum}
    assert check_init(RunFolder(tmp_path / "run"), recipe, model, ["prior"]) == facts
    # A factor that is already trained does not need them.
    assert check_init(RunFolder(finished), recipe, model, ["prior"]) == {}
