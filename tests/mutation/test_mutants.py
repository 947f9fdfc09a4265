"""Tests of the mutants that `mutate.py` draws: their places, their names, and the tests that are selected for them."""

import ast
import json

import mutate
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


def test_mutants_of_python():
    changes = {(m.kind, m.before, m.after) for m in python_mutants("size.py", PYTHON.encode())}
    assert changes == {
        ("constant", "3", "4"),
        ("constant", "3", "2"),
        ("condition", "rows < columns and not rows", "(not (rows < columns and not rows))"),
        ("condition", "and", "or"),
        ("comparison", "<", "<="),
        ("operator", "not rows", "(rows)"),
        ("statement left out", 'raise UserError(f"{rows} rows", 4)', "pass"),
        ("statement left out", 'table["width"] = grid[:, rows] - 1', "pass"),
        ("key", '"width"', "'widthx'"),
        ("axes", ":, rows", "rows, :"),
        ("operator", "-", "+"),
        ("constant", "1", "2"),
        ("constant", "1", "0"),
        ("statement left out", "table.sort(rows, columns, reverse=True)", "pass"),
        ("arguments", "rows, columns", "columns, rows"),
        ("argument left out", "reverse=True", ""),
        ("constant", "True", "False"),
        ("condition", "columns", "(not (columns))"),
    }


def test_mutants_of_cpp():
    changes = {(m.kind, m.before, m.after) for m in cpp_mutants("size.cpp", CPP.encode())}
    assert changes == {
        ("comparison", "<", "<="),
        ("operator", "+=", "-="),
        ("operator", "*", "/"),
        ("condition", "&&", "||"),
        ("constant", "2", "3"),
        ("constant", "3", "4"),
        ("constant", "1.5", "3.0"),
        ("constant", "0.5", "1.0"),
        ("statement left out", "width += rows * 2", ""),
    }


def test_a_mutant_changes_its_place_alone():
    source = PYTHON.encode()
    for mutant in python_mutants("size.py", source):
        changed = mutant.applied(source)
        assert changed[: mutant.start] == source[: mutant.start]
        assert changed.endswith(source[mutant.end :])
        assert ast.dump(ast.parse(changed)) != ast.dump(ast.parse(source))


def test_names_of_mutants_outlive_changes_of_other_lines():
    source, longer = b"a = b + c\na = b + c\n", b"first = 0\na = b + c\nd = 4\na = b + c\n"
    before = identities(python_mutants("size.py", source), source)
    after = identities(python_mutants("size.py", longer), longer)
    assert len(before) == 2
    assert before.keys() <= after.keys()
    assert [after[name].line for name in before] == [2, 4]


@pytest.fixture
def recorded(tmp_path):
    """A repository with the recordings of two test files, of which the second was recorded twice."""
    (tmp_path / "auxar").mkdir()
    (tmp_path / "tests").mkdir()
    for file in ("auxar/size.py", "tests/test_a.py", "tests/test_b.py"):
        (tmp_path / file).write_text(f"# {file}\n\n\n\nvalues = [\n    1,\n]\n")
    a, b = "tests/test_a.py::test_1", "tests/test_b.py::test"
    seconds = {a: 2.0, "tests/test_a.py::test_2": 1.0, b: 0.1}
    add(tmp_path, seconds, {"fixture tests/test_a.py::shared": [2], b: [3], "": [1]})
    add(tmp_path, {b: 0.5}, {b: [4, 5]})
    return tmp_path


def add(root, seconds, contexts):
    folder = root / "recordings" / f"recording-{len(list(root.glob('recordings/*'))):03}"
    folder.mkdir(parents=True)
    data = CoverageData(str(folder / "coverage"))
    for context, lines in contexts.items():
        data.set_context(context)
        data.add_lines({str(root / "auxar/size.py"): lines})
    data.write()
    files = digests(root, ["auxar/size.py", "tests/test_a.py", "tests/test_b.py"])
    fixtures = {test: ["shared"] for test in seconds}
    (folder / "tests.json").write_text(json.dumps({"seconds": seconds, "fixtures": fixtures, "files": files}))


def selected(root, line):
    mutant = Mutant("auxar/size.py", line, line, "constant", 0, 1, "1", "2")
    return Selection(root, root / "recordings").tests(mutant)


def test_selected_tests_ran_the_line(recorded):
    assert selected(recorded, 4) == ["tests/test_b.py::test"]
    assert selected(recorded, 3) == []  # The later recording of this test counts.


def test_lines_of_a_statement_are_one(recorded):
    assert selected(recorded, 6) == ["tests/test_b.py::test"]


def test_lines_of_a_fixture_select_all_tests_that_use_it(recorded):
    assert selected(recorded, 2) == ["tests/test_a.py::test_2", "tests/test_a.py::test_1"]  # the fastest first


def test_lines_of_the_import_select_all_tests_of_the_module(recorded):
    assert set(selected(recorded, 1)) == {
        f"tests/test_{name}" for name in ("a.py::test_1", "a.py::test_2", "b.py::test")
    }


def test_tests_that_did_not_notice_a_mutant_are_not_repeated(recorded, monkeypatch):
    monkeypatch.setattr(mutate, "ROOT", recorded)
    mutant = Mutant("auxar/size.py", 2, 2, "constant", 0, 1, "1", "2")
    selection = Selection(recorded, recorded / "recordings")
    code, test = (digests(recorded, [file])[file] for file in ("auxar/size.py", "tests/test_a.py"))
    tests = selection.tests(mutant)

    def left(outcome, code=code, checksum=test):
        tried = {tests[0]: checksum}
        return mutate.remaining(mutant, mutate.Entry("name", mutant, outcome, "", "", 1.0, code, tried), selection)

    assert left("survived") == tests[1:]
    assert left("survived", checksum="before") == tests
    assert left("survived", code="before") == tests
    assert left("caught") == []


@pytest.mark.parametrize(("file", "message"), [("auxar/size.py", "record all"), ("tests/test_a.py", "--record tests/")])
def test_recordings_of_other_code_are_refused(recorded, file, message):
    (recorded / file).write_text("# changed\n")
    with pytest.raises(SystemExit, match=message):
        selected(recorded, 4)
