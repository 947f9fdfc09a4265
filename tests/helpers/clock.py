"""A clock that only tests move."""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest


class Clock:
    """A replacement of the clocks of Python's module `time`, which stands still until a test moves it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        for name in ("perf_counter", "monotonic"):
            patch.setattr(time, name, lambda: self.now)

    @contextlib.contextmanager
    def taking(self, seconds: float, place: Any, name: str) -> Iterator[None]:
        """A context in which each call of a function takes some seconds, besides those of what it calls."""
        own: Callable[..., Any] = getattr(place, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.now += seconds
            return own(*arguments, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(place, name, call)
            yield
