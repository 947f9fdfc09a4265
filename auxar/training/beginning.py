"""Begins or continues the training of a run: checks the folder, and writes the recipe."""

import contextlib
import functools
from collections.abc import Callable, Sequence
from pathlib import Path

import attrs
from accelerate import Accelerator

from auxar.data.loading import images_of, with_own_data
from auxar.data.sets import DataSets
from auxar.exporting import keep_integers
from auxar.files import entries, is_file
from auxar.model import FLOAT, Chain
from auxar.recipe import Recipe
from auxar.runs.layout import RunFolder
from auxar.runs.lock import holding, holding_for_all
from auxar.runs.opening import begin_run, check_recipe, recipe_of_run, stores
from auxar.training.conversion import is_converted
from auxar.training.initialization import check_init
from auxar.training.lengths import check_lengths, is_trained, needs_images, taken_steps, total_steps
from auxar.training.speed import stored_steps, timed_steps
from auxar.work.processes import Processes

PATIENCE = 300.0
"""Maximum time, in seconds, that a call waits for others that use the run's folder, for example that begin, too."""


@attrs.frozen(eq=False, slots=False)
class Task:
    """The factors of a recipe's model that a call trains, in a run's folder."""

    run: RunFolder
    recipe: Recipe
    network: Chain
    """The model, without values of its weights."""
    names: Sequence[str]
    """The factors to train."""

    @functools.cached_property
    def data(self) -> DataSets:
        """The images of the recipe, and the own data sets of factors that need them."""
        factors = [name for name in self.recipe.factor_names if needs_images(self.run, self.recipe, name, self.names)]
        return with_own_data(images_of(self.recipe), self.recipe, factors)


def begin(
    task: Task, accelerator: Accelerator, processes: Processes, check: Callable[[Path], None]
) -> tuple[Recipe, dict[str, int]]:
    """Writes the recipe into the run's folder, or finds that it is there.

    Returns the recipe as the folder stores it, and the number of steps that it sets for each factor. Several calls may
    work on a run with the same recipe, and train different factors. Settings of the run may change only while no factor
    is trained.

    The main process calls `check` with the folder. Raises `UserError`, and writes nothing, if this or another check
    fails, or if the processes differ.
    """
    run, recipe = task.run, task.recipe
    with processes.agreeing() as facts:
        if processes.is_main:
            check(run.path)
        facts["whether the run is new"] = not is_file(run.recipe)
        facts |= check_init(run, recipe, task.network, task.names)
        check_recipe(run, recipe)
        if recipe.arithmetic.name != FLOAT:
            for name in recipe.factor_names:
                is_converted(run, name, recipe.arithmetic)
        # The images are loaded before the folder is locked, because others wait for this lock, and before the folder of
        # a new run is made, so that a mistake in [data] leaves no folder.
        if not is_file(run.recipe) or len(run.trained(recipe)) < len(recipe.factor_names):
            facts |= task.data.facts
    with holding_for_all(run.path, processes, check, patience=PATIENCE):
        with processes.agreeing():
            recipe = recipe.with_steps(stored_steps(run, recipe))
            timed = timed_steps(recipe, lambda: task.data, accelerator)
            # The machine may be slower now than when the factors were trained for a number of steps.
            recipe = recipe.with_steps({name: max(count, taken_steps(run, name)) for name, count in timed.items()})
            steps = total_steps(run, recipe, lambda name: task.data.of(name).train)
            check_lengths(run, recipe, task.network, task.names, steps)
        with processes.agreeing(), contextlib.ExitStack() as held:
            if processes.is_main:
                if is_file(run.recipe) and not stores(run, recipe):
                    for folder in entries(run.path, "factors/*"):
                        held.enter_context(holding(folder))
                if not all(is_trained(run, name, steps[name]) for name in task.names):
                    keep_integers(run, recipe)
                begin_run(run.path, recipe)
    return recipe_of_run(recipe), steps
