"""Begins or continues the training of a run: checks the folder, locks it, and writes the recipe."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs

from auxar.data import DataSets, ImageSet, load_images
from auxar.distributed.processes import Processes
from auxar.files import is_file
from auxar.model import FLOAT, Chain
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.runs.factor_locks import holding_factors, holding_others_if_replaced
from auxar.runs.layout import RunFolder
from auxar.runs.lock import holding_for_all
from auxar.runs.opening import begin_run, check_recipe, recipe_of_run
from auxar.training.conversion import check_options
from auxar.training.initialization import check_init
from auxar.training.lengths import check_lengths, total_steps

LOCK_PATIENCE = 300.0
"""Maximum time, in seconds, that a call with `train_only` waits while others that train factors of the run begin."""


@attrs.frozen(eq=False, slots=False)
class Task:
    """The factors of a recipe's model that a call trains, in a run's folder."""

    run: RunFolder
    recipe: Recipe
    registry: Registry
    network: Chain
    """The model, without values of its weights."""
    names: Sequence[str]
    """The factors to train."""
    train_only: bool = False
    """Whether nothing else is done. Several calls may then train different factors of the run at the same time."""

    @functools.cached_property
    def data(self) -> DataSets:
        """The images of the recipe."""
        return load_images(self.recipe.data, self.recipe.image, self.registry, self.recipe.condition)

    def checked_steps(self, training_images: Callable[[], ImageSet] | None = None) -> dict[str, int]:
        """Checks that the run can be continued with the recipe. Returns the result of `total_steps`.

        Raises `UserError` like `check_recipe`, `check_options` and `check_lengths`.
        """
        check_recipe(self.run, self.recipe, self.registry)
        if self.recipe.arithmetic.name != FLOAT:
            check_options(self.run, self.recipe.factor_names, self.recipe.arithmetic)
        totals = total_steps(self.run, self.recipe, training_images)
        check_lengths(self.run, self.recipe, self.network, self.names, totals)
        return totals


@attrs.frozen
class Begun:
    """A run whose training has begun."""

    recipe: Recipe
    """The recipe as the run's folder stores it."""
    steps: dict[str, int]
    """The number of steps that the recipe sets for each factor."""
    release: Callable[[], None]
    """Releases the lock of the run's folder. Those of the factors that are trained are kept."""


@contextlib.contextmanager
def beginning(task: Task, processes: Processes, check: Callable[[Path], None]) -> Iterator[Begun]:
    """Writes the recipe into the run's folder, and holds the locks of the folder and of the factors to train.

    The main process calls `check` with the folder. Raises `UserError`, and writes nothing, if this or another check
    fails, or if the processes differ.
    """
    run, names = task.run, task.names
    with processes.agreeing() as facts:
        if processes.is_main:
            check(run.path)
        is_new = facts["whether the run is new"] = not is_file(run.recipe)
        facts |= check_init(run, task.recipe, task.network, names)
        # A new run's images are loaded before its folder is made, so that a mistake in [data] leaves no folder.
        # With `train_only`, they are loaded before the folder is locked, because others wait for this lock.
        if is_new or task.train_only:
            facts |= task.data.facts
    with contextlib.ExitStack() as of_factors, contextlib.ExitStack() as of_folder:
        patience = LOCK_PATIENCE if task.train_only else 0.0
        of_folder.enter_context(holding_for_all(run.path, processes, check, patience=patience))
        with processes.agreeing():
            steps = task.checked_steps(lambda: task.data.train)
        before = () if is_new else names
        of_factors.enter_context(holding_factors(run, before, processes))
        with holding_others_if_replaced(run, task.recipe, before, processes), processes.agreeing():
            if processes.is_main:
                begin_run(run.path, task.recipe, task.registry, before)
        if is_new:
            of_factors.enter_context(holding_factors(run, names, processes))
        yield Begun(recipe_of_run(task.recipe), steps, of_folder.close)
