"""Records which tests run which lines, and how long each test takes.

This file is also the pytest plugin that gives the lines in coverage.py's data the names of the tests. A process that a
test starts finds the name of the test in the environment, where pytest keeps it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest
from coverage import Coverage

SETTINGS = """
[run]
source =
    {root}/auxar
    {root}/plugins
context = ${{PYTEST_CURRENT_TEST-}}
data_file = {folder}/coverage
parallel = true
patch = _exit
sigterm = true
"""
DURATIONS = "AUXAR_MUTATION_DURATIONS"
"""The environment variable with the path of the file to which the plugin writes the durations of the tests."""


def record(root: Path, folder: Path, tests: Sequence[str]) -> None:
    """Runs test files with coverage and keeps the result in a new folder `folder/recording-N`.

    `tests` are paths relative to `root`; without any, the whole suite runs. An error ends the program if a test fails.
    """
    number = len(list(folder.glob("recording-*")))
    partial, final = folder / "recording-unfinished", folder / f"recording-{number:03}"
    subprocess.run(["rm", "-rf", partial], check=True)
    partial.mkdir(parents=True)
    settings = partial / "settings.ini"
    settings.write_text(SETTINGS.format(root=root, folder=partial))
    files = code_files(root)
    before = digests(root, files)
    environment = {
        **os.environ,
        "COVERAGE_PROCESS_START": str(settings),
        DURATIONS: str(partial / "durations.json"),
        "PYTHONPATH": os.pathsep.join(str(path) for path in (root, root / "plugins", Path(__file__).parent)),
    }
    command = [sys.executable, "-m", "pytest", "-n", "2", "-q", "-p", "no:cacheprovider", "-p", "recording", *tests]
    if subprocess.run(command, cwd=root, env=environment).returncode != 0:
        sys.exit("mutants can only be tried with tests that pass without them")
    if digests(root, files) != before:
        sys.exit("the code changed while the tests ran; record again")
    subprocess.run(
        [sys.executable, "-m", "coverage", "combine", "-q", f"--rcfile={settings}"],
        cwd=partial,
        env={**os.environ, "PYTEST_CURRENT_TEST": ""},
        check=True,
    )
    seconds = json.loads((partial / "durations.json").read_text())
    of_tests = sorted({test.split("::")[0] for test in seconds})
    state = {"seconds": seconds, "files": {**before, **digests(root, of_tests)}}
    (partial / "tests.json").write_text(json.dumps(state))
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


def pytest_runtest_setup(item: pytest.Item) -> None:
    _switch(f"{item.nodeid} (setup)")


def pytest_runtest_call(item: pytest.Item) -> None:
    _switch(f"{item.nodeid} (call)")


def pytest_runtest_teardown(item: pytest.Item) -> None:
    _switch(f"{item.nodeid} (teardown)")


def _switch(context: str) -> None:
    running = Coverage.current()
    assert running is not None, "coverage.py did not start with this process; is its .pth file installed?"
    running.switch_context(context)


_seconds: dict[str, float] = {}


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration


def pytest_sessionfinish(session: pytest.Session) -> None:
    if DURATIONS in os.environ and "PYTEST_XDIST_WORKER" not in os.environ:
        Path(os.environ[DURATIONS]).write_text(json.dumps(_seconds))
