"""The records of a run's jobs: RUN/jobs/launch.json lists them, and RUN/jobs/NAME.json is the state of each.

The states are written by the jobs themselves, so that they can be read with any queue, and after a queue has forgotten
its jobs.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import attrs
import psutil

from auxar.distributed.peers import machine
from auxar.files import is_file, write_json
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record

State = Literal["running", "requeued", "done", "failed", "stopped"]
Queue = Literal["slurm", "local"]
_LOG = re.compile(r"[\w-]{1,100}/[\w.-]{1,100}")


@attrs.frozen
class ProcessId:
    """A process, identified so that another process that later gets the same number is not taken for it."""

    host: str
    """The name of its machine."""
    machine: str
    """The result of `machine` in the process."""
    pid: int
    """Its number."""
    started: float
    """The time at which it started, in seconds after the start of the machine."""

    @classmethod
    def of(cls, pid: int) -> ProcessId:
        """The process of this machine with a number. Raises `psutil.NoSuchProcess` if there is none."""
        return cls(socket.gethostname(), machine(), pid, _started(psutil.Process(pid)))

    @property
    def is_here(self) -> bool:
        """Whether the process exists on this machine."""
        if self.machine != machine() or self.pid <= 1:
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(_started(process) - self.started) < 1 and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False

    @property
    def may_be_alive(self) -> bool:
        """Whether the process exists. True for processes of other machines, which cannot be seen from here."""
        return self.host != socket.gethostname() or self.is_here


def _started(process: psutil.Process) -> float:
    # Both times change alike when the machine's clock is set.
    found: float = process.create_time() - psutil.boot_time()
    return found


@attrs.frozen
class JobState:
    """The state of a job, as the job itself has written it."""

    state: State
    """`running`; `requeued` after a checkpoint; `done`; `failed` with the exit status `status`; or `stopped` by a
    signal, with a checkpoint if it was training."""
    id: str
    """The number of the job in its queue."""
    process: ProcessId
    """The process of auxar, or of its launcher. It leads a process group of its own."""
    log_bytes: int
    """Size of the job's log in bytes when the job started, for the last time. Logs are appended."""
    status: int | None = None
    """Exit status of auxar, if it has ended."""


@attrs.frozen
class LaunchedJob:
    """A job that was submitted."""

    name: str
    """Its name: that of the factor it trains, or of its other task."""
    id: str
    """Its number in the queue."""
    log: str = attrs.field()
    """The file with its messages, relative to the folder of jobs: a folder and a name."""

    @log.validator
    def _check_log(self, _: attrs.Attribute[str], value: str) -> None:
        # A run's folder may come from a stranger, and the log is read.
        if not _LOG.fullmatch(value) or ".." in value:
            raise ValueError(f"log: expected the name of a file in a folder, got {value!r}")


@attrs.frozen
class Launch:
    """The jobs of a run."""

    on: Queue
    """The queue: `slurm`, or `local` for the machine on which the command ran."""
    jobs: list[LaunchedJob]
    """The last job of each name, in the order in which they were submitted."""
    launcher: ProcessId | None = None
    """The process of `auxar launch` that starts the jobs of this machine. None for Slurm."""

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


def write_state(
    path: Path, state: State, job: str, process: ProcessId, log_bytes: int = 0, status: int | None = None
) -> None:
    """Writes the state of the job with the number `job`, whose command runs in `process`."""
    write_json(path, attrs.asdict(JobState(state, job, process, log_bytes, status)))
