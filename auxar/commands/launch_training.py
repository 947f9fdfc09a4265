"""Training the factors of a recipe's model as jobs, for the command `launch`."""

from __future__ import annotations

import logging
from collections.abc import Callable

from auxar.commands.launched_jobs import active_jobs, holding_jobs, job_of, start_jobs
from auxar.distributed.processes import working_together
from auxar.draw.sample_folder import check_samples
from auxar.errors import UserError
from auxar.files import is_file, read_bytes
from auxar.jobs.queues import LocalQueue
from auxar.jobs.site import Site
from auxar.plugins import Registry
from auxar.recipe import Recipe, recipe_text
from auxar.recipe.building import checked_model
from auxar.report.finished import is_finished
from auxar.runs.layout import RunFolder, check_folder
from auxar.runs.lock import holding
from auxar.runs.opening import begin_run, recipe_of_run
from auxar.training.beginning import Task
from auxar.training.initialization import check_init
from auxar.training.lengths import is_trained, total_steps
from auxar.training.loop import check_training

logger = logging.getLogger("auxar")

FINISH = "finish"
"""The name of the last job, which evaluates the factors, draws samples and writes the report."""
LOCK_PATIENCE = 60.0
"""Maximum time, in seconds, that a launch waits for the lock of the run, which other commands may hold for moments."""


def launch_training(
    load: Callable[[], tuple[Recipe, Registry]],
    run: RunFolder,
    site: Site,
    queue: LocalQueue | None,
    *,
    trust_plugins: bool,
) -> None:
    """Starts a job for each factor, of the recipe that `load` returns, that is not trained, and the last job.

    `run` has a full path, because a job may change its working directory. Jobs get `trust_plugins`. Without `queue`,
    they are submitted to Slurm.
    """
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar launch: run this command in one process; it starts the others itself")
    recipe, registry = load()
    task = Task(run, recipe, registry, checked_model(recipe, registry), recipe.factor_names)
    check_training(recipe, task.names, site.processes)
    check_folder(run.path)
    if recipe.sampling.images:
        check_samples(run.samples)
    with holding_jobs(run):
        begun = active_jobs(run, site, queue, (*task.names, FINISH))
        if begun:  # The jobs hold the lock of the run from time to time.
            _check_same(task)
        else:
            _begin(task)
        steps = total_steps(run, recipe)
        missing = [name for name in task.names if name not in steps or not is_trained(run, name, steps[name])]
        if not missing and is_finished(run, recipe, task.network, steps):
            logger.info("this run is finished: %s", run.report)
            return
        command = ["run", str(run.recipe), "--out", str(run.path), *(["--trust-plugins"] if trust_plugins else [])]
        # The coarsest factor is the fastest, so problems with the images show up early.
        jobs = [
            job_of(run, site, name, [*command, "--factors", name, "--train-only"], continues=True)
            for name in missing[::-1]
            if name not in begun
        ]
        start_jobs(run, site, queue, jobs, job_of(run, site, FINISH, command), begun)


def _check_same(task: Task) -> None:
    """Raises `UserError` unless the run's folder has exactly this recipe."""
    run = task.run
    if not is_file(run.recipe) or read_bytes(run.recipe) != recipe_text(recipe_of_run(task.recipe)).encode():
        raise UserError(
            f"{run.path} has jobs that use the recipe with other settings; wait for their end, or end them with "
            f"`auxar launch --cancel {run.path}`"
        )


def _begin(task: Task) -> None:
    """Writes the recipe into the run's folder. Raises `UserError` if the run has another one."""
    run = task.run
    with holding(run.path, patience=LOCK_PATIENCE):
        check_init(run, task.recipe, task.network, task.names)
        task.checked_steps()
        begin_run(run.path, task.recipe, task.registry)
