"""The upper limits of a factor's parameters, in the metadata of its file of weights."""

import json
from collections.abc import Mapping
from pathlib import Path

from auxar.errors import UserError
from auxar.model import Factor
from auxar.runs.records import read_entry

LIMITS = "limits"
"""The metadata entry that holds the limits by name, as a JSON object. Files of factors without limits have none."""


def limits_entry(factor: Factor) -> dict[str, str]:
    """The metadata entry that records the limits of a factor; empty if it has none."""
    return {LIMITS: json.dumps(dict(factor.limits))} if factor.limits else {}


def load_limits(factor: Factor, metadata: Mapping[str, str], path: Path) -> None:
    """Gives a factor the limits in the metadata of the file `path`, or none if the metadata has none.

    Raises `DamagedFile` if the entry is invalid, and `UserError` if the factor's head has no such limits.
    """
    limits = read_entry(metadata, LIMITS, dict[str, float], path) if LIMITS in metadata else {}
    try:
        factor.limit(limits)
    except UserError as error:
        raise UserError(f"{path} does not belong to factor {factor.name} of this recipe: {error}") from None
