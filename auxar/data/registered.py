"""Builds the registered data set that a recipe uses."""

from __future__ import annotations

from pathlib import Path

from auxar.plugin_paths import built_path
from auxar.plugins import Registry
from auxar.recipe import DataConfig
from auxar.recipe.data_options import data_set_config


def build_data_set(data: DataConfig, registry: Registry) -> Path | None:
    """Builds the registered data set that `data.path` names, and returns the path of its file or folder.

    Returns None if `data.path` is not the name of a registered data set. Other data sets are not built.

    Raises `UserError` if the options are invalid, if `build` raises any exception, or if it returns no path.
    """
    config = data_set_config(data, registry)
    if config is None:
        return None
    return built_path(registry, "dataset", data.path, config, f"data.path ('{data.path}')")
