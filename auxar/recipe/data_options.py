"""Options of the registered data set that a recipe's `data.path` names."""

from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError
from auxar.plugins import Registry
from auxar.recipe.choices import structure_options
from auxar.recipe.data_config import DataConfig
from auxar.recipe.paths import Places, full_path
from auxar.recipe.structuring import unstructure


def data_set_config(data: DataConfig, registry: Registry, key: str = "data") -> Any | None:
    """Returns the options of a registered data set as an instance of its config class. `key` is the path of its table.

    Returns None if `data.path` is not the name of a registered data set. Raises `UserError` if an option is unknown or
    invalid, or if there are options without a registered data set.
    """
    if data.path not in registry.names("dataset"):
        if data.options:
            try:
                registry.get("dataset", data.path, f"{key}.path")
            except UserError as error:
                raise UserError(f"{error}; {key}.options is only for registered data sets") from None
        return None
    return structure_options(data.options, registry.components["dataset", data.path].config, f"{key}.options", registry)


def with_data_options(
    data: DataConfig, registry: Registry, places: Places | None = None, key: str = "data"
) -> DataConfig:
    """Returns `data` with all options of its data set, including the defaults of options that are left out.

    With `places`, options of the type `pathlib.Path` become absolute. Raises the errors of `data_set_config`, and
    `UserError` if an absolute path is not valid UTF-8.
    """
    config = data_set_config(data, registry, key)
    if config is None:
        return data
    if places is not None:
        full = {
            field.alias: Path(full_path(str(value), places, f"{key}.options.{field.name}"))
            for field in attrs.fields(type(config))
            if isinstance(value := getattr(config, field.name), Path)
        }
        config = attrs.evolve(config, **full)
    return attrs.evolve(data, options=unstructure(config))
