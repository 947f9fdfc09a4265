"""A clock that only tests move."""

import time
from collections.abc import Callable
from typing import Any

import pytest


class Clock:
    """A replacement of the clocks of Python's module `time`, which stands still until a test moves it."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        self.patch = patch
        for name in ("perf_counter", "monotonic"):
            patch.setattr(time, name, lambda: self.now)

    def move(self, seconds: float) -> None:
        """Lets some seconds pass."""
        self.now += seconds

    def during(self, seconds: float, place: Any, name: str) -> None:
        """Lets some seconds pass in each call of a function, besides those of the functions that it calls."""
        own: Callable[..., Any] = getattr(place, name)

        def call(*arguments: Any, **options: Any) -> Any:
            self.move(seconds)
            return own(*arguments, **options)

        self.patch.setattr(place, name, call)
