"""Tests of commands whose standard streams are closed, full or not UTF-8, and of interrupts before a command begins."""

from __future__ import annotations

import errno
import io
import logging
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest
from helpers.tiny_runs import PROJECT, command, process_environment
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


def test_the_other_characters_are_kept(recipe, started):
    text = started("check", recipe).out.decode()
    assert text.startswith("depth 0: 8×8×3 with 256 levels\n")
    for encoding in ("latin-1", "cp1252"):
        assert started("check", recipe, encoding=encoding).out == text.encode(encoding, "backslashreplace")


# Standard output that fails


@pytest.mark.parametrize("words", ["plugins", "check --help", "--version"])
@pytest.mark.parametrize(
    ("failure", "status", "message"),
    [
        (errno.EPIPE, 141, b""),
        (errno.ENOSPC, 2, b"auxar: standard output cannot be written: No space left on device\n"),
        (errno.EIO, 2, b"auxar: standard output cannot be written: Input/output error\n"),
    ],
)
def test_standard_output_that_fails(started, words, failure, status, message):
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


def test_work_goes_on_without_standard_error(recipe, started):
    assert started("run", recipe, err=Device(errno.EPIPE)).status == 0
    assert Path("runs/tiny/report.html").is_file()


@pytest.mark.parametrize("failure", [errno.EPIPE, errno.ENOSPC, errno.EBADF])
def test_the_status_does_not_depend_on_standard_error(started, failure):
    assert started("check", "none.toml", err=Device(failure)) == Ended(2, b"", b"")
    assert started("chekc", err=Device(failure)) == Ended(2, b"", b"")
    assert started("--version", out=Device(errno.ENOSPC), err=Device(failure)) == Ended(2, b"", b"")


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


def test_descriptors_that_are_closed_are_opened(monkeypatch, tmp_path):
    # Any free descriptors serve, so that the test need not close its own streams.
    files = [os.open(tmp_path, os.O_RDONLY) for _ in range(3)]
    for file in files[1:]:
        os.close(file)
    monkeypatch.setattr(streams, "DESCRIPTORS", files)
    streams.guard()
    try:
        null = os.stat(os.devnull)
        assert [os.path.samestat(os.fstat(file), null) for file in files] == [False, True, True]
        assert [os.get_inheritable(file) for file in files] == [False, True, True]
    finally:
        for file in files:
            os.close(file)


# Interrupts


def test_an_interrupt_outside_of_a_command_ends_the_process(started, monkeypatch, capfd):
    def leave(status: int) -> None:
        raise SystemExit(status)

    # Python's own handler would end the tests if it stayed.
    signal.signal(signal.SIGINT, lambda *_: None)
    monkeypatch.setattr(os, "_exit", leave)
    monkeypatch.setattr("auxar.cli.main", lambda *_: signal.raise_signal(signal.SIGINT))
    assert started("check").status == 130
    assert capfd.readouterr().err == "auxar: interrupted\n"


def test_an_interrupt_that_is_ignored_stays_ignored(started):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    assert started("--version").status == 0
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


def test_the_entry_points_handle_interrupts_before_they_import_much():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["scripts"] == {"auxar": f"{start.__module__}:{start.__name__}"}
    source = (PROJECT / "auxar" / "__main__.py").read_text(encoding="utf-8")
    imports = {line for line in source.splitlines() if line.startswith(("import ", "from "))}
    names = ("contextlib", "os", "signal", "sys")
    assert imports == {"from __future__ import annotations", *(f"import {name}" for name in names)}


# Processes


def in_shell(line: str, folder: Path) -> subprocess.CompletedProcess[bytes]:
    """Runs a line of bash in which `auxar` is the command, and returns its end. It must not write a traceback."""
    functions = f'auxar() {{ {shlex.join(command())} "$@"; }}'
    environment = process_environment(OMP_NUM_THREADS="1")
    done = subprocess.run(["bash", "-c", f"{functions}; {line}"], cwd=folder, env=environment, capture_output=True)
    for unwanted in (b"Traceback", b"Exception ignored", b"Logging error"):
        assert unwanted not in done.stdout + done.stderr
    return done


def test_a_process_whose_reader_has_ended(tmp_path):
    done = in_shell("auxar --version | true; exit ${PIPESTATUS[0]}", tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (141, b"", b"")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("auxar check tiny.toml | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("auxar check tiny.toml 2>&1 | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("PYTHONUNBUFFERED=1 auxar --help | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("auxar run tiny.toml 2>&1 | true; exit ${PIPESTATUS[0]}", 141, ""),
        ("auxar check tiny.toml >/dev/full", 2, "standard output cannot be written: No space left on device\n"),
        ("auxar --help >/dev/full", 2, "standard output cannot be written: No space left on device\n"),
        ("auxar --help >/dev/full 2>/dev/full", 2, ""),
        ("auxar check tiny.toml 2>/dev/full", 0, ""),
        ("auxar check none.toml 2>/dev/full", 2, ""),
        ("auxar run tiny.toml 2>/dev/full", 0, ""),
        ("auxar check tiny.toml >&-", 0, ""),
        ("auxar check none.toml >&-", 2, "recipe none.toml does not exist"),
        ("auxar check none.toml 2>&-", 2, ""),
        ("auxar run tiny.toml <&- >&- 2>&-", 0, ""),
        ("PYTHONIOENCODING=latin-1 auxar check tiny.toml", 0, ""),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 auxar check tiny.toml", 0, ""),
    ],
)
def test_processes_with_unusual_streams(recipe, line, status, message):
    done = in_shell(line, recipe.parent)
    assert done.returncode == status
    assert done.stderr.startswith(f"auxar: {message}".encode() if message else b"")
    assert bool(done.stderr) == bool(message)
    if " run " in line:
        assert (recipe.parent / "runs" / "tiny" / "report.html").read_text(encoding="utf-8").endswith("</html>\n")


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0])
def test_an_interrupt_during_the_imports(tmp_path, seconds):
    def heed() -> None:  # A shell may make background processes, and thereby this one, ignore the signal.
        signal.signal(signal.SIGINT, signal.default_int_handler)

    process = subprocess.Popen(
        command("run", "none.toml"),
        cwd=tmp_path,
        env=process_environment(),
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed,
    )
    time.sleep(seconds)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert errors.count("\n") == 1
    if process.returncode == 130:
        assert errors.startswith("auxar: interrupted")
    else:  # The command had ended by itself.
        assert errors.startswith("auxar: recipe none.toml does not exist")
