"""Tests of the beginning and the end of a process: interrupts before a command begins, and output without a reader."""

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest
from helpers.tiny_runs import command, process_environment

from auxar.__main__ import start


@pytest.fixture(autouse=True)
def own_signals() -> Iterator[None]:
    """Restores the handler of SIGINT, which belongs to the whole process."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


def test_an_interrupt_outside_of_a_command_ends_the_process(monkeypatch, capfd):
    def leave(status: int) -> None:
        raise SystemExit(status)

    # Python's own handler would end the tests if it stayed.
    signal.signal(signal.SIGINT, lambda *_: None)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr("auxar.cli.main", lambda *_: signal.raise_signal(signal.SIGINT))
    with pytest.raises(SystemExit, match="130"):
        start()
    assert capfd.readouterr().err == "auxar: interrupted\n"


def test_an_interrupt_that_is_ignored_stays_ignored(monkeypatch):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    monkeypatch.setattr(sys, "argv", ["auxar", "--version"])
    with pytest.raises(SystemExit, match="0"):
        start()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("auxar plugins | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("auxar plugins >/dev/full", 2, "No space left on device\n"),
    ],
)
@pytest.mark.parametrize("unbuffered", ["", pytest.param("1", marks=pytest.mark.slow)])
def test_output_that_cannot_be_written(tmp_path, line, status, message, unbuffered):
    functions = f'auxar() {{ {shlex.join(command())} "$@"; }}'
    done = subprocess.run(
        ["bash", "-c", f"{functions}; {line}"],
        cwd=tmp_path,
        env=process_environment(OMP_NUM_THREADS="1", PYTHONUNBUFFERED=unbuffered),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.startswith("auxar: ") if message else not done.stderr
    assert done.stderr.endswith(message)
