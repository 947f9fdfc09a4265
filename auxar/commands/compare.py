"""The command `compare`: compares the held-out bits/dim of runs."""

from __future__ import annotations

from collections.abc import Sequence
from os import PathLike

from auxar.arguments import as_paths
from auxar.errors import UserError
from auxar.evaluation.comparison import Comparison, compare_runs
from auxar.model import FLOAT
from auxar.plugins import load_plugins
from auxar.runs.arithmetic import check_arithmetic


def compare(paths: Sequence[str | PathLike[str]], *, arithmetic: str = FLOAT) -> Comparison:
    """Compares the held-out bits/dim of evaluated runs, and gives the difference of each run from the first.

    `paths` are folders of runs, or names of models that come trained. Differences are computed image by image if the
    runs have the same held-out images. With `arithmetic="integer"`, the evaluations in integers are compared.

    Raises `UserError` if `paths` is empty or is a single path instead of a list, if a run is not evaluated in this
    arithmetic, or if its images differ from those of the first run in shape or levels.

    Examples:
        >>> import auxar
        >>> first, second = auxar.compare(["runs/quickstart", "runs/quickstart"]).runs
        >>> second.bits_per_dim - first.bits_per_dim, second.margin.bits_per_dim
        (0.0, 0.0)
    """
    folders = as_paths(paths, "paths")
    if not folders:
        raise UserError("paths: expected at least one run to compare, got none")
    check_arithmetic(load_plugins(), arithmetic)
    return compare_runs(folders, arithmetic)
