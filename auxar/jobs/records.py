"""The records of a run's jobs: RUN/jobs/launch.json lists them, and RUN/jobs/NAME.json is the state of each.

The states are written by the jobs themselves, so that they can be read with any queue, and after a queue has forgotten
its jobs.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import attrs
import psutil

from auxar.files import is_file, write_json
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record

State = Literal["running", "requeued", "done", "failed", "stopped"]


@attrs.frozen
class JobState:
    """The state of a job, as the job itself has written it."""

    state: State
    """`running`; `requeued` after a checkpoint; `done`; `failed` with the exit status `status`; or `stopped` by a
    signal, with a checkpoint if it was training."""
    id: str
    """The number of the job in its queue."""
    host: str
    """The machine of the job."""
    pid: int
    """The process of auxar, or of its launcher."""
    status: int | None = None
    """Exit status of auxar, if it has ended."""

    def is_alive(self) -> bool:
        """Whether the job's process exists. True for processes of other machines, which cannot be seen from here."""
        return self.host != socket.gethostname() or psutil.pid_exists(self.pid)


@attrs.frozen
class LaunchedJob:
    """A job that was submitted."""

    name: str
    """Its name: that of the factor it trains, or of its other work."""
    id: str
    """Its number in the queue."""
    log: str
    """The path of the file with its messages."""


@attrs.frozen
class Launch:
    """The jobs of a run."""

    on: Literal["slurm", "local"]
    """The queue: `slurm`, or `local` for the machine on which the command ran."""
    jobs: list[LaunchedJob]
    """The last job of each name, in the order in which they were submitted."""

    def with_jobs(self, jobs: Sequence[LaunchedJob]) -> Launch:
        """The launch with further jobs, which replace those of the same names."""
        names = {job.name for job in jobs}
        return attrs.evolve(self, jobs=[*(job for job in self.jobs if job.name not in names), *jobs])


def jobs_folder(run: RunFolder) -> Path:
    """The folder of a run's jobs, with their records and messages."""
    return run.path / "jobs"


def read_launch(run: RunFolder) -> Launch | None:
    """Reads the jobs of a run; None if none were launched. Raises `DamagedFile` if the record is damaged."""
    path = jobs_folder(run) / "launch.json"
    return read_record(path, Launch) if is_file(path) else None


def write_launch(run: RunFolder, launch: Launch) -> None:
    """Writes the record of a run's jobs."""
    write_json(jobs_folder(run) / "launch.json", attrs.asdict(launch))


def state_path(folder: Path, name: str) -> Path:
    """The file with the state of the job `name`."""
    return folder / f"{name}.json"


def read_state(folder: Path, job: LaunchedJob) -> JobState | None:
    """Reads the state of a job; None if the job has not begun. Raises `DamagedFile` if the record is damaged."""
    path = state_path(folder, job.name)
    found = read_record(path, JobState) if is_file(path) else None
    # The record may be that of an earlier job of the same name.
    return found if found is not None and found.id == job.id else None


def write_state(path: Path, state: State, job: str, pid: int | None = None, status: int | None = None) -> None:
    """Writes the state of the job with the number `job`, whose process is `pid`, by default this process."""
    record = JobState(state, job, socket.gethostname(), pid or os.getpid(), status)
    write_json(path, attrs.asdict(record))
