"""The queues that run jobs: Slurm, and this machine. Both are used through submitit."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from auxar.errors import UserError, one_line
from auxar.jobs.job import Job, end_command
from auxar.jobs.records import LaunchedJob, read_state
from auxar.jobs.site import Site

logger = logging.getLogger("auxar")

MOST_TIMEOUTS = {True: 1000, False: 2}
"""Maximum number of time limits after which a job runs again, if it continues from a checkpoint and if it does not."""
PAUSE = 0.2
"""Seconds between two looks at the jobs of this machine."""


def check_submitit() -> None:
    """Raises `UserError` if submitit cannot be imported."""
    try:
        import submitit  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"jobs need submitit, which cannot be imported ({one_line(str(error))}); install it with "
            "`pip install 'auxar[launch]'`"
        ) from None


def submit_to_slurm(
    site: Site, folder: Path, title: str, jobs: Sequence[Job], after: Sequence[str]
) -> list[LaunchedJob]:
    """Submits jobs to Slurm, which begin after the jobs with the numbers `after` have succeeded.

    Several jobs are submitted as an array. A number in `after` may be that of an array, all of whose jobs are then
    awaited. `title` is the jobs' name in the queue, and `folder` gets a new folder with their messages. Raises
    `UserError` with Slurm's message if it refuses them.
    """
    import submitit

    further: dict[str, Any] = {"requeue": True, "kill-on-invalid-dep": "yes"}
    if after:
        further["dependency"] = "afterok:" + ":".join(after)
    if site.memory is not None:
        further["mem"] = site.memory
    given = {
        "partition": site.partition,
        "account": site.account,
        "qos": site.qos,
        "cpus_per_task": site.cpus_per_job,
        "gpus_per_node": site.gpus_per_job or None,
        "array_parallelism": site.array_limit,
        "setup": list(site.setup) or None,
    }
    try:
        timeouts = MOST_TIMEOUTS[all(job.continues for job in jobs)]
        executor = submitit.SlurmExecutor(_new_folder(folder), max_num_timeout=timeouts)
        executor.update_parameters(
            job_name=title,
            time=site.minutes,
            nodes=1,
            ntasks_per_node=1,
            signal_delay_s=site.seconds_to_stop,
            # Else it could set variables of a launcher of several processes, such as PMI_SIZE.
            srun_args=["--mpi=none"],
            additional_parameters={**further, **site.slurm},
            **{key: value for key, value in given.items() if value is not None},
        )
        submitted = [executor.submit(jobs[0])] if len(jobs) == 1 else executor.submit_array(jobs)
    except (RuntimeError, OSError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"Slurm does not accept the jobs: {one_line(str(error))}") from None
    return [_launched(job, entry) for job, entry in zip(jobs, submitted, strict=True)]


def _new_folder(folder: Path) -> Path:
    """A new folder for the files of submitit, which runs code that it reads from there."""
    folder.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=folder, prefix=time.strftime("%Y%m%d-%H%M%S-")))


def _launched(job: Job, submitted: Any) -> LaunchedJob:
    log: Path = submitted.paths.stderr
    return LaunchedJob(job.name, submitted.job_id, f"{log.parent.name}/{log.name}")


def states_in_slurm() -> dict[str, str]:
    """The states of the user's jobs in Slurm's queue, by number, such as "PENDING (Priority)".

    Jobs that have ended are not in the queue. Raises `UserError` if Slurm does not answer.
    """
    command = ["squeue", "--me", "--array", "--noheader", "--format=%i|%T|%r"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        message = getattr(error, "stderr", None) or str(error)
        raise UserError(f"Slurm's queue cannot be read: {one_line(str(message))}") from None
    states = {}
    for line in found.stdout.splitlines():
        number, state, reason = line.strip().split("|", 2)
        states[number] = state if reason in ("None", "") or state != "PENDING" else f"{state} ({reason})"
    return states


def cancel_in_slurm(numbers: Sequence[str]) -> None:
    """Ends jobs of Slurm. Raises `UserError` if Slurm refuses."""
    try:
        subprocess.run(["scancel", *numbers], capture_output=True, text=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError) as error:
        message = getattr(error, "stderr", None) or str(error)
        raise UserError(f"Slurm does not end the jobs: {one_line(str(message))}") from None


class LocalQueue:
    """Runs jobs on this machine, at most a number of them at the same time.

    The number is `site.array_limit`; by default, it is the number of jobs that the machine's GPUs suffice for, or one.
    """

    def __init__(self, site: Site) -> None:
        self.site = site
        self.free = _visible_gpus() if site.gpus_per_job else []
        """The GPUs that no job uses."""
        if site.gpus_per_job > len(self.free):
            raise UserError(f"gpus_per_job: {site.gpus_per_job} is more than the {len(self.free)} GPUs of this machine")
        self.limit = site.array_limit or (len(self.free) // site.gpus_per_job if site.gpus_per_job else 1)

    def run(self, jobs: Sequence[Job], folder: Path) -> Iterator[LaunchedJob]:
        """Runs jobs to their end, and yields each when it has begun. If the iteration stops early, it ends them.

        Their messages are written into `folder`. A job that fails does not end the others, but after a job that was
        asked to end, none begins.
        """
        active: list[tuple[Any, LaunchedJob, list[int]]] = []
        waiting = list(jobs)
        try:
            while waiting or active:
                for entry in [entry for entry in active if entry[0].done()]:
                    active.remove(entry)
                    self.free += entry[2]
                    ended = read_state(folder, entry[1])
                    if ended is not None and ended.state == "stopped":
                        waiting.clear()
                while waiting and len(active) < self.limit and len(self.free) >= self.site.gpus_per_job:
                    gpus = [self.free.pop(0) for _ in range(self.site.gpus_per_job)]
                    submitted, job = self._submit(waiting.pop(0), gpus, folder)
                    active.append((submitted, job, gpus))
                    yield job
                time.sleep(PAUSE)
        finally:
            _end(active, folder)

    def _submit(self, job: Job, gpus: list[int], folder: Path) -> tuple[Any, LaunchedJob]:
        import submitit

        executor = submitit.LocalExecutor(_new_folder(folder), max_num_timeout=MOST_TIMEOUTS[job.continues])
        executor.update_parameters(
            timeout_min=self.site.minutes,
            signal_delay_s=self.site.seconds_to_stop,
            gpus_per_node=len(gpus),
            visible_gpus=gpus,
            setup=list(self.site.setup),
        )
        with _ignoring_interrupts():
            submitted = executor.submit(job)
        return submitted, _launched(job, submitted)


@contextlib.contextmanager
def _ignoring_interrupts() -> Iterator[None]:
    """Lets processes that are started within the block ignore SIGINT, which a terminal sends to all of them.

    This process ends its jobs itself, and waits for their checkpoints.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    ours = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, ours)


def _end(active: Sequence[tuple[Any, LaunchedJob, list[int]]], folder: Path) -> None:
    """Ends jobs with a checkpoint, and waits for their end."""
    asked: set[str] = set()
    while left := [job for submitted, job, _ in active if not submitted.done()]:
        for job in left:
            # A job that is just starting cannot be asked yet. A second signal would end it without a checkpoint.
            if job.id not in asked and end_here(folder, job):
                asked.add(job.id)
        time.sleep(PAUSE)


def end_here(folder: Path, job: LaunchedJob) -> bool:
    """Asks a job of this machine to end, with a checkpoint if it is training. Returns False if it does not run here."""
    found = read_state(folder, job)
    if found is None or found.state != "running" or not found.process.is_here:
        return False
    end_command(found.process.pid)
    return True


def _visible_gpus() -> list[int]:
    """The numbers of this machine's GPUs, or of those that CUDA_VISIBLE_DEVICES allows."""
    import torch

    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return [int(number) for number in allowed.split(",") if number.strip().isdigit()]
    return list(range(torch.cuda.device_count()))
