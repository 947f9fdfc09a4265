"""Starting the jobs of a run, and reading their states, for the command `launch`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from auxar.errors import UserError
from auxar.files import is_file
from auxar.jobs.job import Job
from auxar.jobs.queues import LocalQueue, cancel_in_slurm, states_in_slurm, submit_to_slurm
from auxar.jobs.records import JobState, Launch, jobs_folder, read_launch, state_path, write_launch
from auxar.jobs.site import Site
from auxar.report.jobs import JobStatus, job_lines, job_statuses
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record

logger = logging.getLogger("auxar")


def statuses(run: RunFolder, launched: Launch) -> list[JobStatus]:
    """The states of a run's jobs. Raises `UserError` if Slurm does not answer."""
    return job_statuses(run, launched, states_in_slurm() if launched.on == "slurm" else None)


def active_jobs(run: RunFolder, site: Site) -> dict[str, str]:
    """The numbers of the run's jobs that run or wait, by name. Raises `UserError` if they are in another queue."""
    before = read_launch(run)
    if before is None:
        return {}
    found = {job.name: job.id for job in statuses(run, before) if job.is_active}
    if found and before.on != site.on:
        raise UserError(
            f"{run.path} has jobs in the queue `{before.on}`; wait for their end, or end them with "
            f"`auxar launch --cancel {run.path}`"
        )
    return found


def job_of(run: RunFolder, site: Site, name: str, command: Sequence[str], *, alone: bool = False) -> Job:
    """The job that runs a command of auxar in as many processes as the site says, or in one if it is `alone`."""
    processes = 1 if alone else site.processes
    return Job(name, tuple(command), state_path(jobs_folder(run), name), processes, gpus=site.gpus_per_job > 0)


def is_done(job: Job) -> bool:
    """Whether a job of this name has done its work."""
    return is_file(job.record) and read_record(job.record, JobState).state == "done"


def start_jobs(
    run: RunFolder, site: Site, queue: LocalQueue | None, jobs: Sequence[Job], last: Job, begun: Mapping[str, str]
) -> None:
    """Starts jobs, and the job `last`, which begins when these and the jobs in `begun` are done.

    With a `queue`, they are run to their end on this machine, else they are submitted to Slurm. `begun` are the numbers
    of earlier jobs of the same work that run or wait, by name. The caller holds the lock of the folder of jobs. Raises
    `UserError` if Slurm does not accept jobs, or if a job on this machine fails.
    """
    if queue is None:
        _submit(run, site, jobs, last, begun)
    else:
        _run_here(run, queue, jobs, last)


def _submit(run: RunFolder, site: Site, jobs: Sequence[Job], last: Job, begun: Mapping[str, str]) -> None:
    folder, title = jobs_folder(run), f"auxar-{run.path.name}"
    launched = _launch_on(run, "slurm")
    needed = [number for name, number in begun.items() if name != last.name]
    if jobs:
        # The jobs are recorded at once, so that none is lost if Slurm does not accept the next one.
        new = submit_to_slurm(site, folder, title, jobs, ())
        launched = launched.with_jobs(new)
        write_launch(run, launched)
        needed += [job.id for job in new]
        if last.name in begun:
            cancel_in_slurm([begun[last.name]])  # It does not wait for the new jobs.
    if jobs or last.name not in begun:
        write_launch(run, launched.with_jobs(submit_to_slurm(site, folder, title, [last], needed)))


def _run_here(run: RunFolder, queue: LocalQueue, jobs: Sequence[Job], last: Job) -> None:
    launched = _launch_on(run, "local")
    for part in (jobs, [last]):
        for job in queue.run(part, jobs_folder(run)):
            launched = launched.with_jobs([job])
            write_launch(run, launched)
            logger.info("job %s (%s) has begun; its messages are in %s", job.id, job.name, job.log)
        names = {job.name for job in part}
        if problems := job_lines([job for job in statuses(run, launched) if job.name in names]):
            raise UserError(f"{'; '.join(problems)}; the same command goes on with the work")


def _launch_on(run: RunFolder, queue: Literal["slurm", "local"]) -> Launch:
    """The record of the run's jobs in a queue, without those of an earlier launch in the other queue."""
    before = read_launch(run)
    return before if before is not None and before.on == queue else Launch(queue, [])
