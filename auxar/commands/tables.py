"""The command `tables`: writes the tables of evaluated runs as CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from auxar.arguments import as_path, as_paths, check_flag
from auxar.errors import UserError
from auxar.evaluation.comparison import compare_runs
from auxar.evaluation.evaluated_run import read_evaluated_run
from auxar.files import check_output, kind, write_text
from auxar.model import FLOAT
from auxar.plugins import load_plugins
from auxar.report.comparison_tables import comparison_tables
from auxar.report.evaluation_tables import report_tables
from auxar.report.table_files import csv_text, file_name, latex_text
from auxar.runs.arithmetic import check_arithmetic


def tables(
    paths: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    arithmetic: str = FLOAT,
    replace: bool = False,
) -> list[Path]:
    """Writes the tables of evaluated runs into the folder `out`, each as CSV and as LaTeX. Returns the files' paths.

    `paths` are folders of runs, or names of models that come trained. One run gives the tables of its report, and
    several runs give the tables of `compare`. With `arithmetic="integer"`, the evaluations in integers are read. CSV
    has all digits; LaTeX is rounded and needs the package booktabs. Existing files are replaced only if `replace` is
    True.

    Raises `UserError` if `paths` is empty or is a single path instead of a list, if a run is not evaluated in this
    arithmetic, if the images of the runs differ in shape or levels, or if a file exists.

    Examples:
        >>> import auxar
        >>> [path.name for path in auxar.tables(["runs/quickstart"], "tables")][:2]
        ['bits-dim-by-factor.csv', 'bits-dim-by-factor.tex']
    """
    runs, folder = as_paths(paths, "paths"), as_path(out, "out")
    check_flag(replace, "replace")
    if not runs:
        raise UserError("paths: expected at least one run, got none")
    check_arithmetic(load_plugins(), arithmetic)
    if len(runs) == 1:
        found = report_tables(read_evaluated_run(runs[0], arithmetic).evaluation)
    else:
        found = comparison_tables(compare_runs(runs, arithmetic))
    texts = {folder / f"{file_name(table)}.csv": csv_text(table) for table in found}
    texts |= {folder / f"{file_name(table)}.tex": latex_text(table) for table in found}
    for path in texts:
        if not replace and kind(path) is not None:
            raise UserError(f"{path} exists; files are replaced only with --replace")
        check_output(path)
    for path, text in texts.items():
        write_text(path, text)
    return sorted(texts)
