"""Tests of the mutants that `mutate.py` draws: their places, their names, and the tests that are selected for them."""

import json

import pytest
from coverage import CoverageData
from cpp_mutants import cpp_mutants
from mutants import Mutant, identities
from python_mutants import python_mutants
from recording import digests
from selection import Selection

PYTHON = '''
"""Docstrings are left alone, 1 < 2."""
import os, sys


def size(rows: int, columns: int = 3) -> int:
    if rows < columns and not rows:
        raise UserError(f"{rows} rows", 4)
    table["width"] = grid[:, rows] - 1
    table.sort(rows, columns, reverse=True)
    return rows if columns else "some words"
'''
CPP = """#include "size.h"
// a comment, 1 < 2
int size(int rows) {
    width += rows * 2;
    return rows < 3 && width ? 1.5f : 0.5f;
}
"""


def changes(mutants):
    """The changes of mutants by their kind."""
    return {kind: {(m.before, m.after) for m in mutants if m.kind == kind} for kind in {m.kind for m in mutants}}


def test_mutants_of_python():
    assert changes(python_mutants("size.py", PYTHON.encode())) == {
        "constant": {("3", "4"), ("3", "2"), ("1", "2"), ("1", "0"), ("True", "False")},
        "condition": {
            ("rows < columns and not rows", "(not (rows < columns and not rows))"),
            ("and", "or"),
            ("columns", "(not (columns))"),
        },
        "comparison": {("<", "<=")},
        "operator": {("not rows", "(rows)"), ("-", "+")},
        "key": {('"width"', "'widthx'")},
        "axes": {(":, rows", "rows, :")},
        "arguments": {("rows, columns", "columns, rows")},
        "argument left out": {("reverse=True", "")},
        "statement left out": {
            (text, "pass")
            for text in (line.strip() for line in PYTHON.splitlines())
            if text.startswith(("raise", "table"))
        },
    }


def test_mutants_of_cpp():
    assert changes(list(cpp_mutants("size.cpp", CPP.encode()))) == {
        "comparison": {("<", "<=")},
        "operator": {("+=", "-="), ("*", "/")},
        "condition": {("&&", "||")},
        "constant": {("2", "3"), ("3", "4"), ("1.5", "3.0"), ("0.5", "1.0")},
        "statement left out": {("width += rows * 2", "")},
    }


def test_names_of_mutants_outlive_changes_of_other_lines():
    source, longer = b"a = b + c\na = b + c\n", b"first = 0\na = b + c\nd = 4\na = b + c\n"
    before = identities(python_mutants("size.py", source), source)
    after = identities(python_mutants("size.py", longer), longer)
    assert len(before) == 2
    assert before.keys() <= after.keys()
    assert [after[name].line for name in before] == [2, 4]


@pytest.fixture
def recorded(tmp_path):
    """A repository with a recording of two test files."""
    (tmp_path / "auxar").mkdir()
    (tmp_path / "tests").mkdir()
    for file in ("auxar/size.py", "tests/test_a.py", "tests/test_b.py"):
        (tmp_path / file).write_text(f"# {file}\n\n\n\nvalues = [\n    1,\n]\n")
    a, b = "tests/test_a.py::test_1", "tests/test_b.py::test"
    seconds = {a: 2.0, "tests/test_a.py::test_2": 1.0, b: 0.1}
    folder = tmp_path / "recording"
    folder.mkdir()
    data = CoverageData(str(folder / "coverage"))
    for context, lines in {"fixture tests/test_a.py::shared": [2], b: [4, 5], "": [1]}.items():
        data.set_context(context)
        data.add_lines({str(tmp_path / "auxar/size.py"): lines})
    data.write()
    files = digests(tmp_path, ["auxar/size.py", "tests/test_a.py", "tests/test_b.py"])
    fixtures = {test: ["shared"] for test in seconds if "test_a" in test}
    (folder / "tests.json").write_text(json.dumps({"seconds": seconds, "fixtures": fixtures, "files": files}))
    return tmp_path


def selected(root, line):
    mutant = Mutant("auxar/size.py", line, line, "constant", 0, 1, "1", "2")
    return [test.removeprefix("tests/test_") for test in Selection(root, root).tests(mutant)]


def test_selected_tests_ran_the_statement_or_use_a_fixture_that_ran_it(recorded):
    """All tests of the module ran its import. The fastest come first."""
    found = {line: selected(recorded, line) for line in (1, 2, 3, 4, 6)}
    a, b = ["a.py::test_2", "a.py::test_1"], ["b.py::test"]
    assert found == {1: b + a, 2: a, 3: [], 4: b, 6: b}


@pytest.mark.parametrize("file", ["auxar/size.py", "tests/test_a.py"])
def test_recordings_of_other_code_are_refused(recorded, file):
    (recorded / file).write_text("# changed\n")
    with pytest.raises(SystemExit, match=f"these files changed since the tests were recorded: {file}"):
        selected(recorded, 4)
