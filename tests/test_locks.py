"""Tests of locks: waiting for another process, refusing a folder in use, and file systems without locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import pytest
from helpers.tiny_runs import write_pictures

from auxar import locks
from auxar.data import load_images
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.plugins import Registry
from auxar.recipe import DataConfig
from auxar.runs.lock import holding as holding_folder
from auxar_samplers.engines.base import BrokenError
from auxar_samplers.engines.native import library

HOLD = """
import sys
from pathlib import Path
from auxar.locks import holding
with holding(Path(sys.argv[1]), "test"):
    print(flush=True)
    sys.stdin.read()
"""
HOST = socket.gethostname()


@contextlib.contextmanager
def another(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Lets another process hold the lock file `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


def told(caplog: pytest.LogCaptureFixture, monkeypatch, path: Path, wait: Callable[[], Any]) -> str:
    """Calls `wait` while another process holds the lock file `path`, until a warning was logged. Returns the warning.

    The other process is killed then. `<pid>` stands for its number.
    """
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    seen = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: seen.set()  # type: ignore[method-assign]
    logging.getLogger("auxar").addHandler(handler)
    try:
        with ThreadPoolExecutor(1) as pool, another(path) as process:
            result = pool.submit(wait)
            assert seen.wait(20)
            assert not result.done()
            process.kill()
            result.result(20)
    finally:
        logging.getLogger("auxar").removeHandler(handler)
    (message,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return message.replace(str(process.pid), "<pid>")


def test_waiting_for_prepared_images_is_told(tmp_path, caplog, monkeypatch):
    pictures = write_pictures(tmp_path / "pictures")

    def load() -> object:
        return load_images(DataConfig(str(pictures)), ImageSpec(3, height=8, width=8), Registry())

    cache = Path(datasets.config.HF_DATASETS_CACHE) / "auxar"
    before = set(cache.glob("*.arrow"))
    load()
    (file,) = set(cache.glob("*.arrow")) - before
    file.unlink()
    assert told(caplog, monkeypatch, Path(f"{file}.lock"), load) == (
        f"waiting to prepare images: the lock {file}.lock is held by process <pid> on {HOST}; wait until it is done, "
        "or end it"
    )


def test_waiting_for_the_native_engine_is_told(tmp_path, caplog, monkeypatch):
    def compiled() -> None:
        with pytest.raises(BrokenError, match="the C\\+\\+ compiler false failed"):
            library._loaded(tmp_path, ["false"], "key")

    message = told(caplog, monkeypatch, tmp_path / "sampler-key.lock", compiled)
    assert message.startswith("waiting to compile the samplers' native engine: the lock ")


def test_folder_in_use_is_refused_at_once(tmp_path):
    with another(tmp_path / ".lock") as process:
        expected = f"{tmp_path} is in use by process {process.pid} on {HOST}; wait until it is done, or end it, or"
        with pytest.raises(UserError, match=re.escape(expected)), holding_folder(tmp_path):
            pass
        assert locks.user_of(tmp_path / ".lock") == f"process {process.pid} on {HOST}"
    assert locks.user_of(tmp_path / ".lock") is None
    with holding_folder(tmp_path):
        pass


@pytest.mark.parametrize("note", ["", "[" * 10**5, '{"pid": 1e999, "host": 1}', '{"pid": "x"}', "[]"])
def test_a_holder_without_a_valid_note(tmp_path, note):
    (tmp_path / "x.lock.json").write_text(note)
    assert locks.holder(tmp_path / "x.lock") == "another process"


def without_locks(monkeypatch, number: int, folder: Path) -> None:
    """Lets `flock` fail with an error of this number in a folder."""
    flock = fcntl.flock

    def fail(file: int, operation: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").startswith(str(folder)):
            raise OSError(number, os.strerror(number))
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", fail)


def test_file_system_that_refuses_locks(tmp_path, monkeypatch, caplog):
    without_locks(monkeypatch, errno.ENOLCK, tmp_path)
    with pytest.raises(UserError, match="cannot be written: No locks available"), holding_folder(tmp_path):
        pass
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BrokenError, match=r"the C\+\+ compiler false failed"):
        library._cached(["false"], "key")
    assert "compiled in a private temporary folder, for this process alone: " in caplog.text


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_file_system_without_locks(tmp_path, monkeypatch):
    without_locks(monkeypatch, errno.ENOSYS, tmp_path)
    path = tmp_path / ".lock"
    with holding_folder(tmp_path), ThreadPoolExecutor(1) as pool:
        refusal = pool.submit(holding_folder(tmp_path).__enter__).exception()
        assert f"in use by process {os.getpid()} on {HOST}" in str(refusal)
    assert not path.exists()
    path.write_text(f"{2**22 - 1}\n{HOST}\n")  # A process of this machine was killed.
    with locks.holding(path, "do something"):
        pass
