"""Tests that every contract check of trained models fails for a folder that breaks its law."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers.contract import breaks, first, mutant
from helpers.evaluations import with_facts, with_metadata
from helpers.installed import Needy, Nothing
from helpers.tiny_runs import run, tiny

import auxar
from auxar.model import Chain
from auxar.runs.history import HISTORY, History, Origin
from auxar.testing import check_model


@pytest.fixture(scope="module")
def exported(pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return auxar.export(run(folder / "run", tiny(pictures, sampling__images=0)), folder / "dots").path


@pytest.fixture
def own(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "dots"))


def with_full_path(folder: Path) -> None:
    text = (folder / "recipe.toml").read_text("utf-8")
    (folder / "recipe.toml").write_text(text.replace("./pictures", "/home/me/pictures"), "utf-8")


def with_history(folder: Path) -> None:
    history = History(init=Origin("/home/me/run", "f00d")).text()
    with_metadata(folder / "factors" / "prior" / "weights.safetensors", **{HISTORY: history})


def test_an_exported_run_keeps_the_contract(exported):
    check_model(lambda config: exported, Nothing(), most_bytes=200_000)


@pytest.mark.parametrize(
    ("law", "harm"),
    [
        ("path", lambda folder: (folder / "recipe.toml").unlink()),
        ("path", lambda folder: (folder / "run.json").write_text("{}")),
        ("complete", lambda folder: (folder / "factors" / "stage0" / "weights.safetensors").unlink()),
        ("complete", lambda folder: (folder / "recipe.toml").write_text("x = 1")),
        ("portable", with_full_path),
        ("portable", with_history),
        ("portable", lambda folder: with_facts(folder, data__path="~/pictures")),
        ("small", lambda folder: (folder / ".lock").touch()),
        ("small", lambda folder: (folder / "factors" / "prior" / "training-000000004.safetensors").touch()),
        ("complete", lambda folder: (folder / "evaluation.safetensors").write_bytes(bytes(200_000))),
        ("small", lambda folder: (folder / "factors" / "prior" / "metrics.jsonl").write_bytes(bytes(200_000))),
    ],
)
def test_a_folder_that_breaks_a_law(own, law, harm: Callable[[Path], object]):
    harm(own)
    breaks(law, check_model, lambda config: own, Nothing(), most_bytes=200_000)


def test_a_build_that_breaks_a_law(own, monkeypatch):
    assert "size" in breaks("config", check_model, lambda config: own, Needy(4))
    breaks("path", check_model, lambda config: Path("dots"), Nothing())
    writing = mutant(Chain, draw=first(lambda: (own / "mine").touch()))
    monkeypatch.setattr(Chain, "draw", writing.draw)
    assert "a file in the folder was written" in breaks("draws", check_model, lambda config: own, Nothing())
