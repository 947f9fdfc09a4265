"""The history of a factor's training, which files of weights, checkpoints and evaluations record.

A factor may be trained in several parts: a finished run can be trained further, and lengths and learning rates may
change between parts. Training may also begin with the weights of another run. Repeating the parts gives the same
weights.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
from attrs.validators import ge

from auxar.recipe import TrainingConfig
from auxar.recipe.facts import flat
from auxar.recipe.schema import LENGTHS
from auxar.recipe.structuring import unstructure
from auxar.runs.records import read_entry

LEARNING_RATE = "learning_rate"
"""The option of optimizers that may change when a run is continued."""
RATES = ("schedule", "warmup")
"""The keys of [training] that, with the optimizer's learning rate, set the learning rate of each step."""
HISTORY = "history"
"""Metadata key of the history in files of weights and checkpoints."""


@attrs.frozen
class Origin:
    """The weights of another run that a factor's training began with."""

    run: str
    """Full path of the other run's folder."""
    checksum: str
    """Checksum that the file of these weights contains."""


@attrs.frozen
class OwnData:
    """A data set of its own that a factor was trained on."""

    path: str
    """The recipe's `data.path` of this factor."""
    images: int | None
    """Number of its training images; None for a stream."""

    def __str__(self) -> str:
        return f"{'a stream' if self.images is None else f'{self.images:,} images'} of {self.path}"


@attrs.frozen
class Part:
    """Consecutive steps of training with the same settings of length and learning rate."""

    first_step: int = attrs.field(validator=ge(1))
    """Number of the first step. The first step of training has number 1."""
    last_step: int = attrs.field(validator=ge(0))
    """Number of the last step; `first_step` - 1 if the part has no steps."""
    settings: Mapping[str, Any] = attrs.field(factory=dict)
    """The settings of length and learning rate, see `settings_of`. The mapping is empty if a user's own training loop
    trained this part."""


@attrs.frozen
class History:
    """The parts of a factor's training, in order, the weights that it began with, and its own data set."""

    parts: tuple[Part, ...] = ()
    init: Origin | None = None
    """The weights of another run that training began with; None if the weights were initialized."""
    data: OwnData | None = None
    """The data set that the factor was trained on, if it has one of its own."""

    def continued(self, step: int, config: TrainingConfig) -> History:
        """Returns the history of a training that continues after `step` steps with the settings in `config`."""
        settings = settings_of(config)
        if self.parts and self.parts[-1].settings == settings:
            return self
        return attrs.evolve(self, parts=(*_not_empty(self.parts), Part(step + 1, step, settings)))

    def until(self, step: int) -> History:
        """Returns the history with `step` as the last step of its last part."""
        parts = (*self.parts[:-1], attrs.evolve(self.parts[-1], last_step=step))
        return attrs.evolve(self, parts=_not_empty(parts) or parts)

    def text(self) -> str:
        """Returns the history as JSON."""
        return json.dumps(attrs.asdict(self))


def _not_empty(parts: tuple[Part, ...]) -> tuple[Part, ...]:
    return tuple(part for part in parts if part.last_step >= part.first_step)


def settings_of(config: TrainingConfig) -> dict[str, Any]:
    """The settings of length and learning rate in `config`, by their dotted keys below [training], such as
    "schedule.name". Keys that are not set are left out.
    """
    table = {key: value for key, value in unstructure(config).items() if key in (*LENGTHS, "optimizer", *RATES)}
    table["optimizer"] = {key: value for key, value in table["optimizer"].items() if key == LEARNING_RATE}
    return {path: value for path, value in flat(table) if value != {}}


def read_history(metadata: Mapping[str, str], path: Path) -> History:
    """The history in the metadata of a file of weights or a checkpoint.

    Raises `DamagedFile` if it is missing or not a valid history.
    """
    return read_entry(metadata, HISTORY, History, path)
