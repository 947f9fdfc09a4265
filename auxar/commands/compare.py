"""Comparing runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from auxar.evaluation.comparison import Comparison, compare_runs


def compare(paths: Sequence[str | Path]) -> Comparison:
    """Held-out bits/dim of evaluated runs side by side, and how far each is from the first, on the same images."""
    return compare_runs([Path(path) for path in paths])
