"""The state of a launched run, and the end of its jobs."""

from __future__ import annotations

import os
import signal
from os import PathLike

import attrs

from auxar.commands.launched_jobs import recorded_run, statuses
from auxar.jobs.queues import cancel_in_slurm, end_here
from auxar.jobs.records import jobs_folder, read_launch
from auxar.jobs.status import JobStatus
from auxar.recipe import read_recipe
from auxar.report.progress import FactorProgress, training_progress
from auxar.runs.layout import RunFolder


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
