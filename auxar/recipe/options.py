"""Values that a command gives in place of a run's own: its `--set` keys, and the options of [sampling]."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from auxar.errors import UserError, one_line, shown
from auxar.recipe.schema import SamplingConfig

FLAGS = {"images": "-n"}
"""Options of the command line that are not spelled as the key of [sampling] is."""


def check_settings(settings: Sequence[str], *allowed: str) -> None:
    """Raises `UserError` for a `key=value` setting whose key begins with none of the `allowed` prefixes.

    Other keys are part of the training: changing them afterwards would give figures of another model.
    """
    for setting in settings:
        if not setting.strip().startswith(allowed):
            raise UserError(f"--set {setting}: only keys {', '.join(p + '…' * p.endswith('.') for p in allowed)}")


def sampling_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """The keys of [sampling] among `options` that are given, which are those that are not None.

    A rule other than 'reduced' comes with a reduction of 0, since the run's own belongs to its own rule. Raises
    `UserError`, naming the option, for a value that the key does not take.
    """
    fields = attrs.fields_dict(SamplingConfig)
    given = {name: value for name, value in options.items() if value is not None}
    for name, value in given.items():
        validator = fields[name].validator
        try:
            if validator is not None:
                validator(None, fields[name], value)
        except (ValueError, TypeError) as error:
            flag = FLAGS.get(name, f"--{name.replace('_', '-')}")
            raise UserError(f"{flag} {one_line(shown(value))}: {error.args[0]}") from None
    if given.get("rule", "reduced") != "reduced":
        given.setdefault("reduction", 0.0)
    return given


def sets(settings: Sequence[str], key: str) -> bool:
    """Whether one of the `key=value` settings sets the key."""
    return any(setting.partition("=")[0].strip() == key for setting in settings)
