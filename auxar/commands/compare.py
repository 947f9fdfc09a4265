"""The command `compare`: compares the held-out bits/dim of runs."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike
from typing import TYPE_CHECKING

from auxar.arguments import as_path, as_paths, check_flag
from auxar.commandline import Result, command
from auxar.errors import UserError, logger

if TYPE_CHECKING:
    from auxar.evaluation.comparison import Comparison


def _shown(found: Comparison) -> Result:
    from auxar.report.text import comparison_lines

    return Result(comparison_lines(found), found.to_dict())


@command("Measure", show=_shown)
def compare(
    runs: Sequence[str | PathLike[str]],
    *,
    arithmetic: str = "float",
    out: str | PathLike[str] | None = None,
    tables: str | PathLike[str] | None = None,
    replace: bool = False,
) -> Comparison:
    """Compares the held-out bits/dim of evaluated runs.

    All runs are compared with the first one: held-out bits/dim in total and, for models with views, by resolution and
    by factor, and the difference on the same images with its standard error. The first one is also compared with
    lossless codecs. Captions say which conditions, such as labels, the models are given. Only stored evaluations are
    read, so the images and the plugins of the runs are not needed.

    Args:
        runs (RUN): folders of runs, or names of models; the others are compared with the first one
        arithmetic: float (default), or integer: compare the evaluations in integers, which `auxar evaluate
            --arithmetic integer` wrote
        out (--out FILE): also write the comparison as a self-contained HTML page, with charts of bits/dim against the
            time and the multiply-adds of training; only an earlier comparison page is replaced
        tables (--tables DIR): also write the tables of the comparison or, for one run, of its report: each as CSV with
            all digits, and as LaTeX, rounded, for the package booktabs
        replace: replace tables that exist

    Raises:
        UserError: there are no runs, a run is not evaluated in this arithmetic, its images differ from those of the
            first run in shape or levels, a table exists, or a file cannot be written

    Examples:
        >>> from pathlib import Path
        >>> import auxar
        >>> first, second = auxar.compare(["runs/quickstart", "runs/quickstart"]).runs
        >>> second.bits_per_dim - first.bits_per_dim, second.margin.bits_per_dim
        (0.0, 0.0)
        >>> one = auxar.compare(["runs/quickstart"], tables="tables")
        >>> sorted(path.name for path in Path("tables").iterdir())[:2]
        ['bits-dim-by-factor.csv', 'bits-dim-by-factor.tex']
    """
    from auxar.evaluation.comparison import compare_runs
    from auxar.plugins import load_plugins
    from auxar.report.html import check_document, write_document
    from auxar.report.page import COMPARISON, comparison_page
    from auxar.report.table_files import write_tables
    from auxar.runs.arithmetic import check_arithmetic

    folders = as_paths(runs, "runs")
    if not folders:
        raise UserError("runs: expected at least one run to compare, got none")
    check_flag(replace, "replace")
    check_arithmetic(load_plugins(), arithmetic)
    found = compare_runs(folders, arithmetic)
    page = None if out is None else as_path(out, "out")
    if page is not None:  # Nothing is written if the page cannot be.
        check_document(page, COMPARISON)
    if tables is not None:
        folder = as_path(tables, "tables")
        written = write_tables(folder, found, replace=replace)
        logger.info("%s tables: %s", len(written), folder)
    if page is not None:
        write_document(page, comparison_page(found), replaces=COMPARISON)
        logger.info("page: %s", page)
    return found
