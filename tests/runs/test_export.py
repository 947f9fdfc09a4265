"""Tests of `auxar export`: small, complete folders of finished runs, also with weights in half precision."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from helpers.evaluations import figures_of, with_facts
from helpers.tiny_runs import VIEW, changed, distance, run, said, same, snapshot, tiny, weights
from safetensors.torch import load_file

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.exporting import portable
from auxar.files import read_json, read_metadata, read_tensors, write_tensors
from auxar.runs.format import FORMAT

VIEW_OPTIONS = {"stage__0__view": {"name": "thin", "every": 2}, "plugins": ["views.py"]}


@pytest.fixture(scope="module")
def finished(pictures, tmp_path_factory) -> Path:
    """A run with a view in a plugin file and a header, whose prior began with the weights of another run."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "views.py").write_text(VIEW)
    table = changed(tiny(pictures, sampling__images=0, training__steps=1), **VIEW_OPTIONS)
    first = run(folder / "first", table, only=["prior"])
    table = changed(tiny(pictures, sampling__images=1), **VIEW_OPTIONS)
    finished = run(folder / "run", changed(table, training__factor={"prior": {"init": str(first)}}))
    text = (finished / "recipe.toml").read_text("utf-8")
    (finished / "recipe.toml").write_text(f"# A header.\n\n{text}", "utf-8")
    return finished


