"""Fixtures and settings that all tests share."""

import functools
import gc
import importlib.metadata
import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

# Parallel test processes use one thread each, since the threads of several processes on the same cores slow each other
# down many times. PyTorch reads the variable only once, so it must be set before the import.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("OMP_NUM_THREADS", "1")

import datasets
import pytest
from filelock import FileLock
from helpers.causal_networks import reason_to_skip
from helpers.instruction_sets import SETS, built_for
from helpers.tiny_runs import run, tiny, write_pictures

from auxar.cli import main

# A shell makes background processes and all their children ignore SIGINT, which some tests send. Restore the handler.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Gives all tests of a file to the same process of `pytest -n`, so that fixtures of a file are made only once."""
    if config.getoption("dist") != "load":  # another choice of the user
        return None
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log)


class Imported:
    """The number of modules whose objects are excluded from garbage collection."""

    count = 0


def pytest_collection_finish() -> None:
    """Excludes from garbage collection all objects that imports created, and makes collections rare."""
    gc.set_threshold(50_000, 20, 20)
    freeze()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown() -> None:
    """Excludes objects of modules that the test imported, such as those that the first training needs."""
    if len(sys.modules) > Imported.count + 100:
        freeze()


def freeze() -> None:
    """Excludes all present objects from garbage collection.

    Objects of modules live until the end, and scanning them takes a quarter of a second in each collection. A training
    has a collection for each factor, which takes as long as all its steps.
    """
    gc.collect()
    gc.freeze()
    Imported.count = len(sys.modules)


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
    read: Any = importlib.metadata.entry_points

    @functools.cache
    def kept(path: tuple[str, ...], **chosen: str) -> Any:
        return read(**chosen)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(importlib.metadata, "entry_points", lambda **chosen: kept(tuple(sys.path), **chosen))
        yield


@pytest.fixture(autouse=True, scope="session")
def nothing_is_flushed() -> Iterator[None]:
    """Writes no file through to the disk, which takes a third of the time of a tiny run. It matters only if the machine
    loses its power, and no test takes it away; killed processes lose nothing that they have written. Nor is garbage
    collected after each training, which takes as long as its steps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", os.fstat)
        patch.setattr("accelerate.utils.memory.clear_device_cache", lambda **_: None)
        yield


@pytest.fixture(scope="session")
def made_once(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Callable[[Path], Any]], Path]:
    """A function that returns a folder by its name. The first of the parallel test processes that asks for it calls
    `make` with the folder's path, and the others wait. Tests must not change the folder."""
    own = tmp_path_factory.getbasetemp()
    root = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"

    def made(name: str, make: Callable[[Path], Any]) -> Path:
        folder, done = root / name, root / f"{name}.done"
        folder.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f"{name}.lock"):
            if not done.exists():
                make(folder)
                done.touch()
        return folder

    return made


@pytest.fixture(scope="module", params=SETS)
def instruction_set(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of an instruction set, for which the native library is built while a test runs."""
    if reason := reason_to_skip():
        pytest.skip(reason)
    with built_for(request.param):
        yield request.param


@pytest.fixture(scope="session")
def pictures(made_once: Callable[..., Path]) -> Path:
    """A folder of 24 PNG files, 8×8, smooth enough to have something to learn from."""
    return made_once("images/pictures", write_pictures)


@pytest.fixture(scope="session")
def tiny_run(made_once: Callable[..., Path], pictures: Path) -> Path:
    """A finished run of the tiny recipe, of which each file of tests has a copy."""
    return made_once("tiny/run", lambda folder: run(folder, tiny(pictures)))


@pytest.fixture(scope="module")
def finished(tiny_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of the tiny recipe, and its recipe beside it. The tests of a file share it."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copy2(tiny_run.with_suffix(".toml"), folder)
    return Path(shutil.copytree(tiny_run, folder / "run"))


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, which a test may change."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """A function that runs a command, which must fail and write nothing, and returns its error message."""
    monkeypatch.chdir(tmp_path)

    def refused(*arguments: object) -> str:
        before = sorted(tmp_path.rglob("*"))
        capsys.readouterr()
        code = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        assert code == 2, output.err
        assert not output.out
        assert "Traceback" not in output.err
        assert sorted(tmp_path.rglob("*")) == before
        assert output.err.startswith("auxar: ")
        return output.err.removeprefix("auxar: ").strip()

    return refused
