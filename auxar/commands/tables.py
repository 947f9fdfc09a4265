"""The command `tables`: writes the tables of evaluated runs as CSV and LaTeX."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from pathlib import Path

from auxar.arguments import as_path, as_paths, check_flag
from auxar.commandline import Result, command
from auxar.errors import UserError, one_line


def _shown(written: list[Path]) -> Result:
    return Result([one_line(str(path)) for path in written], {"files": [str(path) for path in written]})


@command("Measure", show=_shown)
def tables(
    runs: Sequence[str | PathLike[str]],
    out: str | PathLike[str],
    *,
    arithmetic: str = "float",
    replace: bool = False,
) -> list[Path]:
    """Writes the tables of evaluated runs as CSV and LaTeX.

    One run gives the tables of its report, and several runs give those of their comparison with the first one. Each
    table is written as CSV with all digits and as LaTeX, rounded, for the package booktabs. Only stored evaluations
    are read, so the images and the plugins of the runs are not needed.

    Args:
        runs (RUN): folders of evaluated runs, or names of models
        out (-o, --out DIR): the folder of the files
        arithmetic: float (default), or integer: the evaluations in integers, which `auxar evaluate --arithmetic
            integer` wrote
        replace: replace files that exist

    Returns:
        The paths of the files.

    Raises:
        UserError: there are no runs, a run is not evaluated in this arithmetic, the images of the runs differ in shape
            or levels, or a file exists

    Examples:
        >>> import auxar
        >>> [path.name for path in auxar.tables(["runs/quickstart"], "tables")][:2]
        ['bits-dim-by-factor.csv', 'bits-dim-by-factor.tex']
    """
    from auxar.evaluation.comparison import compare_runs
    from auxar.evaluation.evaluated_run import read_evaluated_run
    from auxar.files import check_replaceable, write_text
    from auxar.plugins import load_plugins
    from auxar.report.comparison_tables import comparison_tables
    from auxar.report.evaluation_tables import report_tables
    from auxar.report.table_files import csv_text, file_name, latex_text
    from auxar.runs.arithmetic import check_arithmetic

    folders, folder = as_paths(runs, "runs"), as_path(out, "out")
    check_flag(replace, "replace")
    if not folders:
        raise UserError("runs: expected at least one run, got none")
    check_arithmetic(load_plugins(), arithmetic)
    if len(folders) == 1:
        found = report_tables(read_evaluated_run(folders[0], arithmetic).evaluation)
    else:
        found = comparison_tables(compare_runs(folders, arithmetic))
    texts = {folder / f"{file_name(table)}.csv": csv_text(table) for table in found}
    texts |= {folder / f"{file_name(table)}.tex": latex_text(table) for table in found}
    for path in texts:
        check_replaceable(path, replace)
    for path, text in texts.items():
        write_text(path, text)
    return sorted(texts)
