"""Tests that a table shows the same numbers in the terminal and on the page, with any cells."""

import re
from typing import Any

import pytest
from helpers.html_page import HOSTILE, Page
from hypothesis import given
from hypothesis import strategies as st

from auxar.report import words
from auxar.report.html import TEMPLATES
from auxar.report.tables import Annotated, Column, FactorName, Measured, Row, RunName, Table
from auxar.report.text import WIDTH, table_lines

NAME = Column("factor", left=True)
PARTS: Any = TEMPLATES.get_template("parts.html").module


def table(rows: list[Row], *columns: Column) -> Table:
    return Table("A title", "what it is", [NAME, *columns], rows)


def text_of(content: Table, digits: int = words.DIGITS) -> str:
    return Page(PARTS.table(content, digits)).text


def test_screen_and_page_show_the_same():
    rows = [
        Row((FactorName("stage0", 0, 2), "bound", Measured(1.23456, 0.01234), Measured(0.5, None, "exact"))),
        Row((FactorName("prior", 1, 2), "exact", Measured(), Measured(-10.0, 0.5, digits=1))),
        Row((words.TOTAL, "bound", "", Measured(0.25, 0.125, signed=True)), total=True),
    ]
    content = table(rows, Column("kind", left=True), Column(words.OWN_SIZE), Column(words.SHARE, screen="of 8×8×3"))
    assert table_lines(content) == [
        "A title: what it is",
        "factor  kind          own size          of 8×8×3",
        "stage0  bound  1.2346 ± 0.0123      0.5000 exact",
        "prior   exact                –       -10.0 ± 0.5",
        "total   bound                   +0.2500 ± 0.1250",
    ]
    assert text_of(content, digits=3) == (
        "factorkindown sizeshare"
        "p(X0 | X1) stage0bound1.235 ± 0.0120.500 exact"
        "p(X1) priorexact–-10.0 ± 0.5"
        "totalbound+0.250 ± 0.125"
    )
    assert Page(PARTS.notes(content)).text == "What it is."


def test_headings_stand_above_neighboring_columns():
    columns = [Column(name, over=over) for over in ("held-out", "training") for name in ("own", "share")]
    page = Page(PARTS.table(table([Row("abcdef")], *columns, Column("steps")), 3))
    assert page.text == "factorheld-outtrainingstepsownshareownshareabcdef"
    assert [each.get("colspan") for each in page.all("th")][:4] == [None, "2", "2", None]
    assert [each.get("rowspan") for each in page.all("th")][:4] == ["2", None, None, "2"]


@pytest.mark.parametrize("count", [1, 5, 6, 12, 40])
def test_a_wide_table_continues_below(count):
    columns = [Column(f"channel {number}") for number in range(count)]
    rows = [
        Row(("stage0", *(Measured(number, 0.5) for number in range(count)))),
        Row((words.TOTAL, Measured(3.0), *[""] * (count - 1)), total=True),
    ]
    lines = table_lines(table(rows, *columns))
    assert max(map(len, lines)) <= WIDTH
    found = re.findall(r"channel \d+", "\n".join(lines))
    assert found == [column.name for column in columns]
    # Each part of a split table leaves out a last row without content.
    assert len([line for line in lines if line.startswith("total")]) == 1
    assert len([line for line in lines if line.startswith("stage0")]) == -(-count // 5)


@pytest.mark.parametrize(("longer", "parts"), [(0, 1), (1, 2)])
def test_lines_may_have_the_whole_width(longer, parts):
    columns = Column("x" * 44), Column("y" * (WIDTH - len("factor") - 44 - 4 + longer))
    lines = table_lines(table([Row(("stage0", "1", "2"))], *columns))
    assert len([line for line in lines if line.startswith("stage0")]) == parts
    assert (max(map(len, lines)) == WIDTH) == (parts == 1)


CELLS = st.one_of(
    st.text(),
    st.builds(Measured, st.none() | st.floats(), st.none() | st.floats(), st.sampled_from([None, "bound", "exact"])),
    st.builds(Annotated, st.text(), st.text()),
    st.builds(FactorName, st.text(), st.integers(0, 3), st.integers(1, 4)),
    st.builds(RunName, st.integers(), st.text()),
)


@given(st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=4), st.text(min_size=1), st.none() | st.text())
def test_any_cell_can_be_drawn(rows, heading, screen):
    content = table([Row(cells) for cells in rows], Column(heading, screen), Column("b", left=True))
    for line in table_lines(content):
        assert line.isprintable()
    page = Page(PARTS.table(content, 3))
    drawn = ("div", "table", "thead", "tbody", "tr", "th", "td", "small", "span", "i", "sub")
    assert {name for name, _ in page.elements} <= set(drawn)


def test_cells_are_cut_and_escaped():
    line = table_lines(table([Row(("x" * 1000, "\x1b[2J"))], Column("a")))[-1]
    assert len(line) < 80
    assert r"\x1b[2J" in line
    page = Page(PARTS.table(table([Row((HOSTILE, FactorName(HOSTILE, 0, 1)))], Column(HOSTILE)), 3))
    assert page.text.count(HOSTILE) == 3
    assert not page.all("script")
