"""Selects the tests that can notice a mutant: the tests that run the lines that it changes."""

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
    """The tests of every line, and how long they take, from the recording in a folder."""

    def __init__(self, root: Path, folder: Path) -> None:
        self.root = root
        if not (folder / "recording").exists():
            sys.exit("no recording yet: run with --record first")
        state = json.loads((folder / "recording" / "tests.json").read_text())
        self.seconds: dict[str, float] = state["seconds"]
        self._fixtures: dict[str, list[str]] = state["fixtures"]
        self._data = CoverageData(str(folder / "recording" / "coverage"))
        now = digests(root, state["files"])
        if stale := sorted(file for file in state["files"] if now.get(file) != state["files"][file]):
            sys.exit(f"these files changed since the tests were recorded: {' '.join(stale)}; record again")

    def tests(self, mutant: Mutant) -> list[str]:
        """The tests that run a line of the mutant. The list is empty if no test runs it.

        Tests in the folder that mirrors the mutant's come first, then the fastest.
        """
        lines = self._lines(mutant.file)
        if not lines:
            stand_ins = [file for folder, file in NOT_TRACED.items() if mutant.file.startswith(folder)]
            found = set().union(*(tests for file in stand_ins for tests in self._lines(file).values()))
        else:
            statement, is_definition = self._place(mutant)
            found = set().union(*(lines.get(line, ()) for line in statement))
            # Definitions run at the import and have an effect in whatever uses the file. The lines of a function run at
            # the import too if they make the cases of tests, but their effect is seen where tests run them.
            if "" in found and (len(found) == 1 or is_definition):
                found = found.union(*lines.values())
        mirrored = mutant.file.removeprefix("auxar/").rsplit("/", 1)[0].split("/engines")[0]
        return sorted(
            found & self.seconds.keys(), key=lambda test: (f"/{mirrored}/" not in test, self.seconds[test], test)
        )

    def duration(self, mutant: Mutant) -> float:
        """The seconds that the selected tests take together."""
        return sum(self.seconds[test] for test in self.tests(mutant))

    def _place(self, mutant: Mutant) -> tuple[range, bool]:
        """The lines of the statement that a mutant changes, and whether it is outside of the bodies of functions.

        The lines are without the statements in the statement. The mutant's own lines are not enough, because a constant
        or an argument on a line of its own is not traced.
        """
        found, is_definition = range(mutant.line, mutant.last + 1), True
        for node in ast.walk(ast.parse((self.root / mutant.file).read_bytes())):
            if not isinstance(node, ast.stmt | ast.Lambda) or node.lineno > mutant.line:
                continue
            last = node.end_lineno or 0
            end = min(
                (child.lineno - 1 for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)), default=last
            )
            if mutant.last <= last and isinstance(node, ast.FunctionDef | ast.Lambda):
                is_definition &= isinstance(node, ast.FunctionDef) and mutant.last <= end
            if mutant.last <= end and isinstance(node, ast.stmt):
                found = range(node.lineno, end + 1)
        return found, is_definition

    @functools.lru_cache(maxsize=8)  # noqa: B019
    def _lines(self, file: str) -> dict[int, set[str]]:
        """The tests of each line of a file, which include all tests that use a fixture that runs it.

        The empty name stands for the import of the file.
        """
        self._data.read()
        named = functools.cache(self._named)
        lines = self._data.contexts_by_lineno(str(self.root / file))
        return {line: set().union(*map(named, contexts)) for line, contexts in lines.items()}

    def _named(self, context: str) -> set[str]:
        """The tests of a context: the test itself, or all that use a fixture."""
        if not context.startswith(FIXTURE):
            return {context}
        place, name = context.removeprefix(FIXTURE).rsplit("::", 1)
        return {test for test in self.seconds if name in self._fixtures.get(test, []) and test.startswith(place)}
