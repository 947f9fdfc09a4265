"""Limits the progress bars of `datasets` and `huggingface_hub` to the places where auxar shows bars."""

from __future__ import annotations

import os
import warnings
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType

import datasets
import huggingface_hub.utils

from auxar.progress import shows_bars


@contextmanager
def progress_in_main_process() -> Iterator[None]:
    """A context in which the bars of both libraries are shown only in rank 0, and only where auxar shows bars itself.

    An environment variable of a library that turns its bars on or off takes precedence.
    """
    # The rank is read from RANK, which launchers set before Python imports anything. Accelerate is not used here,
    # because it would start its process group too early.
    with ExitStack() as stack:
        if not shows_bars() or os.environ.get("RANK", "0") != "0":
            stack.enter_context(without_bars(datasets))
            stack.enter_context(without_bars(huggingface_hub.utils))
        yield


@contextmanager
def without_bars(library: ModuleType) -> Iterator[None]:
    """A context that hides the progress bars of `datasets` or of `huggingface_hub.utils`."""
    if library.are_progress_bars_disabled():
        yield
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # The libraries warn if an environment variable takes precedence.
        library.disable_progress_bars()
    try:
        yield
    finally:
        library.enable_progress_bars()
