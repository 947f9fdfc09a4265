"""Checks the names of experiment trackers that a recipe asks for."""

from __future__ import annotations

from collections.abc import Sequence

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from auxar.errors import UserError, did_you_mean


def tracker_names(names: Sequence[str]) -> list[str]:
    """Checks names of experiment trackers and returns them as a list.

    Raises `UserError` for a tracker that Accelerate does not support or that is not installed.
    """
    known = [str(name) for name in LOGGER_TYPE_TO_CLASS]
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise UserError(f"training.trackers: Accelerate has no tracker named '{name}'{did_you_mean(name, known)}")
        if name not in installed:
            raise UserError(
                f"training.trackers: the tracker '{name}' is not installed; run `pip install {name}` or remove it from "
                "the list"
            )
    return list(names)
