"""The command `launch`: trains the factors of a recipe's model as jobs of Slurm or of this machine."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
from collections.abc import Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import attrs

from auxar.arguments import as_path
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.files import read_bytes
from auxar.interfaces.rule_use import IN_RECIPE, check_rule
from auxar.jobs.job import Job
from auxar.jobs.queues import (
    LocalQueue,
    cancel_in_slurm,
    check_submitit,
    end_here,
    states_in_slurm,
    submit_to_slurm,
)
from auxar.jobs.records import Launch, jobs_folder, read_launch, state_path, write_launch
from auxar.jobs.site import Site, read_site
from auxar.pipeline import is_finished
from auxar.recipe import load_recipe, read_recipe, recipe_text
from auxar.recipe.building import build_model
from auxar.recipe.shipped import run_name
from auxar.report.jobs import JobStatus, job_lines, job_statuses
from auxar.report.progress import FactorProgress, training_progress
from auxar.runs.layout import RunFolder, check_contents, check_folder
from auxar.runs.lock import holding
from auxar.runs.opening import begin_run, check_recipe, recipe_of_run
from auxar.runs.wrong_path import check_is_run
from auxar.training.lengths import is_trained, known_steps
from auxar.training.loop import check_training

logger = logging.getLogger("auxar")

FINISH = "finish"
"""The name of the last job, which evaluates the factors, draws samples and writes the report."""
OTHERS_BEGIN = 60.0
"""Maximum time, in seconds, that a launch waits for the lock of the run, which jobs hold while they begin."""


@attrs.frozen
class LaunchStatus:
    """The state of a run that was launched: the progress of its factors, and its jobs.

    Examples:
        >>> import auxar
        >>> auxar.launch_status("runs/quickstart").run.name
        'runs/quickstart'
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
    call submits only jobs for work that is not done, and not in the queue yet. Needs `pip install 'auxar[launch]'`.

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
    check_rule(network, recipe.sampling.draw_rule(), spelling=IN_RECIPE)
    check_training(recipe, recipe.factor_names, chosen.processes)
    queue = LocalQueue(chosen) if chosen.on == "local" else None
    # A job may change its working directory, so it gets full paths.
    run = RunFolder(Path(os.path.abspath(folder)))
    check_folder(run.path)
    with contextlib.ExitStack() as run_lock, contextlib.ExitStack() as jobs_lock:
        # Jobs hold the lock of the run while they begin.
        run_lock.enter_context(holding(run.path, patience=OTHERS_BEGIN))
        check_recipe(run, recipe, registry)
        begun = _active(run, chosen)
        if begun and queue is not None:
            raise UserError(
                f"{run.path} has jobs that still run on this machine: {', '.join(begun)}; wait for their end, or end "
                f"them with `auxar launch --cancel {run.path}`"
            )
        text = recipe_text(recipe_of_run(recipe))
        if begun and read_bytes(run.recipe).decode() != text:
            raise UserError(
                f"{run.path} has jobs that use the recipe with other settings; wait for their end, or end them with "
                f"`auxar launch --cancel {run.path}`"
            )
        begin_run(run.path, recipe, registry, ())
        jobs_lock.enter_context(holding(jobs_folder(run)))
        run_lock.close()
        totals = {name: known_steps(run, recipe, name) for name in recipe.factor_names}
        missing = [name for name, total in totals.items() if total is None or not is_trained(run, name, total)]
        known = {name: total for name, total in totals.items() if total is not None}
        if not missing and is_finished(run, recipe, network, known):
            logger.info("this run is finished: %s", run.report)
        else:
            trust = ("--trust-plugins",) if trust_plugins else ()
            make = functools.partial(_job, run, chosen, trust)
            # The coarsest factor is the fastest, so problems with the images show up early.
            new = [make(name, "--factors", name, "--train-only") for name in missing[::-1] if name not in begun]
            if queue is None:
                _submit_to_slurm(run, chosen, new, make(FINISH), begun)
            else:
                _run_here(run, queue, new, make(FINISH))
    return launch_status(run)


def _active(run: RunFolder, site: Site) -> dict[str, str]:
    """The numbers of the run's jobs that run or wait, by name. Raises `UserError` if they are in another queue."""
    before = read_launch(run)
    if before is None:
        return {}
    found = {job.name: job.id for job in _statuses(run, before) if job.is_active}
    if found and before.on != site.on:
        raise UserError(
            f"{run.path} has jobs in the queue `{before.on}`; wait for their end, or end them with "
            f"`auxar launch --cancel {run.path}`"
        )
    return found


