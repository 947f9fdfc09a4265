"""Makes the path of local images in a recipe absolute."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from auxar.errors import UserError, is_unicode
from auxar.plugins import Registry
from auxar.recipe.schema import Recipe


def with_full_path(recipe: Recipe, registry: Registry) -> Recipe:
    """Returns the recipe with an absolute `data.path`, so that its run can be continued from any working directory.

    The path is unchanged if it is the name of a registered data set or does not exist on this machine. Raises
    `UserError` if the absolute path is not valid UTF-8, because recipes are written in UTF-8.
    """
    path = recipe.data.path
    # Unlike `Path.exists`, this function raises no error for a path that may not be read, which is reported later.
    if path in registry.names("dataset") or not os.path.exists(path):
        return recipe
    full = str(Path(path).resolve())
    if not is_unicode(full):
        raise UserError(f"data.path: the path {full!r} is not valid UTF-8, which recipes require; rename it")
    return attrs.evolve(recipe, data=attrs.evolve(recipe.data, path=full))
