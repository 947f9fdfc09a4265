"""Comparing runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auxar.errors import UserError
from auxar.evaluation.comparison import Comparison, compare_runs


def compare(paths: Sequence[str | Path]) -> Comparison:
    """Held-out bits/dim of evaluated runs side by side, and how far each is from the first, on the same images.

    Raises `UserError` for anything but a list of one or more paths: a text would be taken for a list of its letters.
    """
    if isinstance(paths, str | Path) or not paths:
        raise UserError(f"expected a list of runs to compare, got {paths!r}")
    return compare_runs([Path(path) for path in paths])
