"""Tests of folders of generated files: when they are written again, interruptions, several processes, and errors."""

import os
from pathlib import Path

import datasets
import numpy as np
import pytest
from helpers.tiny_runs import snapshot
from PIL import Image

from auxar.caching import cached_folder
from auxar.errors import UserError


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    """The empty cache of `datasets`."""
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "cache"


def draw(folder: Path, value: int = 1) -> None:
    Image.fromarray(np.full((4, 4, 3), value, np.uint8)).save(folder / "0.png")


def test_files_are_generated_again_if_something_changes(cache, tmp_path):
    source = tmp_path / "seeds.txt"
    source.write_text("1")
    first = cached_folder("my set/1", (1, "a"), draw, sources=[source])
    assert first.parent == cache / "auxar" / "sets"
    assert first.name.startswith("my-set-1-")
    (tmp_path / "ordinary").mkdir()
    assert first.stat().st_mode == (tmp_path / "ordinary").stat().st_mode
    before = snapshot(first)
    assert cached_folder("my set/1", (1, "a"), draw, sources=[source]) == first
    assert snapshot(first) == before
    others = [
        cached_folder("my set", (1, "a"), draw, sources=[source]),
        cached_folder("my set/1", (1, "b"), draw, sources=[source]),
        cached_folder("my set/1", (1, "a"), draw),
    ]
    os.utime(source, (1, 1))
    others.append(cached_folder("my set/1", (1, "a"), draw, sources=[source]))
    assert len({first, *others}) == 5


def test_an_interrupted_folder_is_not_used(cache):
    def interrupted(target: Path) -> None:
        draw(target)
        raise KeyboardInterrupt

    sets = cache / "auxar" / "sets"
    with pytest.raises(KeyboardInterrupt):
        cached_folder("set", 1, interrupted)
    assert [path.name for path in sets.iterdir() if path.is_dir()] == []
    first = cached_folder("set", 1, draw)
    # A killed process leaves its temporary folder.
    left = first.with_name(f".{first.name}.abcdefgh.part")
    first.rename(left)
    assert cached_folder("set", 1, draw) == first
    assert not left.exists()


def test_folders_that_cannot_be_written_are_reported(cache):
    with pytest.raises(UserError, match=r"^/.*/missing\.npz cannot be read: No such file or directory$"):
        cached_folder("set", 1, draw, sources=[cache / "missing.npz"])
    cache.write_text("in the way")
    with pytest.raises(UserError, match=r"cannot be written: Not a directory; free disk space, or set the environment"):
        cached_folder("set", 1, draw)
