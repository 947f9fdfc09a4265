"""Runs the selected tests on a copy of the repository that has one mistake in it."""

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import attrs
import pytest
from mutants import Mutant

COPIED = ("auxar", "plugins", "recipes", "docs", "tests")
"""The folders of the repository that tests need; the files beside them are copied too."""
MOST_DATA = 10 * 2**30
"""Bytes that a test process may allocate, because a mistake may ask for any amount of memory."""
SELECTED, FAILED, OUTPUT = "selected-tests", "failed-test", "output-of-tests"
"""Files in the copy: the names of the tests to be run, the name of the test that failed, and pytest's output."""
LONGEST = 30.0
"""Seconds that a test may take beyond four times the usual duration of the longest."""


class Watcher:
    """A pytest plugin that notes the first failure in a file.

    It also keeps the order of the tests within each file of tests, since some change a fixture that they share.
    """

    def __init__(self, noted: Path) -> None:
        self.noted = noted

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        files = list(dict.fromkeys(item.path for item in items))
        items.sort(key=lambda item: (files.index(item.path), item.location[1] or 0))

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.noted.write_text(report.nodeid)


@attrs.frozen
class Outcome:
    """The outcome of one trial."""

    kind: str
    """`caught`, `survived`, `endless` (stopped after a time limit, so it counts as caught) or `untested`."""
    by: str
    """The test that failed. Empty if none did, or if tests could not be imported."""


def copy_tree(root: Path, copy: Path) -> None:
    """Makes a fresh copy of the repository's tracked files."""
    shutil.rmtree(copy, ignore_errors=True)
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listing.split("\0")):
        if (root / name).is_file() and (name.split("/")[0] in COPIED or "/" not in name):
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, copy / name)


def attempt(mutant: Mutant, tests: Mapping[str, float], copy: Path) -> Outcome:
    """Puts the mutant into the copy, runs the tests until one fails, and restores the file.

    `tests` has the usual duration of each test in seconds. A failure counts if the test fails again when it runs alone,
    so a failure by chance does not.
    """
    left = dict(tests)
    outcome, by = "untested", ""
    file = copy / mutant.file
    source = file.read_bytes()
    temporary = tempfile.mkdtemp(prefix="m")  # A long path would be wider than the lines that some tests expect.
    try:
        file.write_bytes(mutant.applied(source))
        while left:
            outcome, by = _run(copy, left, temporary)
            if by not in left or _run(copy, {by: left[by]}, temporary)[0] != "survived":
                break
            del left[by]
            outcome, by = "survived", ""
    finally:
        file.write_bytes(source)
        # A compiled engine stays for the next trials, unless the mistake may be in it.
        shutil.rmtree(temporary, ignore_errors=True)
        for folder in ("home", *(["cache"] if mutant.file.endswith((".cpp", ".h")) else [])):
            shutil.rmtree(copy.parent / folder, ignore_errors=True)
    return Outcome(outcome, by)


def _run(copy: Path, tests: Mapping[str, float], temporary: str) -> tuple[str, str]:
    """Runs tests until one fails. Returns `caught`, `survived` or `endless`, and the name of the test that failed.

    A process is forked, because a new one would take longer to import PyTorch than most tests run.
    """
    (copy / SELECTED).write_text("".join(f"{test}\n" for test in tests))
    (copy / FAILED).write_text("")
    longest = LONGEST + 4 * max(tests.values())
    child = os.fork()
    if child == 0:
        _run_tests(copy, longest, temporary)
    status = _wait(child, longest + 4 * sum(tests.values()))
    if status is None or "Timeout (" in (copy / OUTPUT).read_text(errors="replace"):
        return "endless", ""
    return ("survived", "") if status == 0 else ("caught", (copy / FAILED).read_text())


def _run_tests(copy: Path, longest: float, temporary: str) -> None:
    """Runs pytest in a forked process, which ends with pytest's exit status."""
    status = 1
    try:
        os.setsid()
        with (copy / OUTPUT).open("w") as output:
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_DATA, (MOST_DATA, MOST_DATA))
        os.chdir(copy)
        # The processes that tests start import the copy too, because they find it before an installed auxar.
        os.environ["PYTHONPATH"] = os.pathsep.join((str(copy), str(copy / "plugins")))
        sys.path[0:1] = [str(copy), str(copy / "plugins")]  # in place of the folder of this script
        os.environ["TMPDIR"] = temporary
        for variable, folder in (("HOME", "home"), ("XDG_CACHE_HOME", "cache")):
            os.environ[variable] = str(copy.parent / folder)
            (copy.parent / folder).mkdir(exist_ok=True)
        tempfile.tempdir = None
        sys.dont_write_bytecode = True  # A cached file of the unchanged source could have the same time and size.
        os.environ["PYTHONDONTWRITEBYTECODE"] = "1"
        options = ["-x", "-q", "--tb=short", "-p", "no:cacheprovider", "--hypothesis-seed=0"]
        limit = ["-o", f"faulthandler_timeout={longest:.0f}", "-o", "faulthandler_exit_on_timeout=true"]
        status = int(pytest.main([*options, *limit, f"@{SELECTED}"], [Watcher(copy / FAILED)]))
    except BaseException as error:
        print(f"ERROR outside of tests - {type(error).__name__}: {error}", flush=True)
    finally:
        sys.stdout.flush()
        os._exit(status)


def _wait(child: int, limit: float) -> int | None:
    """Waits for a process, and returns its status. Returns None after `limit` seconds; the process is killed then."""
    end = time.monotonic() + limit
    try:
        while time.monotonic() < end:
            pid, status = os.waitpid(child, os.WNOHANG)
            if pid:
                child = 0
                return status
            time.sleep(0.05)
        return None
    finally:
        if child:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
