"""Builds the registered data set that a recipe uses."""

from __future__ import annotations

import inspect
import logging
import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from auxar.errors import UserError, shown
from auxar.plugins import Registry
from auxar.recipe import DataConfig
from auxar.recipe.data_options import data_set_config

logger = logging.getLogger("auxar")


def build_data_set(data: DataConfig, registry: Registry) -> Path | None:
    """Builds the registered data set that `data.path` names, and returns the path of its file or folder.

    Returns None if `data.path` is not the name of a registered data set. Other data sets are not built.

    Raises `UserError` if the options are invalid, if `build` raises any exception, or if it returns no path.
    """
    config = data_set_config(data, registry)
    if config is None:
        return None
    component, provider = registry.components["dataset", data.path], registry.providers["dataset", data.path]
    where = f"data.path ('{data.path}')"
    try:
        found = component.build(config)
    except UserError as error:
        raise UserError(f"{where}: {error}") from error
    except Exception as error:  # The code of a plugin may raise any exception.
        logger.debug("the data set '%s' cannot be built", data.path, exc_info=True)
        reason = f"{type(error).__name__}: {error}{_line(component.build, error)}"
        raise UserError(f"{where}: the data set of plugin {provider} cannot be built: {reason}") from error
    if not isinstance(found, str | os.PathLike):
        raise UserError(f"{where}: expected a path from plugin {provider}, got {shown(found)}")
    return Path(found)


def _line(build: Callable[..., Any], error: Exception) -> str:
    """The last line of the plugin's own code that led to the error, for a message; empty if it is unknown."""
    try:
        file = inspect.getsourcefile(build)
    except TypeError:
        return ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f" ({file}, line {lines[-1]})" if lines else ""
