"""Tests of tables as CSV and LaTeX: of the numbers in them, and of texts with special characters."""

import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

import auxar
from auxar.cli import main
from auxar.errors import UserError, printable
from auxar.evaluation.stored import read_evaluation
from auxar.report.table_files import csv_text, file_name, latex_text
from auxar.report.tables import Annotated, Column, FactorName, Measured, Row, RunName, Table

NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


def written_tables(runs: Sequence[object], folder: Path, **options: bool) -> list[Path]:
    """Writes the tables of runs. Returns the paths of the files."""
    auxar.compare(runs, tables=folder, **options)  # type: ignore[arg-type]
    return sorted(folder.iterdir())


def records(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_the_tables_of_a_report_have_its_numbers(finished, tmp_path):
    written = written_tables([finished], tmp_path / "out")
    evaluation = read_evaluation(finished / "evaluation.safetensors")
    rows = records((tmp_path / "out" / "bits-dim-by-factor.csv").read_text())
    assert [row["factor"] for row in rows] == [*(each.factor for each in evaluation.factors), "total"]
    for row, factor in zip(rows, evaluation.factors, strict=False):
        bits = evaluation.bits_per_dim("heldout", factor.factor)
        assert float(row["held-out: own size"]) == bits.value
        assert float(row["held-out: own size standard error"]) == bits.error
        assert int(row["parameters"]) == factor.parameters
        assert row["kind"] == factor.kind
    assert float(rows[-1]["held-out: share"]) == evaluation.bits_per_dim().value
    shown = f"{evaluation.bits_per_dim().value:.3f}"
    assert shown in (tmp_path / "out" / "bits-dim-by-factor.tex").read_text()
    assert {path.suffix for path in written} == {".csv", ".tex"}
    assert main(["-q", "compare", str(finished), "--tables", str(tmp_path / "cli")]) == 0
    assert [path.name for path in sorted((tmp_path / "cli").iterdir())] == [path.name for path in written]
    for path in written:
        assert (tmp_path / "cli" / path.name).read_bytes() == path.read_bytes()


def test_existing_files_stay_unless_they_are_to_be_replaced(finished, tmp_path):
    (tmp_path / "by-resolution.csv").write_text("mine")
    with pytest.raises(UserError, match=r"by-resolution\.csv exists; files are replaced only with --replace"):
        written_tables([finished], tmp_path)
    with pytest.raises(UserError, match=r"by-resolution\.csv cannot be written: it is not a comparison page"):
        auxar.compare([finished], tables=tmp_path, out=tmp_path / "by-resolution.csv", replace=True)
    assert [path.name for path in tmp_path.iterdir()] == ["by-resolution.csv"]
    written_tables([finished], tmp_path, replace=True)
    assert (tmp_path / "by-resolution.csv").read_text() != "mine"


def table(rows: list[Row], *columns: Column) -> Table:
    return Table("By factor, always", "what it is", [Column("factor", left=True), *columns], rows)


def test_csv_has_errors_and_kinds_in_columns_of_their_own():
    rows = [
        Row((FactorName("stage0", 0, 2), Measured(1.25, 0.5, "bound"), "1,234", Annotated("7", "best of 9"))),
        Row((FactorName("prior", 1, 2), Measured(), "–", Annotated("8", ""))),
    ]
    found = table(rows, Column("bits", over="held-out"), Column("parameters"), Column("steps"))
    assert file_name(found) == "by-factor"
    assert csv_text(found).splitlines() == [
        "factor,held-out: bits,held-out: bits standard error,held-out: bits kind,parameters,steps,steps note",
        "stage0,1.25,0.5,bound,1234,7,best of 9",
        "prior,,,,,8,",
    ]


@given(st.lists(st.tuples(st.text(), NUMBERS, NUMBERS), min_size=1, max_size=4))
def test_csv_gives_all_texts_and_numbers_back(values):
    rows = [
        Row((name, Measured(value, error)), RunName(number, name)) for number, (name, value, error) in enumerate(values)
    ]
    found = records(csv_text(table(rows, Column("bits"))))
    assert [(float(row["bits"]), float(row["bits standard error"])) for row in found] == [each[1:] for each in values]
    assert [row["factor"] for row in found] == [printable(name, but="") for name, _, _ in values]
    assert [row["run"] for row in found] == [str(number) for number in range(len(values))]


# Backslashes before a sign, `$` in pairs, and commands are all that LaTeX may read as more than text.
PLAIN = re.compile(r"(?:\\[&%$#_{}]|\\text[a-z]+\{\}|\$(?:[<>-]|\\[a-z]+)\$|[^\\&%$#_{}~^|<>])*")


@given(st.text())
def test_texts_are_escaped_in_latex(name):
    rows = [Row((name, Measured(1.0)), RunName(1, name))]
    cells = latex_text(table(rows, Column("bits"))).split(r"\midrule")[1].split(r"\bottomrule")[0]
    run, factor, bits = cells.strip().removesuffix(r"\\").strip().split(" & ")
    assert PLAIN.fullmatch(run), run
    assert PLAIN.fullmatch(factor), factor
    assert bits == "$1.000$"


@pytest.fixture(scope="module")
def written(finished, tmp_path_factory) -> list[Path]:
    """The files of the tables of one run, and of two."""
    folder = tmp_path_factory.mktemp("written")
    return [*written_tables([finished], folder / "one"), *written_tables([finished, finished], folder / "two")]


def test_latex_has_as_many_cells_in_each_row_as_columns(written):
    for path in written:
        if path.suffix == ".tex":
            text = path.read_text()
            columns = re.search(r"\\begin\{tabular\}\{([lr]+)\}", text)
            assert columns is not None
            for line in text.splitlines():
                if line.endswith(r" \\"):
                    spanned = sum(int(count) - 1 for count in re.findall(r"\\multicolumn\{(\d+)\}", line))
                    assert len(re.findall(r"(?<!\\)&", line)) + 1 + spanned == len(columns[1]), line


def test_bounds_are_marked_in_latex():
    bound = Measured(1.25, 0.5, "bound", signed=True)
    rows = [Row(("a", bound)), Row(("b", attrs.evolve(bound, kind="exact")))]
    text = latex_text(table(rows, Column("bits")))
    assert r"a & $\leq +1.250 \pm 0.500$ \\" in text
    assert r"b & $+1.250 \pm 0.500$ \\" in text


def test_headings_of_groups_span_their_columns_in_latex():
    columns = Column("own"), Column("one", over="both"), Column("two", over="both")
    lines = [line.strip() for line in latex_text(table([Row(("a", "1", "2", "3"))], *columns)).splitlines()]
    first = next(number for number, line in enumerate(lines) if "multicolumn" in line)
    assert lines[first : first + 3] == [
        r"&  & \multicolumn{2}{c}{both} \\",
        r"\cmidrule(lr){3-4}",
        r"factor & own & one & two \\",
    ]
