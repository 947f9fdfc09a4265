"""Tests of the native engine's library: it is compiled once, and loaded only if it is intact and from a folder of this
user alone, and PyTorch samples where it cannot be made."""

import errno
import functools
import hashlib
import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.causal_networks import needs_native
from helpers.engines import run_lists, steady

from auxar.errors import UserError
from auxar_samplers.compiler.program import Layout, Pointwise
from auxar_samplers.engines import UnavailableError, choice
from auxar_samplers.engines.native import library as compiling


@pytest.fixture
def bare(monkeypatch, tmp_path):
    """Sets up an empty cache of compiled libraries; returns its folder, which does not exist yet."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.delenv("AUXAR_CXXFLAGS", raising=False)
    compiling.attempt.cache_clear()
    choice._warn_of_replacement.cache_clear()
    yield tmp_path / "cache"
    compiling.attempt.cache_clear()


def engine_of(caplog, engine, dtype=torch.float64):
    """The name of the engine that runs a program, and the warnings that are logged."""
    layout = Layout(1, torch.zeros((), dtype=dtype))
    ring, part = layout.ring(1, 1, 2), layout.scratch(1, 2)
    caplog.clear()
    with caplog.at_level(logging.DEBUG, logger="auxar"):
        run_lists(engine, layout, [steady(1)], [[Pointwise(ring, torch.tanh, (part,), 0)]], (0, 0))
    (used,) = (said for said in caplog.messages if said.startswith("sampling with "))
    told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    return used.removeprefix("sampling with "), told


def assert_torch_instead(caplog, reason):
    with pytest.raises(UserError, match=f"(?s)engine 'native': .*{reason}.*; use engine 'torch'"):
        engine_of(caplog, "native")
    used, told = engine_of(caplog, "auto")
    assert used == "TorchEngine"
    assert re.match(f"(?s)TorchEngine samples, more slowly, in place of an engine that does not .*{reason}", told[0])
    assert engine_of(caplog, "auto") == ("TorchEngine", []), "the warning is logged once"


@pytest.mark.parametrize(
    ("variable", "value", "reason"),
    [
        ("PATH", "none", r"no C\+\+ compiler was found"),
        ("CXX", "false", "compiler false failed"),
        ("CXX", "true", "compiler true failed: status 0"),
        ("CXX", "no-such-compiler", "no-such-compiler"),
        ("CXX", "'", "CXX or AUXAR_CXXFLAGS is not a command line: No closing quotation"),
        ("CXX", "sh -c 'printf \"\\351t\\351\" >&2; false' \udcff", "compiler sh failed: \ufffdt\ufffd"),
        ("AUXAR_CXXFLAGS", "--no-such-flag", "--no-such-flag"),
    ],
)
def test_without_a_compiler_that_works_pytorch_samples_and_says_so(bare, monkeypatch, caplog, variable, value, reason):
    monkeypatch.setenv(variable, value)
    assert_torch_instead(caplog, reason)
    assert [path for path in bare.glob("auxar/*") if path.suffix != ".lock"] == []


def test_a_compiler_that_fails_is_run_once(bare, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("CXX", f"sh -c 'echo called >> {tmp_path / 'calls'}; exit 1'")
    for _ in range(3):
        engine_of(caplog, "auto")
    assert (tmp_path / "calls").read_text() == "called\n"


def test_an_engine_in_place_of_one_that_does_not_support_the_program_is_not_warned_of(caplog):
    assert engine_of(caplog, "auto", torch.bfloat16) == ("TorchEngine", [])


# One compilation -----------------------------------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path):
    """The path of a copy of the compiled library."""
    name = Path(compiling.library()._name).name
    with compiling._cache() as folder:
        return shutil.copy(folder / name, tmp_path / "built")


@pytest.fixture
def compilations(built, bare, monkeypatch, tmp_path):
    """Sets `CXX` to a script that copies a file, the compiled library; returns a function that counts its calls."""
    script, log = tmp_path / "compiler", tmp_path / "compilations"
    script.write_text(f'#!/bin/sh\necho "$@" >> "{log}"\nsleep 0.3\nfor last; do :; done\ncp "{built}" "$last"\n')
    script.chmod(0o755)
    log.touch()
    monkeypatch.setenv("CXX", str(script))
    return lambda: len(log.read_text().splitlines())


def loaded():
    """The path of the library, which is looked for again."""
    compiling.attempt.cache_clear()
    return Path(compiling.library()._name)


def processes(count):
    """Starts several processes together; returns the name of the library that each of them loads."""
    ask = "import runpy, sys; print(runpy.run_path(sys.argv[1])['library']()._name)"
    command = [sys.executable, "-c", ask, compiling.__file__]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    found = [Path(process.communicate()[0].strip()).name for process in started]
    assert [process.returncode for process in started] == [0] * count
    return found


# Other tests are skipped where the native engine does not work. This one fails, so that none is skipped by mistake.
@pytest.mark.skipif(sys.platform != "linux" or not shutil.which("c++"), reason="needs a C++ compiler on Linux")
def test_the_library_is_compiled_once_for_all_processes(compilations, bare, tmp_path):
    first = loaded()
    assert [*bare.glob("auxar/*.so")] == [first]
    assert first.parent.stat().st_mode & 0o77 == 0
    assert loaded() == first
    assert processes(1) == [first.name]
    assert compilations() == 1
    sources = ["encoding.cpp", "images.cpp", "program.cpp", "team.cpp"]
    named = (Path(each) for each in (tmp_path / "compilations").read_text().split())
    assert [each.name for each in named if each.parent == compiling.SOURCES[0].parent] == sources


@pytest.mark.slow
@needs_native
def test_processes_that_need_the_library_at_the_same_time_compile_it_once(compilations, bare):
    (found,) = set(processes(3))
    assert compilations() == 1
    assert [path.name for path in bare.glob("auxar/*.so")] == [found]


@needs_native
@pytest.mark.parametrize("changed", compiling.SOURCES, ids=lambda source: source.name)
def test_another_source_is_compiled_anew(compilations, monkeypatch, tmp_path, changed):
    first = loaded()
    sources = tuple(shutil.copy(source, tmp_path / source.name) for source in compiling.SOURCES)
    with (tmp_path / changed.name).open("a") as file:
        file.write("// changed\n")
    monkeypatch.setattr(compiling, "SOURCES", sources)
    assert loaded().name != first.name
    assert compilations() == 2


@needs_native
@pytest.mark.parametrize("change", ["emptied", "flipped", "cut"])
def test_a_damaged_library_is_compiled_again_with_a_warning(compilations, caplog, change):
    path = loaded()
    compiling.attempt.cache_clear()
    content = path.read_bytes()
    path.unlink()  # This process has the file in memory, so it gets a new one.
    flipped = content[:5000] + bytes([content[5000] ^ 1]) + content[5001:]
    path.write_bytes({"emptied": b"", "flipped": flipped, "cut": content[: len(content) // 3]}[change])
    used, told = engine_of(caplog, "auto")
    assert used == "NativeEngine"
    assert told == [f"{path} is damaged: its content does not match the checksum in its name; it is compiled again"]
    assert path.read_bytes() == content
    compiling.attempt.cache_clear()
    assert engine_of(caplog, "auto") == ("NativeEngine", [])
    assert compilations() == 2


@needs_native
def test_a_library_that_cannot_be_loaded_is_named(compilations, built, caplog):
    Path(built).write_bytes(b"not a library")
    assert_torch_instead(caplog, "cannot be stored or loaded")


# The cache folder ----------------------------------------------------------------------------------------------------


def plant(path):
    """Replaces the library by one that leaves a mark when it is loaded, with its checksum in its name. Returns the
    mark's path."""
    folder = path.parent.parent
    source, planted, mark = (folder / name for name in ("planted.cpp", "planted", "mark"))
    mark_it = f'std::fclose(std::fopen("{mark}", "w"));'
    source.write_text(f"#include <cstdio>\n__attribute__((constructor)) static void run() {{ {mark_it} }}\n")
    compiler = next(found for found in map(shutil.which, ("c++", "g++", "clang++")) if found)
    subprocess.run([compiler, "-shared", "-fPIC", str(source), "-o", str(planted)], check=True)
    path.unlink()
    checksum = hashlib.sha256(planted.read_bytes()).hexdigest()
    planted.rename(path.with_name(re.sub(r"[0-9a-f]{64}\.so$", f"{checksum}.so", path.name)))
    return mark


