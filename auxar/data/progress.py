"""Limits the progress bars of `datasets` to one process."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import datasets


@contextmanager
def progress_in_main_process() -> Iterator[None]:
    """A context that hides the progress bars of `datasets` in every process except rank 0."""
    # The rank is read from RANK, which launchers set before Python imports anything. Accelerate is not used here,
    # because it would start its process group too early.
    hide = os.environ.get("RANK", "0") != "0" and datasets.are_progress_bars_disabled() is False
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            datasets.enable_progress_bars()