def _job(run: RunFolder, site: Site, further: Sequence[str], name: str, *arguments: str) -> Job:
    command = ("run", str(run.recipe), "--out", str(run.path), *arguments, *further)
    return Job(name, command, state_path(jobs_folder(run), name), site.processes, gpus=site.gpus_per_job > 0)


def _submit_to_slurm(run: RunFolder, site: Site, jobs: Sequence[Job], finish: Job, begun: Mapping[str, str]) -> None:
    """Submits jobs that train factors, and the job `finish`, which begins when these and those in `begun` are done."""
    folder, title = jobs_folder(run), f"auxar-{run.path.name}"
    launched = _launch_on(run, "slurm")
    needed = [number for name, number in begun.items() if name != FINISH]
    if jobs:
        # The jobs are recorded at once, so that none is lost if Slurm does not accept the next one.
        new = submit_to_slurm(site, folder, title, jobs, ())
        launched = launched.with_jobs(new)
        write_launch(run, launched)
        needed += [job.id for job in new]
        if FINISH in begun:
            cancel_in_slurm([begun[FINISH]])  # It does not wait for the new jobs.
    if jobs or FINISH not in begun:
        write_launch(run, launched.with_jobs(submit_to_slurm(site, folder, title, [finish], needed)))


def _run_here(run: RunFolder, queue: LocalQueue, jobs: Sequence[Job], finish: Job) -> None:
    """Runs jobs that train factors, and then the job `finish`. Raises `UserError` if one of them fails."""
    launched = _launch_on(run, "local")
    for part in (jobs, [finish]):
        for job in queue.run(part, jobs_folder(run)):
            launched = launched.with_jobs([job])
            write_launch(run, launched)
            logger.info("job %s (%s) has begun; its messages are in %s", job.id, job.name, job.log)
        names = {job.name for job in part}
        if problems := job_lines([job for job in _statuses(run, launched) if job.name in names]):
            raise UserError(f"{'; '.join(problems)}; the same command continues the run")


def _launch_on(run: RunFolder, queue: Literal["slurm", "local"]) -> Launch:
    """The record of the run's jobs in a queue, without those of an earlier launch in the other queue."""
    before = read_launch(run)
    return before if before is not None and before.on == queue else Launch(queue, [])


def launch_status(path: str | PathLike[str]) -> LaunchStatus:
    """Reads the progress of a run that was launched, and the states of its jobs. The run's plugins are not loaded.

    Raises `UserError` if `path` is not a run's folder, or if Slurm does not answer.

    Examples:
        >>> import auxar
        >>> status = auxar.launch_status("runs/quickstart")
        >>> [(factor.factor, factor.trained) for factor in status.factors], status.jobs
        ([('stage0', True), ('stage1', True), ('prior', True)], [])
    """
    run, found = _launched(path)
    return LaunchStatus(
        run, training_progress(run, read_recipe(run.recipe)), [] if found is None else _statuses(run, found)
    )


def cancel_launch(path: str | PathLike[str]) -> LaunchStatus:
    """Ends the jobs of a run. Trainings write a checkpoint, from which the next launch continues.

    Raises `UserError` like `launch_status`.

    Examples:
        >>> import auxar
        >>> auxar.cancel_launch("runs/quickstart").jobs  # This run has no jobs.
        []
    """
    run, found = _launched(path)
    if found is not None:
        active = {job.id for job in _statuses(run, found) if job.is_active}
        jobs = [job for job in found.jobs if job.id in active]
        if found.on == "slurm" and jobs:
            cancel_in_slurm([job.id for job in jobs])
        elif found.on == "local":
            for job in jobs:
                end_here(jobs_folder(run), job)
    return launch_status(run)


def _launched(path: str | PathLike[str]) -> tuple[RunFolder, Launch | None]:
    folder = as_path(path, "path")
    check_is_run(folder)
    run = RunFolder(folder)
    check_contents(run)
    return run, read_launch(run)


def _statuses(run: RunFolder, launched: Launch) -> list[JobStatus]:
    return job_statuses(run, launched, states_in_slurm() if launched.on == "slurm" else None)
