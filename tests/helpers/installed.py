"""A plugin of an installed package that is not there."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from types import SimpleNamespace

import pytest


def install(monkeypatch: pytest.MonkeyPatch, name: str, load: Callable[[], object]) -> None:
    """Adds the plugin `name` of the package `NAME_package` to those that are installed. `load` loads it."""
    shipped, own = (
        importlib.metadata.entry_points,
        SimpleNamespace(name=name, value=f"{name}_package", dist=None, load=load),
    )
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [*shipped(group=group), *[own] * (group == "auxar")]
    )