@pytest.fixture
def work(tmp_path, monkeypatch) -> Path:
    """The working directory, an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_an_exported_run_is_complete_and_has_no_path_of_the_machine(finished, pictures, work, capsys):
    before = snapshot(finished)
    assert main(["export", str(finished), "small", "--trust-plugins", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert snapshot(finished) == before
    small = Path("small")
    assert {entry["file"]: entry["bytes"] for entry in record["files"]} == {
        path.relative_to(small).as_posix(): path.stat().st_size for path in small.rglob("*") if path.is_file()
    }
    assert sorted(entry["file"] for entry in record["files"]) == [
        "evaluation.safetensors",
        *(
            f"factors/{name}/{file}"
            for name in ("prior", "stage0")
            for file in ("metrics.jsonl", "weights.safetensors")
        ),
        "plugins/views.py",
        "recipe.toml",
        "run.json",
    ]
    assert read_json(small / "run.json")["format"] == FORMAT
    for path in small.rglob("*.*"):
        assert str(finished.parents[1]).encode() not in path.read_bytes(), path
    assert (small / "recipe.toml").read_text("utf-8").startswith('# A header.\n\nplugins = [\n    "plugins/views.py"')
    recipe = auxar.load_recipe(small / "recipe.toml", ["data.path=x"], trust_plugins=True)
    assert "./pictures" in (small / "recipe.toml").read_text("utf-8")
    assert figures_of(small)["data"]["path"] == "./pictures"
    assert json.loads(read_metadata(small / "factors/prior/weights.safetensors")["history"])["init"]["run"] == "./first"
    assert recipe.stage[0].view.options["every"] == 2

    # It is a run like any other.
    assert same(weights(small), weights(finished))
    first, second = auxar.compare([finished, small]).runs
    assert second.margin is not None
    assert (second.margin.bits_per_dim, second.images) == (0, first.images)
    settings = [f"data.path={pictures}"]
    assert auxar.evaluate(small, settings=settings, trust_plugins=True).report.is_file()
    assert auxar.sample(small, images=1, trust_plugins=True).is_dir()


def test_weights_in_half_precision(finished, pictures, work):
    trained = auxar.load(finished, trust_plugins=True)
    half = auxar.export(finished, "half", half=True, evaluate=True, trust_plugins=True).path
    full = auxar.export(finished, "full", trust_plugins=True).path
    for name in ("prior", "stage0"):
        stored = load_file(half / "factors" / name / "weights.safetensors")
        assert {tensor.dtype for tensor in stored.values()} == {torch.float16}
        assert sum(tensor.nbytes for tensor in stored.values()) * 2 == sum(
            tensor.nbytes for tensor in load_file(full / "factors" / name / "weights.safetensors").values()
        )
    model = auxar.load(half, trust_plugins=True)
    rounded = {name: tensor.half().float() for name, tensor in trained.chain.state_dict().items()}
    assert same(model.chain.state_dict(), rounded)
    assert 0 < distance(rounded, trained.chain.state_dict()) < 2e-3
    _, second = auxar.compare(["full", "half"]).runs
    assert second.margin is not None
    assert 0 < abs(second.margin.bits_per_dim) < 0.01

    # Without `evaluate`, the evaluation of other weights is left out. Evaluating and training from it work.
    bare = auxar.export("half", "bare", half=True, trust_plugins=True).path
    assert not (bare / "evaluation.safetensors").exists()
    assert same(weights(bare), weights(half))
    auxar.evaluate("bare", settings=[f"data.path={pictures}"], trust_plugins=True)
    assert figures_of(bare)["bits_per_dim"] == figures_of(half)["bits_per_dim"]
    with_facts(bare, data__path="letters")
    assert not auxar.export("bare", "again", trust_plugins=True).evaluation.exists()
    (work / "views.py").write_text(VIEW)
    table = changed(tiny(pictures, sampling__images=0, training__init="half", training__steps=0), **VIEW_OPTIONS)
    started = run(work / "started", table)
    assert same(weights(started), {name: tensor.float() for name, tensor in weights(half).items()})


def test_every_path_in_plain_values_becomes_relative():
    table = {
        "data": {"path": "/home/me/pictures/", "options": {"file": "/home/me/digits.npz", "digit": 4}},
        "training": {"init": "~/runs/first", "factor": {"prior": {"init": "/home/me/run"}}},
        "plugins": ["plugins/views.py"],
        "columns": ("a/b", None),
    }
    assert portable(table) == {
        "data": {"path": "./pictures", "options": {"file": "./digits.npz", "digit": 4}},
        "training": {"init": "./first", "factor": {"prior": {"init": "./run"}}},
        "plugins": ["plugins/views.py"],
        "columns": ["a/b", None],
    }


def test_a_weight_beyond_half_precision_is_refused(finished, work):
    own = Path(shutil.copytree(finished, "own"))
    file = own / "factors" / "prior" / "weights.safetensors"
    tensors, metadata = read_tensors(file)
    name = sorted(tensors)[0]
    tensors[name].view(-1)[0] = -70_000.0
    write_tensors(file, tensors, metadata)
    expected = f"{file} cannot be stored in half precision: {name} has the value ±70000, beyond the range"
    assert said(auxar.export, own, "half", half=True, trust_plugins=True).startswith(expected)
    assert not list(work.glob("*half*"))
    assert auxar.export(own, "full", trust_plugins=True).path.is_dir()
    # The evaluation is of other weights.
    assert not Path("full/evaluation.safetensors").exists()


def test_runs_that_cannot_be_exported(finished, work, monkeypatch):
    monkeypatch.setattr("auxar.runs.weights.trained_model", pytest.fail)
    own = Path(shutil.copytree(finished, "own"))
    Path("there/empty").mkdir(parents=True)
    Path("there/link").symlink_to("empty")
    Path("there/mine").touch()
    for new in ("there", "there/link", "there/mine/new"):
        with pytest.raises(UserError, match=f"^{new} (exists and is not replaced|cannot be written: Not a directory)"):
            auxar.export(own, new, trust_plugins=True)
    with pytest.raises(UserError, match=r"plugins: this recipe names plugin files"):
        auxar.export(own, "new")
    for inside in (own, own / "samples" / "new", work / "there" / ".." / "own" / "new"):
        with pytest.raises(UserError, match=r"^.*own.* is in the folder of the exported run, own; choose"):
            auxar.export(own, inside, trust_plugins=True)
    (own / "factors" / "prior" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"^own is not finished: these factors are not trained: prior; train them"):
        auxar.export(own, "new", trust_plugins=True)
    assert sorted(path.name for path in work.iterdir()) == ["own", "there"]
