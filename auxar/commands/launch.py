"""The command `launch`: trains the factors of a recipe's model as jobs of Slurm or of this machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
from collections.abc import Collection, Sequence
from os import PathLike
from pathlib import Path
from typing import Any

import attrs

from auxar.arguments import as_integer, as_path
from auxar.commands.launched_jobs import active_jobs, is_done, job_of, start_jobs, statuses
from auxar.distributed.joining import working_together
from auxar.distributed.shards import MOST_SHARDS, Shard
from auxar.errors import UserError
from auxar.files import read_bytes, read_checksum
from auxar.interfaces.rule_use import IN_RECIPE, check_rule
from auxar.jobs.queues import LocalQueue, cancel_in_slurm, check_submitit, end_here
from auxar.jobs.records import jobs_folder, read_launch
from auxar.jobs.site import read_site
from auxar.pipeline import is_finished
from auxar.recipe import load_recipe, read_recipe, recipe_text
from auxar.recipe.building import build_model
from auxar.recipe.shipped import run_name
from auxar.report.jobs import JobStatus
from auxar.report.progress import FactorProgress, training_progress
from auxar.runs.layout import RunFolder, check_contents, check_folder
from auxar.runs.lock import holding
from auxar.runs.models import find_run
from auxar.runs.opening import begin_run, check_recipe, recipe_of_run
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
        names = (*recipe.factor_names, FINISH)
        begun = {name: number for name, number in active_jobs(run, chosen).items() if name in names}
        _check_none_here(run, queue, begun)
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
            command = ["run", str(run.recipe), "--out", str(run.path), *(["--trust-plugins"] if trust_plugins else [])]
            # The coarsest factor is the fastest, so problems with the images show up early.
            jobs = [
                job_of(run, chosen, name, [*command, "--factors", name, "--train-only"])
                for name in missing[::-1]
                if name not in begun
            ]
            start_jobs(run, chosen, queue, jobs, job_of(run, chosen, FINISH, command), begun)
    return launch_status(run)


def launch_shards(
    path: str | PathLike[str],
    command: Sequence[str],
    count: int,
    *,
    site: str | PathLike[str] | None = None,
    **options: Any,
) -> LaunchStatus:
    """Runs a command of auxar in `count` shards, each as a job, and then a job that merges them.

    `path` is the run's folder or the name of a model, and `command` the arguments of `auxar sample`, `auxar evaluate`
    or `auxar compress` for it, without `--shard`. The site's settings, and how jobs are run and repeated, are those of
    `launch`. Jobs are recorded in the run's folder or, for a model that comes trained, in ./NAME.

    Raises `UserError` like `launch`.
    """
    count = as_integer(count, "--shards", 1, MOST_SHARDS)
    chosen = read_site(None if site is None else as_path(site, "site"), options)
    check_submitit()
    queue = LocalQueue(chosen) if chosen.on == "local" else None
    found, run = _launched(path)
    # Other arguments, or other weights, are other work.
    recipe = read_recipe(found.recipe)
    facts = [*command, count, *(read_checksum(found.weights(name)) for name in found.trained(recipe))]
    work = f"{command[0]}-{hashlib.sha256(json.dumps(facts).encode()).hexdigest()[:6]}"
    with holding(jobs_folder(run)):
        begun = {name: number for name, number in active_jobs(run, chosen).items() if name.startswith(f"{work}-")}
        _check_none_here(run, queue, begun)
        shards = [Shard(number + 1, count) for number in range(count)]
        jobs = [job_of(run, chosen, f"{work}-{each.file}", [*command, "--shard", str(each)]) for each in shards]
        last = job_of(run, chosen, f"{work}-merge", [*command, "--merge", str(count)], alone=True)
        if is_done(last):
            logger.info("this work is done; to repeat it, delete %s", last.record)
        else:
            start_jobs(run, chosen, queue, [job for job in jobs if job.name not in begun], last, begun)
    return launch_status(path)


def _check_none_here(run: RunFolder, queue: LocalQueue | None, begun: Collection[str]) -> None:
    """Raises `UserError` if jobs of the same work still run on this machine, after the end of the command."""
    if begun and queue is not None:
        raise UserError(
            f"{run.path} has jobs that still run on this machine: {', '.join(begun)}; wait for their end, or end them "
            f"with `auxar launch --cancel {run.path}`"
        )


def launch_status(path: str | PathLike[str]) -> LaunchStatus:
    """Reads the progress of a run that was launched, and the states of its jobs. The run's plugins are not loaded.

    Raises `UserError` if `path` is not a run's folder, or if Slurm does not answer.

    Examples:
        >>> import auxar
        >>> status = auxar.launch_status("runs/quickstart")
        >>> [(factor.factor, factor.trained) for factor in status.factors], status.jobs
        ([('stage0', True), ('stage1', True), ('prior', True)], [])
    """
    found, run = _launched(path)
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
    _, run = _launched(path)
    if (launched := read_launch(run)) is not None:
        active = {job.id for job in statuses(run, launched) if job.is_active}
        jobs = [job for job in launched.jobs if job.id in active]
        if launched.on == "slurm" and jobs:
            cancel_in_slurm([job.id for job in jobs])
        elif launched.on == "local":
            for job in jobs:
                end_here(jobs_folder(run), job)
    return launch_status(path)


def _launched(path: str | PathLike[str]) -> tuple[RunFolder, RunFolder]:
    """The run at a path, or the model of this name, and the folder in which its jobs are recorded."""
    found = find_run(as_path(path, "path"))
    check_contents(found)
    # A job may change its working directory, so it gets full paths.
    return found, RunFolder(Path(os.path.abspath(found.output)))
