"""Loads the trained model of a run."""

from __future__ import annotations

from os import PathLike

import torch

from auxar.arguments import as_path, check_flag
from auxar.image_model.devices import chosen_device
from auxar.image_model.model import ImageModel
from auxar.runs.opening import open_run
from auxar.runs.weights import trained_model


def load(path: str | PathLike[str], device: str | torch.device = "auto", *, trust_plugins: bool = False) -> ImageModel:
    """Loads the trained model of a run, with its averaged weights, in evaluation mode.

    `path` is the folder of the run, such as "runs/quickstart", or the result of `auxar.run`. `device` is "cpu", "cuda",
    "cuda:N" or "auto", which is a GPU if PyTorch finds one with CUDA (or ROCm), and otherwise the CPU. Plugin files of
    the run are code; they are run only if `trust_plugins` is True.

    Raises `UserError` if `path` is not the folder of a run, if the weights of a factor are missing, damaged or from
    another model, if the device does not exist, or if the run has plugin files and `trust_plugins` is False.

    Examples:
        >>> model = load("runs/quickstart")  # doctest: +SKIP
        >>> model.bits_per_dim("photo.png")  # doctest: +SKIP
        >>> load("quickstart.toml")  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        auxar.errors.UserError: quickstart.toml is not a run's folder: it does not exist; ...
    """
    folder = as_path(path, "path")
    check_flag(trust_plugins, "trust_plugins")
    place = chosen_device(device)
    run, recipe, registry = open_run(folder, trust_plugins=trust_plugins)
    return ImageModel(trained_model(run, recipe, registry).eval(), recipe, registry).to(place)
