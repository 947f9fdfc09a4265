"""Loads the trained model of a run."""

from __future__ import annotations

from pathlib import Path

from auxar.image_model.model import ImageModel
from auxar.runs.opening import open_run
from auxar.runs.weights import trained_model


def load(path: str | Path, *, device: str = "cpu", trust_plugins: bool = False) -> ImageModel:
    """Loads the trained model of a run.

    Raises `UserError` if the weights of a factor are missing, damaged or from another model. It is also raised if the
    run has plugin files, which are code, and `trust_plugins` is False.
    """
    run, recipe, registry = open_run(Path(path), trust_plugins=trust_plugins)
    return ImageModel(trained_model(run, recipe, registry).eval().to(device), recipe, registry)
