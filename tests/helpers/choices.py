"""Choices of components as a loaded recipe has them."""

from __future__ import annotations

from typing import Any

from auxar.plugins import load_plugins
from auxar.recipe import ComponentChoice
from auxar.recipe.choices import structure_options
from auxar.recipe.structuring import unstructure


def chosen(kind: str, name: str, **options: Any) -> ComponentChoice:
    """The choice of an installed component with these options, and the defaults of others."""
    registry = load_plugins()
    component = registry.get(kind, name, kind)
    config: Any = structure_options(options, component.config, kind, registry)
    return ComponentChoice(name, unstructure(config), component, config)
