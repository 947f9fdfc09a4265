"""Makes the paths of local images and of other runs in a recipe absolute."""

from __future__ import annotations

import os
from pathlib import Path

import attrs

from auxar.errors import UserError, is_unicode
from auxar.plugins import Registry
from auxar.recipe.schema import Recipe, TrainingConfig


def with_full_path(recipe: Recipe, registry: Registry) -> Recipe:
    """Returns the recipe with absolute paths, so that its run can be continued from any working directory.

    These are `data.path` and the keys `init` of [training] and [training.factor.NAME]. `data.path` is unchanged if it
    is the name of a registered data set or does not exist on this machine. Raises `UserError` if an absolute path is
    not valid UTF-8, because recipes are written in UTF-8.
    """
    path = recipe.data.path
    # Unlike `Path.exists`, this function raises no error for a path that may not be read, which is reported later.
    if path not in registry.names("dataset") and os.path.exists(path):
        full = _checked(str(Path(path).resolve()), "data.path")
        recipe = attrs.evolve(recipe, data=attrs.evolve(recipe.data, path=full))
    return attrs.evolve(
        recipe,
        training=_with_full_init(recipe.training, "training"),
        factor_training={
            name: _with_full_init(config, f"training.factor.{name}") for name, config in recipe.factor_training.items()
        },
    )


def _with_full_init(config: TrainingConfig, key: str) -> TrainingConfig:
    # The path does not depend on whether the other run still exists: it is compared with the path in the run's recipe
    # when the run is continued.
    if config.init is None:
        return config
    return attrs.evolve(config, init=_checked(os.path.abspath(config.init), f"{key}.init"))


def _checked(path: str, key: str) -> str:
    if not is_unicode(path):
        raise UserError(f"{key}: the path {path!r} is not valid UTF-8, which recipes require; rename it")
    return path