def open_to_others(folder, patch, mode):
    folder.chmod(mode)
    return f"{folder} is open to other users (mode {mode:04o}, expected 0700); delete it, or"


def of_another_user(folder, patch):
    owner = os.geteuid()
    patch.setattr(os, "geteuid", lambda: owner + 1)
    return f"{folder} belongs to another user (number {owner}); set"


def a_link(folder, patch):
    folder.rename(folder.with_name("elsewhere"))
    folder.symlink_to(folder.with_name("elsewhere"))
    return f"{folder} is not a folder"


def not_made(folder, patch):
    shutil.rmtree(folder.parent)
    folder.parent.write_text("a file")
    return f"'{folder}'"


def full(folder, patch):
    fsync, errors = os.fsync, [OSError(errno.ENOSPC, "No space left on device")]

    def failing(handle):  # A note beside the lock is written as well.
        if errors and ".so." in os.readlink(f"/proc/self/fd/{handle}"):
            raise errors.pop()
        fsync(handle)

    patch.setattr(os, "fsync", failing)
    for path in folder.iterdir():
        path.unlink()
    return ".so cannot be written: No space left on device; set"


@needs_native
@pytest.mark.parametrize(
    "spoil",
    [
        *(functools.partial(open_to_others, mode=mode) for mode in (0o777, 0o720, 0o702)),
        *(of_another_user, a_link, not_made, full),
    ],
)
def test_no_code_is_loaded_from_a_folder_that_is_not_this_users_alone(compilations, monkeypatch, caplog, spoil):
    """The library is then compiled in a private temporary folder, and one warning gives the reason."""
    path = loaded()
    mark = plant(path)
    reason = spoil(path.parent, monkeypatch)
    compiling.attempt.cache_clear()
    used, (told,) = engine_of(caplog, "auto")
    assert used == "NativeEngine"
    assert told.startswith("the samplers' native engine is compiled in a private temporary folder")
    assert reason in told
    assert told.endswith("set XDG_CACHE_HOME to a folder of your own")
    private = Path(compiling.library()._name).parent
    assert private.name.startswith("auxar-")
    assert not private.exists()
    assert not mark.exists()
    assert spoil is not full or not [*path.parent.glob("*.so")], "a file is on disk before it gets its name"
    assert engine_of(caplog, "auto") == ("NativeEngine", [])


@needs_native
def test_a_planted_library_would_leave_its_mark(compilations):
    """The library of the test above is loaded, and noticed, from a folder in which only this user can plant it."""
    mark = plant(loaded())
    with pytest.raises(UnavailableError, match="undefined symbol"):
        loaded()
    assert mark.exists()


@needs_native
def test_a_relative_cache_folder_is_ignored(compilations, monkeypatch, tmp_path):
    """A relative path would lead into the current folder, whose files may come from a stranger."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setattr(Path, "home", lambda: tmp_path / "home")
    assert loaded().parent == tmp_path / "home" / ".cache" / "auxar"
    assert list((tmp_path / "here").iterdir()) == []
