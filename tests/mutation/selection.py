"""Selects the tests that can notice a mutant: the tests that run the lines that it changes."""

from __future__ import annotations

import functools
import json
import re
import sys
from pathlib import Path

from coverage import CoverageData
from mutants import Mutant
from recording import digests

PHASE = re.compile(r" \((setup|call|teardown)\)$")
NOT_TRACED = {
    "plugins/auxar_samplers/engines/native/": "plugins/auxar_samplers/engines/native/engine.py",
}
"""Folders of files in other languages, whose lines are not traced. Instead of tests of a line, the tests that run the
named Python file are selected."""


class Selection:
    """The tests of every line, and how long they take, from the recordings in a folder.

    Of several recordings of a test file, the latest counts.
    """

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        self.seconds: dict[str, float] = {}
        self._of_file: dict[str, set[str]] = {}
        self._recordings: list[tuple[CoverageData, set[str], dict[str, str]]] = []
        for recording in sorted(folder.glob("recording-[0-9]*"), reverse=True):
            state = json.loads((recording / "tests.json").read_text())
            mine = {test.split("::")[0] for test in state["seconds"]} - self._of_file.keys()
            mine = {file for file in mine if (root / file).exists()}
            self._recordings.append((CoverageData(str(recording / "coverage")), mine, state["files"]))
            for test, seconds in state["seconds"].items():
                if test.split("::")[0] in mine:
                    self.seconds[test] = seconds
                    self._of_file.setdefault(test.split("::")[0], set()).add(test)
            if stale := changed(root, {file: state["files"][file] for file in mine}):
                sys.exit(f"these tests changed since they were recorded: --record {' '.join(stale)}")
        if not self._recordings:
            sys.exit("no recording yet: run with --record first")

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that run a line of the mutant. The list is empty if no test runs it.

        Tests in the folder that mirrors the mutant's come first, then the fastest.
        """
        lines = self._lines(mutant.file)
        if not lines:
            stand_ins = [file for folder, file in NOT_TRACED.items() if mutant.file.startswith(folder)]
            found = set().union(*(tests for file in stand_ins for tests in self._lines(file).values()))
        else:
            found = set().union(*(lines.get(line, ()) for line in range(mutant.line, mutant.last + 1)))
            if "" in found:  # Lines that run at the import have an effect in whatever uses the file.
                found = found.union(*lines.values())
        mirrored = mutant.file.removeprefix("auxar/").rsplit("/", 1)[0].split("/engines")[0]
        return sorted(
            found & self.seconds.keys(), key=lambda test: (f"/{mirrored}/" not in test, self.seconds[test], test)
        )

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def _lines(self, file: str) -> dict[int, set[str]]:
        """The tests of each line of a file. The empty name stands for the import of the file.

        A test that ran a line in its setup is replaced by all tests of its file, because fixtures are shared.
        """
        found: dict[int, set[str]] = {}
        for data, mine, files in self._recordings:
            if mine and files.get(file) != digests(self.root, [file]).get(file):
                sys.exit(f"{file} changed since the tests were recorded: record all of them again")
            data.read()
            names: dict[str, set[str]] = {}
            for line, contexts in data.contexts_by_lineno(str(self.root / file)).items():
                tests = found.setdefault(line, set())
                for context in contexts:
                    if context not in names:
                        names[context] = self._named(context, mine)
                    tests |= names[context]
        return found

    def _named(self, context: str, mine: set[str]) -> set[str]:
        test = PHASE.sub("", context)
        file = test.split("::")[0]
        if not test:
            return {""}
        if file not in mine:
            return set()
        return self._of_file[file] if context.endswith("(setup)") else {test}


def changed(root: Path, recorded: dict[str, str]) -> list[str]:
    """The paths of the files whose checksum is no longer the recorded one."""
    now = digests(root, recorded)
    return sorted(file for file in recorded if now.get(file) != recorded[file])
