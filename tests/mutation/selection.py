"""Selects the tests that can notice a mutant: the tests that run the lines that it changes."""

from __future__ import annotations

import ast
import functools
import json
import sys
from pathlib import Path

from coverage import CoverageData
from mutants import Mutant
from recording import FIXTURE, digests

NOT_TRACED = {
    "plugins/auxar_samplers/engines/native/": "plugins/auxar_samplers/engines/native/engine.py",
    "plugins/auxar_heads/": "plugins/auxar_samplers/engines/native/engine.py",
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
        self._fixtures: dict[str, list[str]] = {}
        self._recordings: list[tuple[CoverageData, set[str], dict[str, str]]] = []
        later: set[str] = set()
        for recording in sorted(folder.glob("recording-[0-9]*"), reverse=True):
            state = json.loads((recording / "tests.json").read_text())
            mine = {test.split("::")[0] for test in state["seconds"]}
            mine = {file for file in mine - later if (root / file).exists()}
            later |= mine
            self._recordings.append((CoverageData(str(recording / "coverage")), mine, state["files"]))
            for test, seconds in state["seconds"].items():
                if test.split("::")[0] in mine:
                    self.seconds[test] = seconds
                    self._fixtures[test] = state["fixtures"].get(test, [])
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
            found = set().union(*(lines.get(line, ()) for line in self._statement(mutant)))
            # Definitions run at the import and have an effect in whatever uses the file. The lines of a function run at
            # the import too if they make the cases of tests, but their effect is seen where tests run them.
            if "" in found and (len(found) == 1 or self._is_definition(mutant)):
                found = found.union(*lines.values())
        mirrored = mutant.file.removeprefix("auxar/").rsplit("/", 1)[0].split("/engines")[0]
        return sorted(
            found & self.seconds.keys(), key=lambda test: (f"/{mirrored}/" not in test, self.seconds[test], test)
        )

    def duration(self, mutant: Mutant) -> float:
        """The seconds that the selected tests take together."""
        return sum(self.seconds[test] for test in self.tests(mutant))

    def _statement(self, mutant: Mutant) -> range:
        """The lines of the statement that the mutant changes, without the statements in it.

        The mutant's own lines are not enough, because a constant or an argument on a line of its own is not traced.
        """
        found = range(mutant.line, mutant.last + 1)
        for node in ast.walk(ast.parse((self.root / mutant.file).read_bytes())):
            if isinstance(node, ast.stmt) and node.lineno <= mutant.line and mutant.last <= (node.end_lineno or 0):
                inner = [child.lineno for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
                end = min(inner) - 1 if inner else node.end_lineno or 0
                if mutant.last <= end:
                    found = range(node.lineno, end + 1)
        return found

    def _is_definition(self, mutant: Mutant) -> bool:
        """Whether the mutant is outside of the bodies of functions."""
        functions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
        for node in ast.walk(ast.parse((self.root / mutant.file).read_bytes())):
            if isinstance(node, functions):
                body = node.body if isinstance(node.body, ast.expr) else node.body[0]
                if body.lineno <= mutant.line and mutant.last <= (node.end_lineno or 0):
                    return False
        return True

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def _lines(self, file: str) -> dict[int, set[str]]:
        """The tests of each line of a file, which include all tests that use a fixture that runs it.

        The empty name stands for the import of the file.
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
        if context.startswith(FIXTURE):
            place, name = context.removeprefix(FIXTURE).rsplit("::", 1)
            tests = {test for test in self.seconds if name in self._fixtures[test] and test.startswith(place)}
        else:
            tests = {context}
        return {test for test in tests if not test or test.split("::")[0] in mine}


def changed(root: Path, recorded: dict[str, str]) -> list[str]:
    """The paths of the files whose checksum is no longer the recorded one."""
    now = digests(root, recorded)
    return sorted(file for file in recorded if now.get(file) != recorded[file])
