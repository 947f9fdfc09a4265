"""The jobs of a run and their states, as `auxar launch` prints them."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs

from auxar.errors import one_line
from auxar.files import kind, read_bytes
from auxar.jobs.records import Launch, LaunchedJob, jobs_folder, read_state
from auxar.report.tables import Column, Row, Table
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
    """Name of the job: the factor that it trains, or its other work."""
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


def job_statuses(run: RunFolder, launch: Launch, queue: Mapping[str, str] | None) -> list[JobStatus]:
    """The states of a run's jobs, from their own records and, for Slurm, from the states in its `queue` by number."""
    return [_status(jobs_folder(run), job, queue) for job in launch.jobs]


def _status(folder: Path, job: LaunchedJob, queue: Mapping[str, str] | None) -> JobStatus:
    own = read_state(folder, job)
    state, detail = own.state if own else LOST, f"on {own.host}" if own else ""
    if queue is not None and job.id in queue:
        # The queue knows better whether a job runs, for example after its machine has failed.
        state, detail = _of_queue(queue[job.id], detail)
    elif own is not None and own.state in ("running", "requeued"):
        # Only Slurm keeps jobs that are not running, and forgets jobs only after their end.
        is_running = queue is None and own.state == "running" and own.is_alive()
        state = ACTIVE if is_running else LOST
    if state == "failed" and own is not None:
        detail = f"exit status {own.status}{_last_message(Path(job.log))}"
    return JobStatus(job.name, job.id, state, detail, job.log)


def _of_queue(text: str, detail: str) -> tuple[str, str]:
    state, _, reason = text.partition(" ")
    if state in ("RUNNING", "COMPLETING"):
        return ACTIVE, detail
    return WAITING, reason.strip("()") if state == "PENDING" else text.lower()


def _last_message(log: Path) -> str:
    if kind(log, follow_links=True) is None:
        return ""
    lines = [line for line in io.BytesIO(read_bytes(log)[-MOST_LOG:]) if line.startswith(MESSAGE)]
    return f": {one_line(lines[-1].removeprefix(MESSAGE).decode('utf-8', 'replace').strip())}" if lines else ""


def job_lines(statuses: Sequence[JobStatus]) -> list[str]:
    """Returns lines that describe the jobs that failed: the job, its message and its log."""
    return [
        f"job {job.id} ({job.name}) {'was lost' if job.state == LOST else job.state}"
        f"{f': {job.detail}' if job.detail else ''}; its messages are in {job.log}"
        for job in statuses
        if job.state in ("failed", "stopped", LOST)
    ]


def job_table(statuses: Sequence[JobStatus]) -> Table:
    """Builds the table with one row for each job."""
    columns = (Column("job", left=True), Column("number"), Column("state", left=True), Column("", left=True))
    rows = []
    for job in statuses:
        rows.append(Row((job.name, job.id, job.state, "" if job.state == "failed" else job.detail)))
    return Table("Jobs", "jobs and their states", columns, rows)
