"""The command `launch`: trains the factors of a recipe's model as jobs of Slurm or of this machine."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs

from auxar.arguments import as_path
from auxar.commands.launched_jobs import active_jobs, holding_jobs, job_of, recorded_run, start_jobs, statuses
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.files import is_file, read_bytes
from auxar.generation.sample_folder import check_samples
from auxar.jobs.queues import LocalQueue, cancel_in_slurm, check_submitit, end_here
from auxar.jobs.records import jobs_folder, read_launch
from auxar.jobs.site import read_site
from auxar.jobs.status import JobStatus
from auxar.model import FLOAT, Chain
from auxar.model.rule_effects import check_rule
from auxar.pipeline import is_finished
from auxar.plugins import Registry
from auxar.recipe import Recipe, load_recipe, read_recipe, recipe_text
from auxar.recipe.building import build_model
from auxar.recipe.shipped import run_name
from auxar.report.progress import FactorProgress, training_progress
from auxar.runs.layout import RunFolder, check_folder
from auxar.runs.lock import holding
from auxar.runs.opening import begin_run, check_recipe, recipe_of_run
from auxar.training.conversion import check_options
from auxar.training.initialization import check_init
from auxar.training.lengths import check_lengths, is_trained, known_steps
from auxar.training.loop import check_training

logger = logging.getLogger("auxar")

FINISH = "finish"
"""The name of the last job, which evaluates the factors, draws samples and writes the report."""
LOCK_PATIENCE = 60.0
"""Maximum time, in seconds, that a launch waits for the lock of the run, which other commands may hold for moments."""


@attrs.frozen
class LaunchStatus:
    """The state of a run that was launched: the progress of its factors, and its jobs.

    Examples:
        >>> import auxar
        >>> auxar.launch_status("runs/quickstart").run.path.name
        'quickstart'
    """

    run: RunFolder
    """The run's folder."""
    factors: list[FactorProgress]
    """The progress of each factor's training."""
    jobs: list[JobStatus]
    """The last job of each name."""


def launch(
    path: str | PathLike[str],
    *,
    site: str | PathLike[str] | None = None,
    settings: Sequence[str] = (),
    out: str | PathLike[str] | None = None,
    trust_plugins: bool = False,
    **options: Any,
) -> LaunchStatus:
    """Trains the factors of a recipe's model as jobs at the same time; a last job evaluates them and finishes the run.

    `path`, `settings`, `out` and `trust_plugins` are those of `auxar.run`. `site` is a TOML file with the settings of
    the queue, and `options` are its keys: `on="slurm"`, or `on="local"` for jobs on this machine; `gpus_per_job`,
    `time`, `partition` and others. An option takes precedence over the file.

    With Slurm, the function returns when the jobs are submitted. Jobs on this machine are run to their end. A repeated
    call submits jobs only for factors that are not trained and not in the queue, and the last job. Needs
    `pip install 'auxar[launch]'`.

    Raises `UserError` if the recipe, the site or the folder are invalid, if the queue refuses the jobs, and, for jobs
    on this machine, if one of them fails.

    Examples:
        >>> import auxar
        >>> auxar.launch("quickstart", on="cloud")
        Traceback (most recent call last):
        auxar.errors.UserError: --on: expected one of slurm, local, got 'cloud'
    """
    path = as_path(path, "path")
    folder = Path("runs", run_name(path)) if out is None else as_path(out, "out")
    chosen = read_site(None if site is None else as_path(site, "site"), options)
    check_submitit()
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar launch: run this command in one process; it starts the others itself")
    recipe, registry = load_recipe(path, settings, trust_plugins=trust_plugins)
    network = build_model(recipe, registry, on="meta")
    check_rule(network, recipe.sampling.draw_rule(), recipe.arithmetic.name, key="sampling.rule")
    check_training(recipe, recipe.factor_names, chosen.processes)
    queue = LocalQueue(chosen) if chosen.on == "local" else None
    # A job may change its working directory, so it gets full paths.
    run = RunFolder(Path(os.path.abspath(folder)))
    check_folder(run.path)
    if recipe.sampling.images:
        check_samples(run.samples)
    with holding_jobs(run):
        begun = active_jobs(run, chosen, queue, (*recipe.factor_names, FINISH))
        _begin(run, recipe, registry, network, begun)
        totals = {name: known_steps(run, recipe, name) for name in recipe.factor_names}
        missing = [name for name, total in totals.items() if total is None or not is_trained(run, name, total)]
        known = {name: total for name, total in totals.items() if total is not None}
        if not missing and is_finished(run, recipe, network, known):
            logger.info("this run is finished: %s", run.report)
        else:
            command = ["run", str(run.recipe), "--out", str(run.path), *(["--trust-plugins"] if trust_plugins else [])]
            # The coarsest factor is the fastest, so problems with the images show up early.
            jobs = [
                job_of(run, chosen, name, [*command, "--factors", name, "--train-only"], continues=True)
                for name in missing[::-1]
                if name not in begun
            ]
            start_jobs(run, chosen, queue, jobs, job_of(run, chosen, FINISH, command), begun)
    return launch_status(run)


