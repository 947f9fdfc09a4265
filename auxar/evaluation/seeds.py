"""The means of runs over seeds: of runs whose recipes are the same, except for the seed of their training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import attrs
import torch

from auxar.evaluation.evaluated_run import EvaluatedRun
from auxar.evaluation.facts import Exactness

SEED = "training.seed"
"""The key of a recipe in which runs of the same setting may differ."""
RECORDS = ("minutes", "trackers", "log_every", "checkpoint_every")
OTHERS = ("sampling.", "evaluation.", *(f"training.{key}" for key in RECORDS))
"""Beginnings of the keys that do not change a model, which may differ, too."""
FIRST = (".view.name", ".support", "condition.kind", "prior.name")
"""Ends of the keys that come first among those that differ, because they tell most about a model."""


@attrs.frozen
class Setting:
    """Runs with the same settings, and the mean of their held-out bits/dim over seeds."""

    values: dict[str, Any]
    """The values of the keys in which the compared runs differ; None for a key that a recipe lacks."""
    runs: list[int]
    """Numbers of the runs, from 1. Of several runs with the same seed, the first counts."""
    seeds: list[Any]
    """Seeds of these runs."""
    bits_per_dim: float | None
    """Mean over seeds; None if the bits/dim of a run are unknown."""
    deviation: float | None
    """Sample standard deviation of a single run's bits/dim over seeds; None for a single seed."""
    kind: Exactness
    """Whether these bits/dim are exact or a bound."""


def by_setting(runs: Sequence[EvaluatedRun]) -> list[Setting]:
    """Groups runs by their settings and by the held-out images that they were evaluated on, in the order of the runs.

    Seeds of training, and the keys of drawing, of evaluation and of records, are no settings. A user's own training
    loop has no settings of training.
    """
    recipes = [_settings(run) for run in runs]
    used = dict.fromkeys(key for recipe in recipes for key in recipe)
    differing = [key for key in used if len({repr(recipe.get(key)) for recipe in recipes}) > 1]
    differing.sort(key=lambda key: next((rank for rank, end in enumerate(FIRST) if key.endswith(end)), len(FIRST)))
    differences = [{key: recipe.get(key) for key in differing} for recipe in recipes]
    groups: dict[str, dict[str, int]] = {}
    for number, run in enumerate(runs):
        group = groups.setdefault(repr([run.evaluation.data.heldout_digest, differences[number]]), {})
        group.setdefault(repr(run.recipe.get(SEED, 0)), number)
    return [_setting(runs, differences, list(group.values())) for group in groups.values()]


def _settings(run: EvaluatedRun) -> dict[str, Any]:
    others = (*OTHERS, "training.") if run.evaluation.weights == "own" else OTHERS
    return {key: value for key, value in run.recipe.items() if key != SEED and not key.startswith(others)}


def _setting(runs: Sequence[EvaluatedRun], differences: Sequence[dict[str, Any]], numbers: Sequence[int]) -> Setting:
    """The setting of the runs with these numbers, from 0, which have different seeds and equal `differences`."""
    own = [runs[number] for number in numbers]
    bits = [run.evaluation.bits_per_dim().value for run in own]
    values = torch.tensor([math.nan if value is None else value for value in bits], dtype=torch.float64)
    known = None not in bits
    return Setting(
        differences[numbers[0]],
        [number + 1 for number in numbers],
        [run.recipe.get(SEED, 0) for run in own],
        values.mean().item() if known else None,
        values.std().item() if known and len(bits) > 1 else None,
        own[0].evaluation.kind,
    )
