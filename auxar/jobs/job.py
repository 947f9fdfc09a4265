"""A job: runs a command of auxar in the process that submitit has started for it, on a machine of the queue."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import psutil

from auxar.errors import UserError
from auxar.jobs.records import ProcessId, State, write_state

logger = logging.getLogger("auxar")

LAUNCHER = "accelerate.commands.launch"
"""The module that starts several processes."""
PAUSE = 0.2
"""Seconds between two looks whether a process has ended."""
STOPPED = (130, 143, -signal.SIGINT, -signal.SIGTERM)
"""Exit statuses of auxar, or of its launcher, after it was asked to end."""
UNTIL_KILLED = 600.0
"""Seconds that a job waits for the queue to end it, after the queue has announced this."""


@attrs.define
class Job:
    """A command of auxar as a function without arguments, which submitit stores and calls in the job.

    submitit calls `checkpoint` before the job's time limit and before another job takes its place. The command then
    ends, with a checkpoint if it is training, and submitit puts the job back into the queue. There, the same command
    continues its work or, if it has no checkpoints, begins again.
    """

    name: str
    """The name of the job."""
    command: tuple[str, ...]
    """The arguments of `auxar`."""
    record: Path
    """The file for the job's state."""
    processes: int
    """The number of processes that run the command together."""
    gpus: bool
    """Whether they use GPUs."""
    continues: bool = False
    """Whether the command continues from a checkpoint, as trainings do."""
    _process: subprocess.Popen[bytes] | None = attrs.field(default=None, init=False)
    _log_bytes: int = attrs.field(default=0, init=False)
    _id: ProcessId | None = attrs.field(default=None, init=False)
    _was_asked_to_end: bool = attrs.field(default=False, init=False)

    def __call__(self) -> None:
        """Runs the command. Raises `RuntimeError` if it fails, so that jobs that depend on this one do not begin."""
        from submitit import JobEnvironment

        environment = JobEnvironment()
        with contextlib.suppress(OSError):
            self._log_bytes = environment.paths.stderr.stat().st_size
        # Slurm sends its signals to all processes of a job. The signal that asks for a checkpoint is meant for submitit
        # only, and would kill the others.
        number = environment._usr_sig()
        ours = signal.signal(number, signal.SIG_IGN)
        process = self._process = subprocess.Popen(self._arguments(), start_new_session=True)
        signal.signal(number, ours)
        signal.signal(signal.SIGTERM, self._end)
        self._write("running")
        status = self._wait(process)
        if status == 0:
            self._write("done", status)
            return
        # Launchers of several processes have a status of their own.
        self._write("stopped" if self._was_asked_to_end or status in STOPPED else "failed", status)
        if self._was_asked_to_end and environment.cluster == "slurm":
            # A job that another one displaces is put back into the queue if Slurm ends it, but not if it ends itself.
            time.sleep(UNTIL_KILLED)
        raise RuntimeError(f"`auxar {' '.join(self.command)}` has ended with the exit status {status}")

    def checkpoint(self) -> Any:
        """Ends the command, and returns the job for submitit to put back into the queue.

        submitit calls this in a handler of a signal, and the queue kills the job if it takes too long.
        """
        from submitit.helpers import DelayedSubmission

        process = self._process
        if process is not None:
            self._end()
            self._wait(process)
            self._write("requeued")
        return DelayedSubmission(Job(self.name, self.command, self.record, self.processes, self.gpus, self.continues))

    def _arguments(self) -> list[str]:
        auxar = ["-m", "auxar", *self.command]
        if self.processes == 1:
            return [sys.executable, *auxar]
        # Port 0 is any free port, because several jobs may share a machine.
        options = ["--num_processes", str(self.processes), "--num_machines", "1", "--main_process_port", "0"]
        options += ["--mixed_precision", "no", "--dynamo_backend", "no", "--multi_gpu" if self.gpus else "--cpu"]
        return [sys.executable, "-m", LAUNCHER, *options, *auxar]

    def _end(self, *_: object) -> None:
        """Asks the command to end, with a checkpoint if it is training."""
        self._was_asked_to_end = True
        assert self._process is not None
        end_command(self._process.pid)

    def _wait(self, process: subprocess.Popen[bytes]) -> int:
        """Waits for the end of a process, and returns its exit status.

        A handler of a signal may call this while the main program does. `Popen.wait` would then wait for its own lock.
        """
        while True:
            try:
                found = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                break
            if found is not None:
                break
            time.sleep(PAUSE)
        return process.wait()

    def _write(self, state: State, status: int | None = None) -> None:
        from submitit import JobEnvironment

        assert self._process is not None
        try:
            if self._id is None:
                self._id = ProcessId.of(self._process.pid)
            write_state(self.record, state, JobEnvironment().job_id, self._id, self._log_bytes, status)
        except (UserError, OSError) as error:  # The state is only shown, and the disk may be full.
            logger.warning("the state of the job %s cannot be written: %s", self.name, error)


def end_command(pid: int) -> None:
    """Asks the command whose process `pid` leads a group to end, by SIGTERM.

    Of several processes, only those are asked that the launcher has started. A launcher that gets the signal itself
    kills its processes after 30 seconds, even if they write a checkpoint.
    """
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):
        process = psutil.Process(pid)
        if LAUNCHER not in process.cmdline():
            os.killpg(pid, signal.SIGTERM)
            return
        for child in process.children(recursive=True):
            with contextlib.suppress(psutil.NoSuchProcess):
                child.terminate()