def _begin(run: RunFolder, recipe: Recipe, registry: Registry, model: Chain, begun: Collection[str]) -> None:
    """Writes the recipe into the run's folder. Raises `UserError` if the run, or its jobs `begun`, have another one."""
    same = is_file(run.recipe) and read_bytes(run.recipe) == recipe_text(recipe_of_run(recipe)).encode()
    if begun and not same:
        raise UserError(
            f"{run.path} has jobs that use the recipe with other settings; wait for their end, or end them with "
            f"`auxar launch --cancel {run.path}`"
        )
    if begun:
        return  # The jobs hold the lock of the run from time to time.
    with holding(run.path, patience=LOCK_PATIENCE):
        check_recipe(run, recipe, registry)
        check_init(run, recipe, model, recipe.factor_names)
        if recipe.arithmetic.name != FLOAT:
            check_options(run, recipe.factor_names, recipe.arithmetic)
        totals = {name: known_steps(run, recipe, name) for name in recipe.factor_names}
        if None not in totals.values():
            check_lengths(run, recipe, model, recipe.factor_names, {name: total or 0 for name, total in totals.items()})
        begin_run(run.path, recipe, registry, ())


def launch_status(path: str | PathLike[str]) -> LaunchStatus:
    """Reads the progress of a run that was launched, and the states of its jobs. The run's plugins are not loaded.

    Raises `UserError` if `path` is not a run's folder, or if Slurm does not answer.

    Examples:
        >>> import auxar
        >>> status = auxar.launch_status("runs/quickstart")
        >>> [(factor.factor, factor.trained) for factor in status.factors], status.jobs
        ([('stage0', True), ('stage1', True), ('prior', True)], [])
    """
    found, run = recorded_run(path)
    launched = read_launch(run)
    jobs = [] if launched is None else statuses(run, launched)
    return LaunchStatus(run, training_progress(found, read_recipe(found.recipe)), jobs)


def cancel_launch(path: str | PathLike[str]) -> LaunchStatus:
    """Ends the jobs of a run. Trainings write a checkpoint, from which the next launch continues.

    Raises `UserError` like `launch_status`.

    Examples:
        >>> import auxar
        >>> auxar.cancel_launch("runs/quickstart").jobs  # This run has no jobs.
        []
    """
    _, run = recorded_run(path)
    if (launched := read_launch(run)) is not None:
        active = {job.id for job in statuses(run, launched) if job.is_active}
        jobs = [job for job in launched.jobs if job.id in active]
        if launched.on == "slurm" and jobs:
            cancel_in_slurm([job.id for job in jobs])
        elif launched.launcher is not None and launched.launcher.is_here:
            # It ends its jobs, also those that are just starting, and starts no others.
            os.kill(launched.launcher.pid, signal.SIGTERM)
        else:
            for job in jobs:
                end_here(jobs_folder(run), job)
    return launch_status(path)
