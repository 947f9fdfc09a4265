"""Tests of commands whose standard streams are closed, full or not UTF-8, and of interrupts before a command begins."""

from __future__ import annotations

import errno
import io
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from helpers.tiny_runs import command, process_environment, tiny, write
from tqdm import tqdm

from auxar.__main__ import start
from auxar.cli import streams


class Device(io.RawIOBase):
    """A raw stream that keeps the first bytes of each write, or fails with an error number."""

    def __init__(self, failure: int | None = None, most: int = 1000) -> None:
        self.failure = failure
        self.most = most
        self.content = b""

    def writable(self) -> bool:
        return True

    def write(self, content) -> int:
        if self.failure is not None:
            raise OSError(self.failure, os.strerror(self.failure))
        taken = bytes(content[: self.most])
        self.content += taken
        return len(taken)


@attrs.frozen
class Ended:
    """The end of a command: its exit status, and what it wrote."""

    status: int
    out: bytes
    err: bytes


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Restores the handler of SIGINT, which belongs to the whole process."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def started(monkeypatch) -> Callable[..., Ended]:
    """Starts a command like a new process, with the given standard streams, and returns its end."""

    def started(*arguments: object, out: Device | None = None, err: Device | None = None, encoding: str = "utf-8"):
        devices = {"stdout": out or Device(), "stderr": err or Device()}
        for name, device in devices.items():
            stream = io.TextIOWrapper(io.BufferedWriter(device), encoding=encoding, errors="strict")
            monkeypatch.setattr(sys, name, stream)
        monkeypatch.setattr(sys, "argv", ["auxar", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            start()
        # Python flushes both streams at the end of a process. A failure would print an error and change the status.
        sys.stdout.flush()
        sys.stderr.flush()
        return Ended(int(ended.value.code or 0), devices["stdout"].content, devices["stderr"].content)

    return started


# Characters that the encoding of the output lacks


@pytest.mark.parametrize(
    "words",
    [
        "check RECIPE",
        "run RECIPE --set sampling.images=0",
        "evaluate RUN",
        "compare RUN RUN",
        "compare RUN RUN --json --out ψ.html",
        "sample RUN -n 1 --out ψ",
        "figures RUN --rows 1",
        "plugins",
        "new-plugin auxar-thing --kind view --out ψ",
        "--help",
        "sample --help",
        "check ψ.toml",
        "check ψ ψ",
    ],
)
def test_missing_characters_are_escaped(recipe, finished, tmp_path, started, words):
    shutil.copytree(finished, tmp_path / "ψ-run")
    paths = {"RECIPE": str(recipe), "RUN": str(tmp_path / "ψ-run")}
    ended = started(*(paths.get(word, word) for word in words.split()), encoding="ascii")
    assert ended.status == (2 if words.startswith("check ψ") else 0)
    assert ended.out or ended.err
    assert (ended.out + ended.err).isascii()
    assert b"Error" not in ended.err


@pytest.mark.parametrize("encoding", ["latin-1", "cp1252", "utf-8"])
def test_the_other_characters_are_kept(recipe, started, encoding):
    out = started("check", recipe, encoding=encoding).out
    text = out.decode(encoding)
    assert text.startswith("depth 0: 8×8×3 with 256 levels\n")
    assert started("check", recipe).out.decode().encode(encoding, "backslashreplace") == out


# Standard output that fails


@pytest.mark.parametrize("words", ["check tiny.toml", "plugins", "check --help", "--version"])
@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (errno.EPIPE, 141, b""),
        (errno.ENOSPC, 2, b"auxar: standard output cannot be written: No space left on device\n"),
        (errno.EIO, 2, b"auxar: standard output cannot be written: Input/output error\n"),
    ],
)
def test_standard_output_that_fails(recipe, started, words, failure, status, message):
    assert started(*words.split(), out=Device(failure)) == Ended(status, b"", message)


def test_a_mistake_has_its_own_status_whatever_the_output(started, tmp_path):
    Path(tmp_path / "loud.py").write_text("print('x' * 100000)\nraise ValueError\n", encoding="utf-8")
    ended = started("plugins", tmp_path / "loud.py", out=Device(errno.EPIPE))
    assert ended.status == 2
    assert b"loud.py cannot be loaded: ValueError" in ended.err


def test_output_is_complete_if_the_system_takes_it_in_parts(started):
    assert started("plugins", out=Device(most=7)).out == started("plugins").out


def test_output_that_would_have_to_wait_is_reported(started, monkeypatch):
    monkeypatch.setattr(Device, "write", lambda self, content: None if self.most == 0 else len(content))
    assert started("--version", out=Device(most=0)).status == 2


# Standard error that fails


@pytest.mark.parametrize("failure", [errno.EPIPE, errno.ENOSPC, errno.EBADF])
def test_work_goes_on_without_standard_error(recipe, started, failure):
    assert started("run", recipe, err=Device(failure)).status == 0
    assert Path("runs/tiny/report.html").is_file()
    assert started("check", "none.toml", err=Device(failure)) == Ended(2, b"", b"")
    assert started("chekc", err=Device(failure)).status == 2


def print_bar() -> None:
    for _ in tqdm(range(3), desc="p(X ∣ X̂)"):
        pass


@pytest.mark.parametrize(
    "told",
    [
        lambda: print("ψ", file=sys.stderr),
        lambda: logging.StreamHandler().emit(logging.LogRecord("auxar", logging.INFO, "", 0, "ψ", (), None)),
        print_bar,
    ],
    ids=["print", "logging", "tqdm"],
)
@pytest.mark.parametrize("failure", [None, errno.ENOSPC])
def test_nothing_that_writes_to_standard_error_fails(monkeypatch, told, failure):
    device = Device(failure)
    monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(io.BufferedWriter(device), encoding="ascii", errors="strict"))
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    streams.guard()
    told()
    sys.stderr.flush()
    assert bool(device.content) == (failure is None)
    assert b"Traceback" not in device.content


# Closed streams


@pytest.mark.parametrize("name", ["stdout", "stderr"])
def test_a_stream_that_is_closed_takes_everything(monkeypatch, name):
    for each in ("stdout", "stderr"):
        monkeypatch.setattr(sys, each, None if each == name else getattr(sys, each))
    output = streams.guard()
    print("ψ" * 10_000, file=getattr(sys, name), flush=True)
    assert output.status() == 0
