"""Paths in recipes."""

from __future__ import annotations

from pathlib import Path

import attrs

from auxar.errors import UserError, is_unicode
from auxar.plugins import Registry
from auxar.recipe.schema import Recipe


def with_full_path(recipe: Recipe, registry: Registry) -> Recipe:
    """The recipe with the full path of local images, so that its run can be continued from any folder.

    Raises `UserError` for a path that is not UTF-8, as a recipe has to be.
    """
    path = recipe.data.path
    if path in registry.names("dataset") or not Path(path).exists():
        return recipe
    full = str(Path(path).resolve())
    if not is_unicode(full):
        raise UserError(f"data.path: the path {full!r} is not valid UTF-8, as a recipe has to be; rename its folders")
    return attrs.evolve(recipe, data=attrs.evolve(recipe.data, path=full))
