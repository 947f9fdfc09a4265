"""Loads the trained model of a run."""

from __future__ import annotations

import os
from pathlib import Path

from auxar.files import read_checksum
from auxar.image_model.model import ImageModel
from auxar.runs.history import Origin
from auxar.runs.opening import open_run
from auxar.runs.weights import trained_model


def load(path: str | Path, *, device: str = "cpu", trust_plugins: bool = False) -> ImageModel:
    """Loads the trained model of a run.

    Raises `UserError` if the weights of a factor are missing, damaged or from another model. It is also raised if the
    run has plugin files, which are code, and `trust_plugins` is False. The model is in evaluation mode.

    Examples:
        >>> import auxar
        >>> model = auxar.load("runs/quickstart")
        >>> print(model.image)
        32×32×3 with 256 levels
    """
    run, recipe, registry = open_run(Path(path), trust_plugins=trust_plugins)
    chain = trained_model(run, recipe, registry).eval().to(device)
    where = os.path.abspath(path)
    origins = {name: Origin(where, read_checksum(run.weights(name))) for name in recipe.factor_names}
    return ImageModel(chain, recipe, registry, origins)
