"""A trained run, opened to draw from its model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
from accelerate import Accelerator

from auxar.distributed.accelerator import make_accelerator
from auxar.interfaces import Prior
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.options import check_settings
from auxar.runs.layout import RunFolder
from auxar.runs.opening import open_run
from auxar.runs.weights import trained_model


@attrs.frozen
class TrainedRun:
    """A run whose factors are all trained, with its model on the command's device."""

    folder: RunFolder
    recipe: Recipe
    registry: Registry
    model: Prior
    accelerator: Accelerator


def open_trained(
    path: str | Path,
    settings: Sequence[str],
    *allowed: str,
    sampling: Mapping[str, Any] | None = None,
    trust_plugins: bool,
) -> TrainedRun:
    """Opens a run; settings of [sampling] and of the `allowed` keys, then values of `sampling`, replace its own.

    Raises `UserError` for any other setting, and for a run that `auxar.load` does not take.
    """
    check_settings(settings, "sampling.", *allowed)
    run, recipe, registry = open_run(Path(path), settings, sampling=sampling, trust_plugins=trust_plugins)
    model = trained_model(run, recipe, registry)
    accelerator = make_accelerator(recipe.training.precision, run.path)
    model.eval().to(accelerator.device)
    return TrainedRun(run, recipe, registry, model, accelerator)
