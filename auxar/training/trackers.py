"""Experiment trackers that a recipe names: trackers of Accelerate and trackers of plugins."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from auxar.errors import UserError, did_you_mean, one_line
from auxar.recipe import ComponentChoice


def check_trackers(choices: Sequence[ComponentChoice]) -> None:
    """Raises `UserError` for a tracker that neither Accelerate nor a plugin has, or that is not installed."""
    known = [str(name) for name in LOGGER_TYPE_TO_CLASS]
    installed = {str(name) for name in get_available_trackers()}
    for choice in choices:
        if choice.component is not None:
            continue
        if choice.name not in known:
            hint = did_you_mean(choice.name, known)
            raise UserError(f"training.trackers: Accelerate has no tracker named '{choice.name}'{hint}")
        if choice.name not in installed:
            raise UserError(
                f"training.trackers: the tracker '{choice.name}' is not installed; run `pip install {choice.name}` or "
                "remove it from the list"
            )


def start_trackers(choices: Sequence[ComponentChoice], run: Path, accelerator: Accelerator) -> None:
    """Starts the trackers of the run in the folder `run`. `Accelerator.log` then sends metrics to them.

    The option `project` of a tracker of Accelerate replaces the name of this folder. Other options are arguments of the
    function that starts a run in the tracker's package. Raises `UserError` if the package refuses them.
    """
    try:
        accelerator.log_with = [_tracker(choice, run) for choice in choices]
        accelerator.init_trackers(run.name)
    except TypeError as error:
        raise UserError(f"training.trackers: {one_line(str(error))}") from error


def _tracker(choice: ComponentChoice, run: Path) -> Any:
    if choice.component is not None:
        return choice.build()
    tracker = LOGGER_TYPE_TO_CLASS[choice.name]
    folder = (run,) if tracker.requires_logging_directory else ()
    options = dict(choice.options)
    return tracker(options.pop("project", run.name), *folder, **options)
