"""Opens trained runs for the commands that draw images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

import attrs
from accelerate import Accelerator

from auxar.arguments import as_path
from auxar.distributed.accelerator import make_accelerator
from auxar.model import Chain
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.recipe.options import check_settings
from auxar.runs.arithmetic import model_in
from auxar.runs.layout import RunFolder
from auxar.runs.opening import open_run, run_facts


@attrs.frozen
class TrainedRun:
    """A run with all factors trained, and its model on the device of the accelerator."""

    folder: RunFolder
    recipe: Recipe
    registry: Registry
    model: Chain
    accelerator: Accelerator

    @property
    def facts(self) -> dict[str, Any]:
        """Values by name that must be equal in all processes that draw images together."""
        digests = self.model.digests
        numbers = {f"the digest of {name} ({self.model.arithmetic})": digest for name, digest in digests.items()}
        return {**run_facts(self.folder, self.recipe, self.registry), **numbers}


def open_trained(
    run: str | PathLike[str],
    settings: Sequence[str],
    *allowed: str,
    sampling: Mapping[str, Any] | None = None,
    arithmetic: str | None = None,
    trust_plugins: bool,
) -> TrainedRun:
    """Opens a trained run. `settings` may set keys of [sampling] and the `allowed` keys of its recipe.

    The values in `sampling` then replace keys of [sampling]. Raises `UserError` for a setting of any other key, if
    weights are missing or damaged, or if the run has plugin files that are not trusted.
    """
    path = as_path(run, "run")
    check_settings(settings, "sampling.", *allowed)
    folder, recipe, registry = open_run(path, settings, sampling=sampling, trust_plugins=trust_plugins)
    model = model_in(folder, recipe, registry, arithmetic)
    accelerator = make_accelerator(recipe.training.precision, folder.path)
    model.eval().to(accelerator.device)
    return TrainedRun(folder, recipe, registry, model, accelerator)
