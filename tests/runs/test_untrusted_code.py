"""Tests that a run's folder from somebody else runs no code: neither pickles nor plugin files."""

import importlib.util
import io
import logging
import marshal
import os
import pickle
import shutil
import struct
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from helpers.tiny_runs import VIEW, run, said, tiny

import auxar
from auxar.cli import main
from auxar.recipe import load_recipe
from auxar.recipe.cost import factor_costs

VITAL = ("run.json", "recipe.toml", "weights.safetensors")
EXTRA = ("optimizer.pt", "random.pkl", "weights.npz", "conftest.py", "auxar.py")


class Planted:
    """An object that creates a folder when its pickle is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.marker),)


def test_planted_pickles_are_not_loaded(copied, tmp_path):
    """Pickles are loaded neither from files of a run nor from files with names that other tools use."""
    marker = tmp_path / "marker"
    buffer = io.BytesIO()
    torch.save({"state": Planted(marker)}, buffer)
    for content in (buffer.getvalue(), pickle.dumps(Planted(marker))):
        for file in [*copied.rglob("[!.]*.*"), *(copied / "factors" / "prior" / name for name in EXTRA)]:
            if file.name not in VITAL and not file.is_dir():
                file.write_bytes(content)
        assert auxar.load(copied).sample(1).shape == (1, 3, 8, 8)
        for call in (auxar.evaluate, auxar.figures, lambda path: auxar.run(path / "recipe.toml", out=path)):
            said(call, copied)
        weights = copied / "factors" / "prior" / "weights.safetensors"
        kept = weights.read_bytes()
        weights.write_bytes(content)
        assert said(auxar.load, copied).startswith(f"{weights} is damaged: ")
        weights.unlink()
        assert "is damaged" in said(auxar.run, copied / "recipe.toml", out=copied, train_only=True)
        weights.write_bytes(kept)
        assert not marker.exists()
    pickle.loads(content)
    assert marker.exists()


# Plugins that come with a run


MARKING = 'from pathlib import Path\n(Path(__file__).parents[1] / "marker").touch()\n'
CHANGES = {"training__steps": 1, "sampling__images": 0, "evaluation": {"train_images": 0}}


def with_view(pictures: Path) -> dict[str, Any]:
    return tiny(pictures, plugins=["thin.py"], stage__0__view={"name": "thin", "every": 2}, **CHANGES)


@pytest.fixture(scope="module")
def extended(pictures, tmp_path_factory) -> Path:
    """A run with a view from a plugin file."""
    folder = tmp_path_factory.mktemp("extended")
    (folder / "thin.py").write_text(VIEW)
    return run(folder / "run", with_view(pictures))


@pytest.fixture
def plugged(extended, tmp_path) -> Path:
    """A copy of `extended` with a plugin file that creates a marker in the run's folder when it is loaded."""
    folder = Path(shutil.copytree(extended, tmp_path / "run"))
    (folder / "plugins" / "thin.py").write_text(VIEW + MARKING)
    return folder


def opening(folder: Path, *, trust_plugins: bool = False) -> list[Callable[[], Any]]:
    """Returns all operations that load the plugins of a run."""
    recipe = folder / "recipe.toml"
    return [
        lambda: auxar.load(folder, trust_plugins=trust_plugins).chain,
        lambda: auxar.evaluate(folder, trust_plugins=trust_plugins),
        lambda: auxar.sample(folder, images=1, replace=True, trust_plugins=trust_plugins),
        lambda: auxar.run(recipe, out=folder.parent / "again", trust_plugins=trust_plugins),
        lambda: factor_costs(load_recipe(recipe, trust_plugins=trust_plugins)),
    ]


def test_code_that_comes_with_a_run_is_loaded_only_if_it_is_trusted_and_is_named_before(plugged, caplog, refused):
    file = plugged / "plugins" / "thin.py"
    for call in opening(plugged):
        assert f"this recipe names plugin files, which are code: {file}; read them, and if you trust them, " in said(
            call
        )
    assert "add --trust-plugins" in refused("check", plugged / "recipe.toml")
    assert not (plugged / "marker").exists()
    assert main(["check", str(plugged / "recipe.toml"), "--trust-plugins"]) == 0
    for call in opening(plugged, trust_plugins=True):
        (plugged / "marker").unlink()
        assert said(call) == ""
        assert (plugged / "marker").exists()
    file.write_text(VIEW + "1 / 0")
    with caplog.at_level(logging.INFO, "auxar"):
        assert "ZeroDivisionError" in said(lambda: auxar.load(plugged, trust_plugins=True).chain)
    assert f"loading the plugin files {file}" in caplog.text


@pytest.mark.parametrize("trust", [False, True])
def test_code_elsewhere_is_not_loaded_even_if_trusted(plugged, trust):
    marker = plugged / "evil"
    for place in (plugged, plugged.parent, plugged / "samples", plugged / "plugins" / "deep"):
        place.mkdir(exist_ok=True)
        (place / "evil.py").write_text(f"open({str(marker)!r}, 'w')")
    table = tomllib.loads((plugged / "recipe.toml").read_text())
    for name in (
        *("evil.py", "../evil.py", "plugins/../../evil.py", "plugins/../evil.py", "samples/evil.py", "./evil.py"),
        *(str(plugged.parent / "evil.py"), "plugins/deep/evil.py", "x/../plugins/evil.py"),
    ):
        (plugged / "recipe.toml").write_text(tomli_w.dumps({**table, "plugins": [name]}))
        for call in opening(plugged, trust_plugins=trust)[:2]:
            assert "is not in this run's folder plugins/" in said(call), name
    assert not marker.exists()


def test_compiled_files_are_not_used(plugged, tmp_path):
    """Python itself would use this `.pyc` file, which claims to be compiled from the plugin file."""
    file = plugged / "plugins" / "thin.py"
    code = compile(f"open({str(tmp_path / 'compiled')!r}, 'w')", str(file), "exec")
    found = file.stat()
    header = b"".join(struct.pack("<I", part) for part in (0, int(found.st_mtime), found.st_size))
    cache = Path(importlib.util.cache_from_source(file))
    cache.parent.mkdir()
    cache.write_bytes(importlib.util.MAGIC_NUMBER + header + marshal.dumps(code))
    auxar.load(plugged, trust_plugins=True)
    assert (plugged / "marker").exists()
    assert not (tmp_path / "compiled").exists()
