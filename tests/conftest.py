"""Fixtures and settings that all tests share."""

from __future__ import annotations

import functools
import gc
import importlib.metadata
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

# Parallel test processes use one thread each, since the threads of several processes on the same cores slow each other
# down many times. PyTorch reads the variable only once, so it must be set before the import.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import datasets
import pytest
from helpers.tiny_runs import run, tiny, write_pictures

# A shell makes background processes and all their children ignore SIGINT, which some tests send. Restore the handler.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives all tests of a file to the same process of `pytest -n`, so that fixtures of a file are made only once."""
    if config.getoption("dist") != "load":  # another choice of the user
        return None
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


def pytest_collection_finish() -> None:
    """Excludes from garbage collection all objects that imports created. They live until the end, and scanning them
    would take a quarter of a second in each collection, including the collections in runs."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A separate cache folder of the `datasets` library for this process and its children."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("HF_DATASETS_CACHE", str(folder))
        patch.setattr(datasets.config, "HF_DATASETS_CACHE", folder)
        yield


@pytest.fixture(autouse=True, scope="session")
def entry_points_read_once() -> Iterator[None]:
    """Keeps the entry points of installed packages, since each of thousands of registries would read them again."""
    read = importlib.metadata.entry_points

    @functools.cache
    def kept(path: tuple[str, ...], **chosen: str) -> Any:
        return read(**chosen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "entry_points", lambda **chosen: kept(tuple(sys.path), **chosen))
        yield


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 24 PNG files, 8×8, smooth enough to have something to learn from."""
    return write_pictures(tmp_path_factory.mktemp("images") / "pictures")


@pytest.fixture(scope="session")
def tiny_run(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny recipe, of which each file of tests has a copy."""
    return run(tmp_path_factory.mktemp("tiny") / "run", tiny(pictures))


@pytest.fixture(scope="module")
def finished(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny recipe, and its recipe beside it. The tests of a file share it."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy2(tiny_run.with_suffix(".toml"), folder)
    return Path(shutil.copytree(tiny_run, folder / "run"))
