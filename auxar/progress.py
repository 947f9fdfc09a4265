"""Progress of long work: a bar on a terminal or in a notebook, and now and then a plain line anywhere else.

A line goes through the logger `auxar` at the level INFO. Progress is hidden if this logger has a level above INFO, or
if the environment variable TQDM_DISABLE is set to anything but 0 or "false".
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeVar

from tqdm import tqdm

logger = logging.getLogger("auxar")

T = TypeVar("T")

BAR_DELAY = 2.0
"""Usual `delay` in seconds of functions that are often fast: the time after which their progress appears."""
EVERY_SECONDS = 30.0
"""Time in seconds after which the next line is written."""
EVERY_PART_OF_TIME = 0.01
"""Part of the elapsed time that must pass between two lines, so that days of work do not write thousands of lines."""


def progress_bar(iterable: Any = None, **options: Any) -> ProgressBar:
    """Returns the progress of an iterable, or of steps that are counted by `update`. `options` are those of `tqdm`.

    Examples:
        >>> list(progress_bar([1, 2], desc="reading", unit="image", delay=2))
        [1, 2]
    """
    return ProgressBar(iterable, **options)


def steps(parts: Sequence[T], what: str, unit: str = "part") -> Iterable[T]:
    """The parts of some work, with a progress bar if there are several and they take longer than `BAR_DELAY`."""
    hidden = len(parts) < 2
    return progress_bar(parts, desc=what, unit=unit, delay=BAR_DELAY, leave=False, disable=hidden)


def is_hidden() -> bool:
    """Whether progress is hidden everywhere: by the level of the logger `auxar`, or by TQDM_DISABLE."""
    return logger.level > logging.INFO or os.environ.get("TQDM_DISABLE", "").lower() not in ("", "0", "false")


def shows_bars() -> bool:
    """Whether progress is shown as bars: standard error is a terminal, or the program runs in a notebook."""
    if is_hidden():
        return False
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return sys.stderr.isatty() or hasattr(shell, "kernel")  # The shell of a notebook has a kernel.


@contextlib.contextmanager
def without_bars(library: Any) -> Iterator[None]:
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


class ProgressBar(tqdm):  # type: ignore[misc]
    """A progress bar which, without a terminal, writes lines instead.

    The first line is written at once, or after `delay` seconds, and the last one at the end. Between them, there is a
    line after `EVERY_SECONDS`, or after `EVERY_PART_OF_TIME` of longer work.
    """

    said: float | None = None
    """Time of the last line; None before the first line."""

    def __init__(self, iterable: Any = None, *, disable: bool | None = False, **options: Any) -> None:
        self.as_lines = not shows_bars()
        self.at_end = False
        if self.as_lines:
            options["file"] = io.StringIO()  # tqdm itself writes nothing but line feeds.
        super().__init__(iterable, disable=bool(disable) or is_hidden(), **options)
        if self.as_lines and not self.disable and self.pos:  # Lines of the bar around this one suffice for short work.
            self.delay: float = max(self.delay, EVERY_SECONDS)

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Shows the bar, or writes a line if it is due."""
        now = self._time()
        started = getattr(self, "start_t", now)
        if now < started + self.delay:  # tqdm itself would show a bar earlier if its text changes.
            return False
        if not self.as_lines:
            return bool(super().display(msg, pos))
        if self._is_due(now, now - started):
            self.said = now
            logger.info("%s", self.line())
        return True

    def close(self) -> None:
        """Shows the final state. Further calls change nothing."""
        self.at_end = True
        super().close()

    def line(self) -> str:
        """The current state as one line."""
        facts = self.format_dict
        count, total, elapsed = facts["n"], facts["total"], facts["elapsed"]
        text = f"{facts['prefix'] or 'progress'}: {facts['unit']} {count}"
        if total:
            text += f" of {total} ({100 * count / total:.0f} %)"
        done = count - facts["initial"]
        if not (done and elapsed):
            return text
        rate = done / elapsed
        speed = f"{_number(rate)} {facts['unit']}/s" if rate >= 1 else f"{_number(1 / rate)} s/{facts['unit']}"
        parts = [str(facts["postfix"] or ""), speed, f"{self.format_interval(elapsed)} elapsed"]
        if total and not self.at_end:
            parts.append(f"{self.format_interval((total - count) / rate)} left")
        return ", ".join([text, *filter(None, parts)])

    def _is_due(self, now: float, elapsed: float) -> bool:
        if self.said is None or self.at_end:
            return True
        # After the last step, the last line follows with the last figures.
        is_done = bool(self.total) and self.n >= self.total
        return not is_done and now - self.said >= max(EVERY_SECONDS, EVERY_PART_OF_TIME * elapsed)


def _number(value: float) -> str:
    """A number of at least 1 with three digits, or with all digits before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"
