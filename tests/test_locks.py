"""Tests of locks: waiting for another process, refusing a folder in use, and file systems without locks."""

from __future__ import annotations

import contextlib
import logging
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
from auxar.data.loading import load_images
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.plugins import Registry
from auxar.recipe import DataConfig
from auxar.runs.lock import holding as holding_folder

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
