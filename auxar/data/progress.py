"""Progress bars of `datasets`, in one process only."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

import datasets


@contextmanager
def progress_in_main_process() -> Iterator[None]:
    """Shows the bars of `datasets` in the process of rank 0 and hides them in the others."""
    # Launchers set RANK before anything is imported; asking Accelerate would start its process group too early.
    hide = os.environ.get("RANK", "0") != "0" and datasets.are_progress_bars_disabled() is False
    if hide:
        datasets.disable_progress_bars()
    try:
        yield
    finally:
        if hide:
            datasets.enable_progress_bars()
