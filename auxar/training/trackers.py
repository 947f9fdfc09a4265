"""Experiment trackers, as Accelerate knows them."""

from __future__ import annotations

from collections.abc import Sequence

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, get_available_trackers

from auxar.errors import UserError, did_you_mean


def tracker_names(names: Sequence[str]) -> list[str]:
    """The names, checked. Raises `UserError` for a tracker that Accelerate does not know or that is not installed."""
    known = [str(name) for name in LOGGER_TYPE_TO_CLASS]
    installed = {str(name) for name in get_available_trackers()}
    for name in names:
        if name not in known:
            raise UserError(f"training.trackers: no tracker is named '{name}'{did_you_mean(name, known)}")
        if name not in installed:
            raise UserError(f"training.trackers: '{name}' is not installed; `pip install {name}` or leave it out")
    return list(names)
