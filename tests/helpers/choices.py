"""Choices of components as a loaded recipe has them."""

from typing import Any

from auxar.plugins import load_plugins
from auxar.recipe import ComponentChoice
from auxar.recipe.choices import resolved


def chosen(kind: str, name: str, **options: Any) -> ComponentChoice:
    """The choice of an installed component with these options, and the defaults of others."""
    return resolved(ComponentChoice(name, options), kind, kind, load_plugins())
