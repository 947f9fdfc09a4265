"""The states of a run's jobs: what they have written themselves, and what the queue says about them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from pathlib import Path

import attrs

from auxar.errors import UserError, one_line
from auxar.files import FILE, kind, reading
from auxar.jobs.records import JobState, Launch, LaunchedJob, jobs_folder, read_state
from auxar.runs.layout import RunFolder

MESSAGE = b"auxar: "
"""The beginning of the messages of auxar in a job's log."""
MOST_LOG = 2**16
"""Maximum number of bytes at the end of a log that are searched for a message."""
ACTIVE, WAITING, LOST = "running", "waiting", "lost"


@attrs.frozen
class JobStatus:
    """The state of a job."""

    name: str
    """Name of the job: the factor that it trains, or its other task."""
    id: str
    """Its number in the queue."""
    state: str
    """`waiting`, `running`, `done`, `failed`, `stopped` (by a signal) or `lost` (ended without a trace)."""
    detail: str
    """The reason why it waits, its machine, or the last message of a job that failed."""
    log: str
    """The file with its messages."""

    @property
    def is_active(self) -> bool:
        """Whether the job runs, or waits in the queue."""
        return self.state in (ACTIVE, WAITING)


def are_done(run: RunFolder, launch: Launch) -> bool:
    """Whether all jobs have done their tasks, so that the queue need not be asked about them."""
    states = [read_state(jobs_folder(run), job) for job in launch.jobs]
    return all(state is not None and state.state == "done" for state in states)


def job_statuses(run: RunFolder, launch: Launch, queue: Mapping[str, str]) -> list[JobStatus]:
    """The states of a run's jobs, from their own records and, for Slurm, from the states in its `queue` by number."""
    return [_status(jobs_folder(run), job, launch, queue) for job in launch.jobs]


def _status(folder: Path, job: LaunchedJob, launch: Launch, queue: Mapping[str, str]) -> JobStatus:
    own = read_state(folder, job)
    state, detail = own.state if own else LOST, f"on {own.process.host}" if own else ""
    log = folder / job.log
    if job.id in queue:
        # The queue knows better whether a job runs, for example after its machine has failed.
        state, detail = _of_queue(queue[job.id], detail)
    elif own is None or own.state in ("running", "requeued"):
        state = _of_process(own, launch)
    if state == "failed" and own is not None:
        detail = f"exit status {own.status}{_last_message(log, own.log_bytes)}"
    return JobStatus(job.name, job.id, state, detail, str(log))


def _of_queue(text: str, detail: str) -> tuple[str, str]:
    state, _, reason = text.partition(" ")
    if state in ("RUNNING", "COMPLETING"):
        return ACTIVE, detail
    return WAITING, reason.strip("()") if state == "PENDING" else text.lower()


def _of_process(own: JobState | None, launch: Launch) -> str:
    """The state of a job that is not in a queue and has not written its end."""
    if launch.on == "slurm":
        return LOST  # Slurm forgets jobs only after their end.
    if own is not None and own.state == "running" and own.process.may_be_alive:
        return ACTIVE
    # The job starts, for the first time or again, as long as the command that started it runs.
    return WAITING if launch.launcher is not None and launch.launcher.may_be_alive else LOST


def _last_message(log: Path, start: int) -> str:
    """The last message of auxar in a log after its first `start` bytes, after a colon; empty if there is none."""
    if kind(log) != FILE:  # The folder of a stranger could have a link to another file.
        return ""
    try:
        with reading(log) as file:
            file.seek(max(start, os.fstat(file.fileno()).st_size - MOST_LOG))
            lines = [line for line in io.BytesIO(file.read(MOST_LOG)) if line.startswith(MESSAGE)]
    except UserError:
        return ""
    return f": {one_line(lines[-1].removeprefix(MESSAGE).decode('utf-8', 'replace').strip())}" if lines else ""
