"""Tests of locks: waiting for a stopped, killed or unknown process, and file systems without locks."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import datasets
import filelock
import pytest
from helpers.tiny_runs import write_pictures

from auxar import locks
from auxar.data import load_images
from auxar.data.source import open_source
from auxar.errors import UserError
from auxar.model import ImageSpec
from auxar.plugins import Registry
from auxar.recipe import DataConfig
from auxar.runs.lock import holding as holding_folder
from auxar_samplers.engines.base import BrokenError
from auxar_samplers.engines.native import library

HOLD = "import fcntl, sys, time; file = open(sys.argv[1], 'a'); fcntl.flock(file, 2); print(flush=True); time.sleep(60)"
HOST = socket.gethostname()


@pytest.fixture(autouse=True)
def patience(monkeypatch) -> None:
    monkeypatch.setattr(locks, "PATIENCE", 0.1)


@contextlib.contextmanager
def another(path: Path, *, stopped: bool = False) -> Iterator[int]:
    """Lets another process hold the lock file `path`, and yields its number."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with subprocess.Popen([sys.executable, "-S", "-c", HOLD, str(path)], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            if stopped:
                process.send_signal(signal.SIGSTOP)
                os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
            yield process.pid
        finally:
            process.kill()


def told(caplog: pytest.LogCaptureFixture, path: Path, stopped: bool, wait: Callable[[], Any]) -> str:
    """Calls `wait` while another process holds the lock file `path`, until a warning was logged. Returns the warning.

    `<pid>` stands for the number of the process.
    """
    caplog.clear()
    seen = threading.Event()
    handler = logging.Handler()
    handler.emit = lambda record: seen.set()  # type: ignore[method-assign]
    logging.getLogger("auxar").addHandler(handler)
    try:
        with ThreadPoolExecutor(1) as pool, another(path, stopped=stopped) as pid:
            result = pool.submit(wait)
            assert seen.wait(20)
            assert not result.done()
            time.sleep(0.15)  # Three more attempts, which must not be told.
            os.kill(pid, signal.SIGKILL)
            result.result(20)
    finally:
        logging.getLogger("auxar").removeHandler(handler)
    (message,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return message.replace(str(pid), "<pid>")


def take(path: Path) -> None:
    with locks.holding(path, "do something", "choose another folder"):
        pass


@pytest.mark.parametrize("stopped", [False, True])
def test_waiting_for_a_lock_is_told(tmp_path, caplog, stopped):
    path = tmp_path / "x.lock"
    message = told(caplog, path, stopped, lambda: take(path))
    beginning = f"waiting to do something: the lock {path} is held by process <pid> on {HOST} ({sys.executable} -S -c "
    assert message.startswith(beginning)
    if stopped:
        assert message.endswith("), which is stopped; continue it (kill -CONT <pid>), or end it (kill -KILL <pid>)")
    else:
        assert message.endswith("); wait until it is done, or end it (kill <pid>)")
    assert not (tmp_path / "x.lock.json").exists()


def test_waiting_in_datasets_is_told(tmp_path, caplog):
    """Its own locks have no timeout."""
    pictures = write_pictures(tmp_path / "pictures")
    content = [{"bytes": file.read_bytes(), "path": None} for file in pictures.iterdir()]
    types = datasets.Features({"image": datasets.Image()})
    datasets.Dataset.from_dict({"image": content}, features=types).to_parquet(tmp_path / "set.parquet")
    config = DataConfig(str(tmp_path / "set.parquet"))
    source = open_source(config)
    assert source.copy is not None
    path = Path(f"{source.copy.folder}_builder.lock")
    message = told(caplog, path, True, lambda: open_source(config))
    assert message.startswith(f"waiting to read the data set with `datasets`: the lock {path} is held by process <pid>")
    assert "which is stopped" in message
    assert logging.getLogger("filelock").level == logging.NOTSET
    assert not logging.getLogger("filelock").filters


@pytest.mark.parametrize(
    ("level", "shown"), [(logging.NOTSET, ["y", "z"]), (logging.DEBUG, ["x", "y", "z"]), (logging.ERROR, ["z"])]
)
def test_messages_of_the_library_of_locks_are_shown_as_before(caplog, level, shown):
    library = logging.getLogger("filelock")
    library.setLevel(level)
    try:
        with locks.telling_of_others, locks.telling_of_others:
            library.debug("x")
            library.warning("y")
            library.error("z")
        assert (library.level, caplog.messages) == (level, shown)
    finally:
        library.setLevel(logging.NOTSET)


def test_waiting_for_prepared_images_is_told(tmp_path, caplog):
    pictures = write_pictures(tmp_path / "pictures")

    def load() -> object:
        return load_images(DataConfig(str(pictures)), ImageSpec(3, height=8, width=8), Registry())

    cache = Path(datasets.config.HF_DATASETS_CACHE) / "auxar"
    before = set(cache.glob("*.arrow"))
    load()
    (file,) = set(cache.glob("*.arrow")) - before
    file.unlink()
    message = told(caplog, Path(f"{file}.lock"), False, load)
    assert message.startswith(f"waiting to prepare images: the lock {file}.lock is held by process <pid> on {HOST} (")


def test_waiting_for_the_native_engine_is_told(tmp_path, caplog):
    def compiled() -> None:
        with pytest.raises(BrokenError, match="the C\\+\\+ compiler false failed"):
            library._loaded(tmp_path, ["false"], "key")

    path = tmp_path / "sampler-key.lock"
    message = told(caplog, path, True, compiled)
    assert message.startswith(
        f"waiting to compile the samplers' native engine: the lock {path} is held by process <pid>"
    )
    assert "which is stopped" in message


@pytest.mark.parametrize("stopped", [False, True])
def test_folder_in_use_is_refused_at_once(tmp_path, stopped):
    with (
        another(tmp_path / ".lock", stopped=stopped) as pid,
        pytest.raises(UserError) as caught,
        holding_folder(tmp_path),
    ):
        pass
    assert str(caught.value).startswith(f"{tmp_path} is in use by process {pid} on {HOST} (")
    remedy = f"continue it (kill -CONT {pid}), end it (kill -KILL {pid})"
    if not stopped:
        remedy = f"wait until it is done, end it (kill {pid})"
    assert str(caught.value).endswith(f"; {remedy}, or choose another folder")


def test_holder_on_another_machine(tmp_path):
    (tmp_path / "x.lock").touch()
    (tmp_path / "x.lock.json").write_text('{"pid": 7, "host": "elsewhere"}')
    found = locks.holder(tmp_path / "x.lock")
    assert (found.name, found.advice("x")) == ("process 7 on elsewhere", "wait until it is done, or x")
    (tmp_path / "x.lock.json").unlink()
    assert locks.holder(tmp_path / "x.lock").name == "another process"


# --- file systems without locks --------------------------------------------------------------------------------------


@pytest.fixture
def without_locks(monkeypatch) -> Callable[[int], None]:
    """A function that makes `flock` fail with an error of this number."""

    def use(number: int) -> None:
        def fail(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        monkeypatch.setattr(fcntl, "flock", fail)

    return use


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_file_system_that_refuses_locks(tmp_path, without_locks, number):
    without_locks(number)
    reason = os.strerror(number)
    with pytest.raises(UserError) as caught, holding_folder(tmp_path):
        pass
    advice = "choose a folder on another file system"
    assert str(caught.value) == f"{tmp_path}/.lock cannot be locked on its file system: {reason}; {advice}"
    with pytest.raises(UserError, match=rf"cannot be locked on its file system: {reason}; set .* HF_DATASETS_CACHE"):
        load_images(DataConfig(str(write_pictures(tmp_path / "x"))), ImageSpec(3, height=8, width=8), Registry())


def test_native_engine_on_a_file_system_that_refuses_locks(tmp_path, monkeypatch, caplog):
    flock = fcntl.flock

    def fail(file: int, operation: int) -> None:
        if os.readlink(f"/proc/self/fd/{file}").startswith(str(tmp_path)):
            raise OSError(errno.ENOLCK, "No locks available")
        flock(file, operation)

    monkeypatch.setattr(fcntl, "flock", fail)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BrokenError, match=r"the C\+\+ compiler false failed"):
        library._cached(["false"], "key")
    assert "compiled in a private temporary folder, for this process alone: " in caplog.text
    assert f"{tmp_path}/auxar/sampler-key.lock cannot be locked on its file system: No locks available" in caplog.text


@pytest.mark.filterwarnings("ignore:flock not supported")
def test_file_system_without_locks(tmp_path, without_locks, caplog):
    without_locks(errno.ENOSYS)
    path = tmp_path / ".lock"
    with holding_folder(tmp_path), ThreadPoolExecutor(1) as pool:
        refusal = pool.submit(holding_folder(tmp_path).__enter__).exception()
        assert isinstance(refusal, UserError)
        assert f"in use by process {os.getpid()} on {HOST} (" in str(refusal)
        assert f", delete {path} if there is no such process, or choose another folder" in str(refusal)
    assert not path.exists()
    path.write_text("7\nelsewhere\n")  # A process of another machine was killed.
    seen = ThreadPoolExecutor(1).submit(take, path)
    while not caplog.messages:
        assert not seen.done()
        time.sleep(0.01)
    assert caplog.messages == [
        f"waiting to do something: the lock {path} is held by process 7 on elsewhere; wait until it is done, or delete "
        f"{path} if there is no such process"
    ]
    path.unlink()
    seen.result(20)
    path.write_text(f"{2**22 - 1}\n{HOST}\n")  # A process of this machine was killed.
    take(path)
    assert caplog.messages[1:] == []


def test_older_versions_of_the_library(tmp_path, monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise NotImplementedError("FileSystem does not appear to support flock; use SoftFileLock instead")

    monkeypatch.setattr(filelock.FileLock, "_acquire", fail)
    with pytest.raises(UserError, match="cannot be locked on its file system: Function not implemented; "):
        take(tmp_path / "x.lock")
