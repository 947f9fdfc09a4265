"""Rules for settings that replace other settings, in [training.factor.NAME], by `--set` and by options."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LENGTHS = frozenset({"steps", "epochs"})
"""The keys that give the length of training."""
REQUIREMENTS: Mapping[str, tuple[str, str]] = {
    "weight_decay": ("optimizer", "adamw"),
    "decay": ("schedule", "exponential"),
    "final_fraction": ("schedule", "cosine"),
}
"""The keys that apply only to one optimizer or schedule: the key that chooses it, and its name."""


def replaced(settings: Mapping[str, Any]) -> frozenset[str]:
    """The keys of [training] whose earlier values do not apply any more if `settings` are added.

    A length replaces both keys of the length. An optimizer or schedule replaces the keys that only another one has.
    Values in `settings` apply in any case.
    """
    lengths = LENGTHS if settings.keys() & LENGTHS else frozenset()
    return lengths | {key for key, (choice, name) in REQUIREMENTS.items() if settings.get(choice, name) != name}


def remove_replaced(training: dict[str, Any], key: str) -> None:
    """Removes the settings that a new setting of `key` in `training` replaces.

    `training` is the table [training] or [training.factor.NAME]. A new length in [training] also replaces the lengths
    of single factors. A new optimizer or schedule in [training] leaves factors unchanged that choose their own.
    """
    obsolete = replaced({key: training[key]})
    for other in obsolete - {key}:
        training.pop(other, None)
    factors = training.get("factor")
    for override in factors.values() if isinstance(factors, dict) else ():
        if isinstance(override, dict) and (key in LENGTHS or key not in override):
            for other in obsolete:
                override.pop(other, None)


def without_reduction_of_another_rule(sampling: Mapping[str, Any], written: Mapping[str, Any]) -> dict[str, Any]:
    """The table [sampling] without the reduction that the recipe's file gives, if settings have replaced its rule.

    `written` is the table in the file. The reduction of a recipe applies only to the rule of the recipe, so that a new
    rule has its own default.
    """
    rules = [table.get("rule", "ancestral") for table in (sampling, written)]
    if rules[0] == rules[1] or sampling.get("reduction") != written.get("reduction"):
        return dict(sampling)
    return {key: value for key, value in sampling.items() if key != "reduction"}
