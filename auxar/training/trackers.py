"""Experiment trackers that a recipe names: trackers of Accelerate and trackers of plugins."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers
from PIL import Image

from auxar.errors import UserError, did_you_mean, one_line
from auxar.files import is_file
from auxar.locks import acquire
from auxar.recipe import ComponentChoice, Recipe
from auxar.recipe.facts import flat
from auxar.recipe.loading import recipe_table
from auxar.runs.format import RECORD

SIMPLE = (bool, int, float, str)
"""Types of values in a configuration that all trackers take."""


def check_trackers(choices: Sequence[ComponentChoice]) -> None:
    """Raises `UserError` for a tracker that neither Accelerate nor a plugin has, or that is not installed."""
    known = [str(name) for name in LOGGER_TYPE_TO_CLASS]
    installed = {str(name) for name in get_available_trackers()}
    for choice in choices:
        if choice.component is not None:
            continue
        if choice.name not in known:
            hint = did_you_mean(choice.name, known)
            raise UserError(f"training.trackers: Accelerate has no tracker named '{one_line(choice.name)}'{hint}")
        if choice.name not in installed:
            raise UserError(f"training.trackers: '{choice.name}' is not installed; run `pip install {choice.name}`")


def start_trackers(recipe: Recipe, run: Path, accelerator: Accelerator) -> None:
    """Starts the recipe's trackers of the run in the folder `run`, with the keys of the recipe as its configuration.

    `Accelerator.log` then sends metrics to them.

    The option `project` of a tracker of Accelerate replaces the name of this folder. Other options are arguments of the
    function that starts a run in the tracker's package. Raises `UserError` if the package refuses them.

    In W&B, the run has the name of this folder, and is resumed if training is continued. Of several workers that train
    factors at the same time, only the first uses this run; the others begin runs of their own.
    """
    try:
        accelerator.log_with = [_tracker(choice, run, accelerator) for choice in recipe.training.trackers]
        values = {key: value if isinstance(value, SIMPLE) else str(value) for key, value in flat(recipe_table(recipe))}
        accelerator.init_trackers(run.name, config=values)
    except TypeError as error:
        raise UserError(f"training.trackers: {one_line(str(error))}") from error


def _tracker(choice: ComponentChoice, run: Path, accelerator: Accelerator) -> Any:
    if choice.component is not None:
        return choice.build()
    tracker = LOGGER_TYPE_TO_CLASS[choice.name]
    folder = (run,) if tracker.requires_logging_directory else ()
    options = {"project": run.name, **choice.options}
    if choice.name == "wandb" and accelerator.is_main_process:
        accelerator.wandb_lock = acquire(run / ".wandb.lock", timeout=0)  # It is released with the accelerator.
        # The time at which the folder was made is the same whenever its run is continued.
        own = {"id": f"{(run / RECORD).stat().st_mtime_ns:x}", "resume": "allow"} if accelerator.wandb_lock else {}
        options = {"name": run.name, **own, **options}
    return tracker(options.pop("project"), *folder, **options)


def track_results(accelerator: Accelerator, bits: Mapping[str, float], pictures: Mapping[str, Path], step: int) -> None:
    """Sends bits/dim by name, and pictures if they are there, to the trackers, as results of the last step `step`.

    Trackers without pictures get none.
    """
    accelerator.log(dict(bits), step=step)
    for name, file in pictures.items():
        for tracker in accelerator.trackers if is_file(file) else ():
            with Image.open(file) as picture:
                values = np.asarray(picture.convert("RGB"))
            # TensorBoard takes batches of images with the channels first; other trackers take lists of pictures.
            images = values.transpose(2, 0, 1)[None] if tracker.name == "tensorboard" else [values]
            if hasattr(tracker, "log_images"):
                tracker.log_images({name: images}, step=step)
