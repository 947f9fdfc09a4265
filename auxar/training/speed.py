"""The speed of training on this machine, and numbers of steps that take a given time (`training.minutes`)."""

import contextlib
import functools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs
from accelerate import Accelerator

from auxar.data.loading import images_of, with_own_data
from auxar.data.sets import DataSets
from auxar.errors import logger
from auxar.evaluation.evaluated_run import SEED
from auxar.files import is_file
from auxar.model import recomputing
from auxar.recipe import Recipe, read_recipe
from auxar.recipe.building import build_model
from auxar.recipe.cost import FactorCost
from auxar.runs.layout import RunFolder
from auxar.runs.opening import different_keys, recipe_of_run
from auxar.training.factors import at_crops
from auxar.training.lengths import is_trainable, number_of_images
from auxar.training.loop import FactorLoop
from auxar.training.schedules import make_optimizer
from auxar.work.accelerator import make_accelerator, mean

UNCOUNTED = 2
"""Number of first steps that are not counted. They are slower, and one tries another number of threads."""
SECONDS = 2.0
"""Time in seconds for which further steps are counted, after the first."""
MOST = 200
"""Maximum number of steps."""


class _Trial(FactorLoop):
    """Some steps of training that write no files, and whose weights are not kept."""

    def seconds_per_step(self) -> float:
        """Measures the mean time of a step, the same number in all processes."""
        own = make_optimizer(self.factor, self.config.optimizer, self.total)
        model, optimizer = self.accelerator.prepare(self.factor.train(), own)
        found: list[float] = []
        with recomputing(self.factor) if self.config.recompute else contextlib.nullcontext():
            started = time.perf_counter()
            for batch in self._batches(range(self.total)):
                if self.threads.undecided:
                    self.threads.agree(functools.partial(self._gradient, model, batch))
                with self.threads.measured():
                    self._accumulate(model, batch).item()  # A GPU has then computed what came before.
                    optimizer.step()
                optimizer.zero_grad(set_to_none=True)
                found += mean(self.accelerator, [time.perf_counter() - started])
                started = time.perf_counter()
                if sum(found[UNCOUNTED:]) > SECONDS:
                    break
        return statistics.mean(found[UNCOUNTED:])


def seconds_per_step(recipe: Recipe, data: DataSets, accelerator: Accelerator) -> dict[str, float]:
    """Measures the time in seconds that a training step of each factor takes here, without compiling.

    It is 0 for factors that have nothing to train.
    """
    # The speed does not depend on the length of training, but the loop has one.
    recipe = recipe.with_steps(dict.fromkeys(recipe.factor_names, MOST))
    model, found = build_model(recipe), {}
    for factor in model.all_factors:
        trial = _Trial(*at_crops(model, factor, data, recipe), recipe, RunFolder(Path()), accelerator)
        found[factor.name] = trial.seconds_per_step() if is_trainable(factor) else 0.0
        factor.to("cpu")
        accelerator.free_memory()
    return found


def timed_steps(recipe: Recipe, data: Callable[[], DataSets], accelerator: Accelerator) -> dict[str, int]:
    """The numbers of steps that take the recipe's minutes, for factors whose length of training is in minutes.

    `data` is called, and the speed is measured, if there are such factors. All processes get the same numbers.
    """
    if not _timed(recipe):
        return {}
    logger.info("training.minutes: measuring the time of training steps")
    seconds = seconds_per_step(recipe, data(), accelerator)
    steps = _divided(recipe, seconds)
    told = (f"{name} {count:,} steps in {count * seconds[name] / 60:.1f} minutes" for name, count in steps.items())
    logger.info("training.minutes: %s", ", ".join(told))
    return steps


def _timed(recipe: Recipe) -> list[str]:
    return [name for name in recipe.factor_names if recipe.training_of(name).minutes is not None]


def _divided(recipe: Recipe, seconds: Mapping[str, float]) -> dict[str, int]:
    """The numbers of steps that `TrainingConfig.minutes` describes, for steps of these durations."""
    own = {name: recipe.training_of(name).minutes or 0.0 for name in _timed(recipe)}
    shared = [name for name in own if own[name] == recipe.training.minutes]
    left = (recipe.training.minutes or 0.0) - sum(minutes for name, minutes in own.items() if name not in shared)
    roots = sum(math.sqrt(seconds[name]) for name in shared) or 1.0
    minutes = own | {name: left * math.sqrt(seconds[name]) / roots for name in shared}
    return {name: max(1, round(60 * minutes[name] / (seconds[name] or math.inf))) for name in own}


def stored_steps(run: RunFolder, recipe: Recipe) -> dict[str, int]:
    """The numbers of steps that a begun run stores for factors whose length of training the recipe gives in minutes.

    If a run with a checkpoint gets other minutes, the steps change in proportion. The dictionary is empty if the run
    has another recipe, except for the seed, and no checkpoint, or if single factors have minutes of their own.
    """
    if not (names := _timed(recipe)) or not is_file(run.recipe):
        return {}
    stored = read_recipe(run.recipe)
    is_other = not run.saved and set(different_keys(stored, recipe_of_run(recipe))) - {SEED}
    before, now = stored.training.minutes, recipe.training.minutes
    shared = all(recipe.training_of(name).minutes == now for name in names)
    if is_other or (before != now and not (before and now and shared and run.saved)):
        return {}
    share = now / before if before and now else 1
    found = {name: stored.training_of(name).steps for name in names}
    return {name: max(1, round(steps * share)) for name, steps in found.items() if steps is not None}


def with_times(recipe: Recipe, costs: Sequence[FactorCost]) -> list[FactorCost]:
    """The costs of a recipe's factors with their numbers of steps and the minutes that these take here."""
    data = with_own_data(images_of(recipe), recipe, recipe.factor_names)
    seconds = seconds_per_step(recipe, data, make_accelerator(recipe.training.precision, Path()))
    recipe = recipe.with_steps(_divided(recipe, seconds))
    found = []
    for cost in costs:
        count = number_of_images(data.of(cost.factor).train)
        steps = recipe.training_of(cost.factor).total_steps(count)
        found.append(attrs.evolve(cost, steps=steps, minutes=steps * seconds[cost.factor] / 60))
    return found
