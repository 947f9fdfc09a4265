"""Options of the registered data set that a recipe's `data.path` names."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError, is_unicode
from auxar.plugins import Registry
from auxar.recipe.choices import structure_options
from auxar.recipe.options import sets
from auxar.recipe.schema import DataConfig
from auxar.recipe.structuring import unstructure

KEY = "data.options"


def data_set_config(data: DataConfig, registry: Registry) -> Any | None:
    """Returns the options of a registered data set as an instance of its config class.

    Returns None if `data.path` is not the name of a registered data set. Raises `UserError` if an option is unknown or
    invalid, or if there are options without a registered data set.
    """
    if data.path not in registry.names("dataset"):
        if data.options:
            try:
                registry.get("dataset", data.path, "data.path")
            except UserError as error:
                raise UserError(f"{error}; {KEY} is only for registered data sets") from None
        return None
    return structure_options(data.options, registry.components["dataset", data.path].config, KEY, registry)


def with_data_options(
    data: DataConfig, registry: Registry, folder: Path | None = None, settings: Sequence[str] = ()
) -> DataConfig:
    """Returns `data` with all options of its data set, including the defaults of options that are left out.

    If `folder` is given, options of the type `pathlib.Path` become absolute: those that one of the `key=value`
    `settings` sets are relative to the working directory, and all others to `folder`, the folder of the recipe.

    Raises the errors of `data_set_config`, and `UserError` if an absolute path is not valid UTF-8.
    """
    config = data_set_config(data, registry)
    if config is None:
        return data
    if folder is not None:
        full = {}
        for field in attrs.fields(type(config)):
            value = getattr(config, field.name)
            if isinstance(value, Path):
                own = any(sets(settings, key) for key in ("data", KEY, f"{KEY}.{field.name}"))
                full[field.alias] = _full(value, Path() if own else folder, f"{KEY}.{field.name}")
        config = attrs.evolve(config, **full)
    return attrs.evolve(data, options=unstructure(config))


def _full(path: Path, folder: Path, key: str) -> Path:
    full = os.path.abspath(folder / os.path.expanduser(path))
    if not is_unicode(full):
        raise UserError(f"{key}: the path {full!r} is not valid UTF-8, which recipes require; rename it")
    return Path(full)
