"""The names of the folders of samples, by which draws with other options do not replace each other."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import Any

from auxar.draw.conditions import LONGEST_NAME, NONE, Conditions
from auxar.draw.plan import Given
from auxar.model import FLOAT, Chain
from auxar.recipe import SamplingConfig


def name_of_samples(model: Chain, config: SamplingConfig, given: Given | None, conditions: Conditions | None) -> str:
    """The name of the default folder of drawn images, in the folder of the run's samples.

    It contains the rule, the options of the rule that are not its defaults, the seed, and `conditions` unless they are
    None.
    """
    kind = "" if given is None else "completed-" if given.known is not None else f"given-depth{given.depth}-"
    if model.arithmetic != FLOAT:
        kind = f"{model.arithmetic}-{kind}"
    chosen = config.rule.name + "".join(f"-{key}{_named(value)}" for key, value in config.rule.changed.items())
    # Other options could have the same name without some characters, so a part of their digest is added.
    digest = "" if _plain(chosen) == chosen else f"-{hashlib.sha256(chosen.encode()).hexdigest()[:8]}"
    options = [_plain(chosen) + digest]
    if conditions is not None:
        named = "-".join(conditions.names) or NONE
        plain = _plain(named)
        is_vector = model.condition is not None and model.condition.is_vector
        # Other conditions could have the same name, so a part of their digest is added.
        options.append(f"-{plain}" if plain == named and is_vector else f"-{plain}-{(conditions.digest or '')[:8]}")
    return f"{kind}{''.join(options)}-seed{config.seed}"


def _named(option: Any) -> str:
    """The value of an option in the name of a folder. A component is written with its name and its options."""
    if isinstance(option, Mapping):
        return "-".join(str(value) if key == "name" else f"{key}{_named(value)}" for key, value in option.items())
    return str(option)


def _plain(text: str) -> str:
    """The text without characters that the name of a folder cannot have everywhere."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:LONGEST_NAME]
