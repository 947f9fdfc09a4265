"""The paths that `build` functions of plugins return: of a data set's images, and of a trained model's folder."""

import os
from pathlib import Path
from typing import Any, Literal

from auxar.errors import UserError, logger, shown
from auxar.plugin_files import FAILURES
from auxar.plugins import Registry

NOUNS = {"dataset": "data set", "model": "model"}
"""The name of each kind in messages."""


def built_path(
    registry: Registry, kind: Literal["dataset", "model"], name: str, where: str, config: Any = None
) -> Path:
    """Calls `build` of a registered data set or model with an instance of its config class, and returns the path.

    Without `config`, all options have their defaults.

    Raises `UserError`, which begins with `where`, if `build` raises any exception or returns no path.
    """
    component, provider = registry.components[kind, name], registry.providers[kind, name]
    try:
        found = component.build(component.config() if config is None else config)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except FAILURES as error:
        logger.debug("the %s '%s' cannot be built", NOUNS[kind], name, exc_info=True)
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{where}: the {NOUNS[kind]} of plugin {provider} cannot be built: {reason}") from error
    if not isinstance(found, str | os.PathLike):
        raise UserError(f"{where}: expected a path from plugin {provider}, got {shown(found)}")
    return Path(found)
