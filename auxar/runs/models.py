"""Runs that are given by their folder, or by the name of a model that comes trained or is on the hub."""

import os
from pathlib import Path

from auxar.errors import UserError, logger, naming, one_line
from auxar.plugin_paths import built_path
from auxar.plugins import Registry, load_plugins
from auxar.recipe.model_names import HUB, hub_name, is_model
from auxar.runs.format import RECORD
from auxar.runs.hub import download
from auxar.runs.layout import RunFolder
from auxar.runs.wrong_path import DEFAULT, check_is_run


def find_run(path: Path) -> RunFolder:
    """Finds the folder of an existing run, which is given by its path or by the name of a model.

    The model comes trained with a plugin, or is downloaded from the Hugging Face hub if its name is `user/name` or
    `user/name@revision`. A run's folder wins over a model of the same name. Raises `UserError` if there is neither,
    with the nearest run or model, if the plugin or the hub does not provide the folder of a run, and if it has another
    format.
    """
    if is_model(path):
        name = path.as_posix()
        own = DEFAULT / path
        if os.path.isfile(own / RECORD):
            logger.info("%s is the model that comes trained; your run is %s", name, own)
        return model_folder(load_plugins(), name)
    if (found := hub_name(path)) is not None:
        return download(*found)
    if path.parts[:1] == (HUB.rstrip("/"),):  # A path keeps one slash.
        raise UserError(f"expected {HUB}user/name, got '{HUB}{one_line('/'.join(path.parts[1:]))}'")
    check_is_run(path)
    return RunFolder(path)


def model_folder(registry: Registry, name: str) -> RunFolder:
    """The folder of a model that comes trained.

    Raises `UserError` if its plugin does not provide the folder of a run.
    """
    where = f"the model '{name}'"
    run = RunFolder(built_path(registry, "model", name, where), name)
    with naming(where):
        check_is_run(run.path)
    return run
