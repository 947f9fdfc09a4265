"""A plugin of an installed package that is not there."""

import importlib.metadata
from collections.abc import Callable, Sequence
from types import SimpleNamespace

import attrs
import pytest

from auxar.plugins import INTERFACE_VERSION, Component, hookimpl


@attrs.frozen
class Nothing:
    """No options."""


@attrs.frozen
class Needy:
    """An option that has no default."""

    size: int


def install_components(monkeypatch: pytest.MonkeyPatch, *components: Component, kinds: Sequence[str] = ()) -> None:
    """Adds the plugin `toys` with these components, and with further kinds, to those that are installed."""
    plugin = SimpleNamespace(AUXAR_INTERFACE=INTERFACE_VERSION)
    plugin.auxar_register_components = hookimpl(lambda: list(components))
    plugin.auxar_register_kinds = hookimpl(lambda: list(kinds))
    install(monkeypatch, "toys", lambda: plugin)


def install(monkeypatch: pytest.MonkeyPatch, name: str, load: Callable[[], object]) -> None:
    """Adds the plugin `name` of the package `NAME_package` to those that are installed. `load` loads it."""
    read = importlib.metadata.entry_points
    added = {"auxar": [SimpleNamespace(name=name, value=f"{name}_package", dist=None, load=load)]}
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [*read(group=group), *added.get(group, [])])
