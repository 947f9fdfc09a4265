"""Loads the trained model of a run."""

from __future__ import annotations

import os
from os import PathLike
from pathlib import Path
from typing import Any

import torch

from auxar.arguments import as_path, described
from auxar.errors import UserError
from auxar.files import read_checksum
from auxar.image_model.devices import chosen_device
from auxar.image_model.model import ImageModel
from auxar.recipe.model_names import hub_name
from auxar.runs.arithmetic import model_in
from auxar.runs.history import Origin
from auxar.runs.opening import open_run


def load(
    path: str | PathLike[str],
    device: str | torch.device = "auto",
    *,
    arithmetic: str | None = None,
    revision: str | None = None,
    trust_plugins: bool = False,
) -> ImageModel:
    """Loads the trained model of a run, with its averaged weights, in evaluation mode.

    `path` is the folder of the run, such as "runs/quickstart", the result of `auxar.run`, the name of a model that
    comes trained (`list_models`), or the name of a model on the Hugging Face hub, such as "user/name", of which
    `revision` is a branch, a tag or a commit. `device` is "cpu", "cuda", "cuda:N" or "auto", which is a GPU if
    PyTorch finds one with CUDA (or ROCm), and otherwise the CPU. With `arithmetic="integer"`, the model computes
    with the integers that `auxar.integers` made, with the same frequencies and samples on every machine; the
    default is the recipe's arithmetic. Plugin files of the run are code; they are run only if `trust_plugins` is
    True.

    Raises `UserError` if `path` is not the folder of a run, if the weights of a factor are missing, damaged or from
    another model, if the device does not exist, if the hub cannot be reached and the model is not in its cache, or if
    the run has plugin files and `trust_plugins` is False.

    Examples:
        >>> import auxar
        >>> model = auxar.load("runs/quickstart")
        >>> print(model.image)
        32×32×3 with 256 levels
        >>> auxar.load("quickstart.toml")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        auxar.errors.UserError: quickstart.toml is not a run's folder: it does not exist; ...
    """
    folder = as_path(path, "path")
    if revision is not None:
        folder = _at_revision(folder, revision)
    place = chosen_device(device)
    run, recipe, registry = open_run(folder, trust_plugins=trust_plugins)
    chain = model_in(run, recipe, registry, arithmetic).eval()
    where = run.model or os.path.abspath(run.path)
    origins = {name: Origin(where, read_checksum(run.weights(name))) for name in recipe.factor_names}
    return ImageModel(chain, recipe, registry, origins).to(place)


def _at_revision(path: Path, revision: Any) -> Path:
    """The name of a model on the hub at a revision. Raises `UserError` if `path` is not such a name."""
    if not isinstance(revision, str) or not revision or any(letter.isspace() for letter in revision):
        raise UserError(f"revision: expected the name of a branch, a tag or a commit, got {described(revision)}")
    if (found := hub_name(path)) is None:
        raise UserError(f"revision: only models on the Hugging Face hub have revisions, and {path} is not one of them")
    if found[1] is not None:
        raise UserError(f"revision: {path} names the revision '{found[1]}' already; give one of the two")
    return Path(f"{path.as_posix()}@{revision}")
