"""A context in which Pillow neither warns nor logs."""

import contextlib
import logging
import threading
import warnings


class _Silence:
    """A context that hides Pillow's warnings and log messages while any thread is inside it.

    Warning filters are global. If each thread used `warnings.catch_warnings`, overlapping threads would restore the
    filters in the wrong order. Here the first thread that enters changes the filters, and the last one that leaves
    restores them.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._inside = 0
        self._changes = contextlib.ExitStack()

    def __enter__(self) -> None:
        with self._lock:
            if not self._inside:
                self._changes.enter_context(warnings.catch_warnings())
                warnings.filterwarnings("ignore", module=r"PIL\.")
                logger = logging.getLogger("PIL")
                self._changes.callback(logger.setLevel, logger.level)
                logger.setLevel(logging.CRITICAL + 1)
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if not self._inside:
                self._changes.close()


silence = _Silence()
