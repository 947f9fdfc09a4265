"""Tests of locks: waiting for another process, refusing a folder in use, and file systems without locks."""

import contextlib
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from auxar import locks
from auxar.errors import UserError, logger
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


def test_waiting_for_a_lock_is_told(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(locks, "PATIENCE", 0.1)
    path = tmp_path / "x.lock"
    with another(path) as process:
        # Held until the warning is logged.
        handler = logging.Handler()
        handler.emit = lambda record: process.kill()  # type: ignore[method-assign]
        monkeypatch.setattr(logger, "handlers", [handler])
        with locks.holding(path, "prepare images"):
            assert process.wait(20) != 0
    assert caplog.messages == [
        f"waiting to prepare images: the lock {path} is held by process {process.pid} on {HOST}; wait until it is "
        "done, or end it"
    ]


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
