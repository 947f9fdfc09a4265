"""Starting the jobs of a run, and reading their states, for the command `launch`."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from os import PathLike
from pathlib import Path

from auxar.arguments import as_path
from auxar.errors import UserError
from auxar.jobs.job import Job
from auxar.jobs.queues import LocalQueue, cancel_in_slurm, states_in_slurm, submit_to_slurm
from auxar.jobs.records import Launch, ProcessId, Queue, jobs_folder, read_launch, state_path, write_launch
from auxar.jobs.site import Site
from auxar.jobs.status import JobStatus, are_done, job_statuses
from auxar.report.jobs import job_lines
from auxar.runs.layout import RunFolder, check_contents
from auxar.runs.lock import JOBS_LOCK, holding
from auxar.runs.models import find_run

logger = logging.getLogger("auxar")


def statuses(run: RunFolder, launched: Launch) -> list[JobStatus]:
    """The states of a run's jobs. Raises `UserError` if Slurm must be asked and does not answer."""
    asks = launched.on == "slurm" and not are_done(run, launched)
    return job_statuses(run, launched, states_in_slurm() if asks else {})


def recorded_run(path: str | PathLike[str]) -> tuple[RunFolder, RunFolder]:
    """The run at a path, or the model of this name, and the folder in which its jobs are recorded.

    Raises `UserError` if there is neither.
    """
    found = find_run(as_path(path, "path"))
    check_contents(found)
    # A job may change its working directory, so it gets full paths.
    return found, RunFolder(Path(os.path.abspath(found.output)))


def holding_jobs(run: RunFolder) -> AbstractContextManager[None]:
    """Holds the lock of the run's jobs, so that one command at a time starts jobs.

    Raises `UserError` if another command holds it, for example while it runs jobs on this machine.
    """
    return holding(run.path, JOBS_LOCK, f"the list of jobs of {run.path}")


def active_jobs(run: RunFolder, site: Site, queue: LocalQueue | None, names: Collection[str]) -> dict[str, str]:
    """The numbers of the jobs with these names that run or wait, by name. The caller holds the lock of the jobs.

    Raises `UserError` if they are in another queue, or if they still run on this machine after the end of the command
    that started them.
    """
    before = read_launch(run)
    if before is None:
        return {}
    found = {job.name: job.id for job in statuses(run, before) if job.is_active and job.name in names}
    if found and (before.on != site.on or queue is not None):
        where = "in Slurm's queue" if before.on == "slurm" else "on this machine"
        raise UserError(
            f"{run.path} has jobs {where} that are not done: {', '.join(found)}; wait for their end, or end them with "
            f"`auxar launch --cancel {run.path}`"
        )
    return found


def job_of(
    run: RunFolder, site: Site, name: str, command: Sequence[str], *, continues: bool = False, single: bool = False
) -> Job:
    """The job that runs a command of auxar in as many processes as the site says, or in a `single` one.

    `continues` says whether the command continues from a checkpoint.
    """
    processes = 1 if single else site.processes
    return Job(name, tuple(command), state_path(jobs_folder(run), name), processes, site.gpus_per_job > 0, continues)


def start_jobs(
    run: RunFolder,
    site: Site,
    queue: LocalQueue | None,
    jobs: Sequence[Job],
    last: Job | None,
    begun: Mapping[str, str],
) -> None:
    """Starts jobs and, unless it is None, the job `last`, which begins when these and the jobs in `begun` are done.

    With a `queue`, they are run to their end on this machine, else they are submitted to Slurm. `begun` are the numbers
    of earlier jobs of the same work that run or wait, by name. The caller holds the lock of the folder of jobs. Raises
    `UserError` if Slurm does not accept jobs, or if a job on this machine fails.
    """
    if queue is None:
        _submit(run, site, jobs, last, begun)
    else:
        _run_here(run, queue, jobs, last)


def _submit(run: RunFolder, site: Site, jobs: Sequence[Job], last: Job | None, begun: Mapping[str, str]) -> None:
    folder, title = jobs_folder(run), f"auxar-{run.path.name}"
    launched = _launch_on(run, "slurm")
    needed = [number for name, number in begun.items() if last is None or name != last.name]
    if jobs:
        # The jobs are recorded at once, so that none is lost if Slurm does not accept the next one.
        new = submit_to_slurm(site, folder, title, jobs, ())
        launched = launched.with_jobs(new)
        write_launch(run, launched)
        # The number of an array stands for all its jobs.
        needed += dict.fromkeys(job.id.split("_")[0] for job in new)
        if last is not None and last.name in begun:
            cancel_in_slurm([begun[last.name]])  # It does not wait for the new jobs.
    if last is not None and (jobs or last.name not in begun):
        write_launch(run, launched.with_jobs(submit_to_slurm(site, folder, title, [last], needed)))


def _run_here(run: RunFolder, queue: LocalQueue, jobs: Sequence[Job], last: Job | None) -> None:
    launched = _launch_on(run, "local")
    for part in (jobs, [] if last is None else [last]):
        for job in queue.run(part, jobs_folder(run)):
            launched = launched.with_jobs([job])
            write_launch(run, launched)
            log = jobs_folder(run) / job.log
            logger.info("job %s (%s) has begun; its messages are in %s", job.id, job.name, log)
        names = {job.name for job in part}
        if problems := job_lines([job for job in statuses(run, launched) if job.name in names]):
            raise UserError(f"{'; '.join(problems)}; the same command continues the work")


def _launch_on(run: RunFolder, queue: Queue) -> Launch:
    """The record of the run's jobs in a queue, without those of an earlier launch in the other queue."""
    before = read_launch(run)
    launcher = ProcessId.of(os.getpid()) if queue == "local" else None
    return Launch(queue, before.jobs if before is not None and before.on == queue else [], launcher)
