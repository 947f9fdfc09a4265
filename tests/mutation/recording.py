"""Records which tests run which lines, and how long each test takes.

This file is also the pytest plugin that gives each line in coverage.py's data its contexts: the names of the tests and
fixtures that run it. A process that a test starts takes the context from the environment.
"""

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from coverage import Coverage

SETTINGS = """
[run]
source =
    {root}/auxar
    {root}/plugins
context = ${{AUXAR_MUTATION_CONTEXT-}}
data_file = {folder}/coverage
parallel = true
patch = _exit
sigterm = true
"""
CONTEXT = "AUXAR_MUTATION_CONTEXT"
"""The environment variable with the context of new processes."""
FOLDER = "AUXAR_MUTATION_FOLDER"
"""The environment variable with the folder to which the plugin writes `reports.json`."""
FIXTURE = "fixture "
"""The beginning of a context that is a fixture."""


def record(root: Path, folder: Path, tests: Sequence[str]) -> None:
    """Runs test files with coverage and keeps the result in `folder/recording`, in place of an earlier one.

    `tests` are paths relative to `root`; without any, the whole suite runs. An error ends the program if a test fails.
    """
    partial, final = folder / "recording-unfinished", folder / "recording"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    settings = partial / "settings.ini"
    settings.write_text(SETTINGS.format(root=root, folder=partial))
    files = code_files(root)
    before = digests(root, files)
    environment = {
        **os.environ,
        "COVERAGE_PROCESS_START": str(settings),
        CONTEXT: "",
        FOLDER: str(partial),
        "PYTHONPATH": os.pathsep.join(str(path) for path in (root, root / "plugins", Path(__file__).parent)),
    }
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", "-p", "recording", *tests]
    if subprocess.run(command, cwd=root, env=environment).returncode != 0:
        sys.exit("mutants can only be tried with tests that pass without them")
    if digests(root, files) != before:
        sys.exit("the code changed while the tests ran; record again")
    combine = [sys.executable, "-m", "coverage", "combine", "-q", f"--rcfile={settings}"]
    subprocess.run(combine, cwd=partial, check=True)
    seconds, fixtures = json.loads((partial / "reports.json").read_text())
    of_tests = {test.split("::")[0] for test in seconds}
    state = {"seconds": seconds, "fixtures": fixtures, "files": {**before, **digests(root, sorted(of_tests))}}
    (partial / "tests.json").write_text(json.dumps(state))
    shutil.rmtree(final, ignore_errors=True)
    partial.rename(final)


def code_files(root: Path) -> list[str]:
    """The paths of all files of auxar/ and plugins/ in which mistakes are made, relative to `root`."""
    found = (file for folder in ("auxar", "plugins") for file in (root / folder).rglob("*"))
    return sorted(str(file.relative_to(root)) for file in found if file.suffix in (".py", ".cpp", ".h"))


def digests(root: Path, files: Iterable[str]) -> dict[str, str]:
    """Checksums of the files that exist, by their paths."""
    return {
        file: hashlib.sha256((root / file).read_bytes()).hexdigest()[:16] for file in files if (root / file).exists()
    }


# The pytest plugin. Each process of pytest-xdist runs it.


def pytest_itemcollected(item: pytest.Item) -> None:
    item.user_properties.append(("fixtures", list(getattr(item, "fixturenames", ()))))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    with _context(item.nodeid):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Iterator[None]:
    with _context(f"{FIXTURE}{fixturedef.baseid}::{fixturedef.argname}"):
        return (yield)


@contextlib.contextmanager
def _context(name: str) -> Iterator[None]:
    running, outer = Coverage.current(), os.environ[CONTEXT]
    assert running is not None, "coverage.py did not start with this process; is its .pth file installed?"
    os.environ[CONTEXT] = name
    running.switch_context(name)
    try:
        yield
    finally:
        os.environ[CONTEXT] = outer
        running.switch_context(outer)


_seconds: dict[str, float] = {}
_fixtures: dict[str, object] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    _fixtures[report.nodeid] = dict(report.user_properties)["fixtures"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if "PYTEST_XDIST_WORKER" not in os.environ:
        Path(os.environ[FOLDER], "reports.json").write_text(json.dumps([_seconds, _fixtures]))
