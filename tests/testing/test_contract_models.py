"""Tests that every contract check of trained models fails for a folder that breaks its law."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import attrs
import pytest
from helpers.evaluations import with_facts
from helpers.tiny_runs import run, tiny

import auxar
from auxar.files import read_tensors, write_tensors
from auxar.model import Chain
from auxar.plugins import load_plugins
from auxar.runs.history import HISTORY, History, Origin
from auxar.testing import ContractError, check_model


@attrs.frozen
class Dots:
    """Slopes."""


@attrs.frozen
class Needy:
    """Slopes of one size."""

    size: int


@pytest.fixture(scope="module")
def exported(pictures, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    return auxar.export(run(folder / "run", tiny(pictures, sampling__images=0)), folder / "dots").path


@pytest.fixture
def own(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "dots"))


def without_weights(folder: Path) -> None:
    (folder / "factors" / "stage0" / "weights.safetensors").unlink()


def with_full_path(folder: Path) -> None:
    text = (folder / "recipe.toml").read_text("utf-8")
    (folder / "recipe.toml").write_text(text.replace("./pictures", "/home/me/pictures"), "utf-8")


def with_history(folder: Path) -> None:
    file = folder / "factors" / "prior" / "weights.safetensors"
    tensors, metadata = read_tensors(file)
    write_tensors(file, tensors, {**metadata, HISTORY: History(init=Origin("/home/me/run", "f00d")).text()})


def with_data(folder: Path) -> None:
    with_facts(folder, data__path="~/pictures")


def test_an_exported_run_keeps_the_contract(exported):
    check_model(lambda config: exported, Dots(), most_bytes=200_000)


@pytest.mark.parametrize(
    ("law", "harm"),
    [
        ("path", lambda folder: (folder / "recipe.toml").unlink()),
        ("path", lambda folder: (folder / "run.json").write_text("{}")),
        ("complete", without_weights),
        ("complete", lambda folder: (folder / "recipe.toml").write_text("x = 1")),
        ("portable", with_full_path),
        ("portable", with_history),
        ("portable", with_data),
        ("small", lambda folder: (folder / ".lock").touch()),
        ("small", lambda folder: (folder / "factors" / "prior" / "training-000000004.safetensors").touch()),
        ("complete", lambda folder: (folder / "evaluation.safetensors").write_bytes(bytes(200_000))),
        ("small", lambda folder: (folder / "factors" / "prior" / "metrics.jsonl").write_bytes(bytes(200_000))),
    ],
)
def test_a_folder_that_breaks_a_law(own, law, harm: Callable[[Path], object]):
    harm(own)
    with pytest.raises(ContractError, match=f"^{law}: "):
        check_model(lambda config: own, Dots(), most_bytes=200_000)


def test_a_build_that_breaks_a_law(own, monkeypatch):
    with pytest.raises(ContractError, match=r"^config: every option needs a default: .*size"):
        check_model(lambda config: own, Needy(4))
    with pytest.raises(ContractError, match=r"^path: "):
        check_model(lambda config: Path("dots"), Dots())
    original = Chain.draw_views

    def draw_views(self, *arguments):
        (own / "mine").touch()
        return original(self, *arguments)

    monkeypatch.setattr(Chain, "draw_views", draw_views)
    with pytest.raises(ContractError, match=r"^draws: a file in the folder was written"):
        check_model(lambda config: own, Dots())


@pytest.mark.parametrize("name", load_plugins().names("model"))
def test_models_that_come_with_auxar_keep_the_contract(name):
    component = load_plugins().components["model", name]
    check_model(component.build, component.config(), most_bytes=6_500_000)
