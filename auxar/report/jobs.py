"""The jobs of a run, as `auxar launch` prints them."""

from __future__ import annotations

from collections.abc import Sequence

from auxar.jobs.status import LOST, JobStatus
from auxar.report.tables import Column, Row, Table


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
