"""Jobs of Slurm, which submitit submits. A job that is put back into the queue runs the same command again."""

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from auxar import UserError
from auxar_jobs.copies import Copies, Launched, checked

try:
    import submitit
except ImportError as error:
    reason = f"jobs of Slurm need submitit, which cannot be imported ({error})"
    raise UserError(f"{reason}; install it with `pip install 'auxar[launch]'`") from None

UNTIL_KILLED = 600.0
"""Seconds that a job waits for Slurm to end it, after Slurm has announced this."""
PAUSE = 5.0
"""Seconds between two looks at the queue."""
YEAR = 366 * 24 * 60
"""A time limit in minutes that no job reaches. submitit limits only how often a job reaches its time limit, and not how
often it is requeued before, which is the right thing for jobs that continue their work."""
ENDED = {"boot_fail", "cancelled", "completed", "deadline", "failed", "lost", "node_fail", "out_of_memory", "timeout"}
"""Slurm's states of jobs that have ended, and `lost` for a job that it does not know any more."""
QUEUE = ("squeue", "--me", "--array", "--states=all", "--noheader", "--format=%i %T")
"""The command that lists the user's jobs that are in the queue or have ended lately: numbers and states."""


@attrs.define
class Job:
    """A copy of a command as a function without arguments, which submitit stores, and calls in the job."""

    copies: Copies
    process: Any = None
    """The process of the command, a `Popen`, after its start."""
    was_asked: bool = False
    """Whether Slurm, or submitit before the time limit, has asked the job to end."""

    def __call__(self) -> None:
        """Runs the command. Raises `RuntimeError` if it fails, which makes the job fail."""
        # Slurm sends a signal to all processes of a job, and this one, which is for submitit, would end the command.
        handler = signal.signal(signal.SIGUSR2, signal.SIG_IGN)
        self.process = self.copies.start({})
        signal.signal(signal.SIGUSR2, handler)
        signal.signal(signal.SIGTERM, self._end)
        self._wait()
        if self.was_asked:
            # Slurm puts a job that gives way to another one back into the queue only if the job does not end itself.
            time.sleep(UNTIL_KILLED)
        if code := self.process.wait():
            raise RuntimeError(f"`auxar {shlex.join(self.copies.words)}` has ended with the exit status {code}")

    def checkpoint(self) -> Any:
        """Ends the command, and returns the job that goes on. submitit calls this in a handler of a signal."""
        if self.process is not None:
            self._end()
            self._wait()
        return submitit.helpers.DelayedSubmission(Job(self.copies))

    def _end(self, *_: object) -> None:
        """Asks the command to end, with a checkpoint if it is training."""
        self.was_asked = True
        self.process.terminate()

    def _wait(self) -> None:
        """Waits for the end of the command. In a handler of a signal, `Popen.wait` would wait for its own lock."""
        with contextlib.suppress(ChildProcessError):
            os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOWAIT)


def submit(copies: Copies, options: dict[str, Any], folder: Path) -> list[Launched]:
    """Submits jobs as an array, with options of `sbatch`. Raises `UserError` with Slurm's message if it refuses."""
    needs = {"requeue": True, "cpus_per_task": copies.cpus_per_job, "gpus_per_node": copies.gpus_per_job, **options}
    try:
        executor = submitit.SlurmExecutor(folder.absolute(), python=f"{shlex.quote(sys.executable)} -P")
        executor.update_parameters(
            job_name=f"auxar-{copies.words[0]}",
            time=YEAR,
            stderr_to_stdout=True,
            array_parallelism=copies.jobs,
            # Else Slurm could set variables of a launcher of several processes, such as PMI_SIZE.
            srun_args=["--mpi=none"],
            additional_parameters={name: value for name, value in needs.items() if value},
        )
        submitted = executor.submit_array([Job(copies) for _ in range(copies.jobs)])
    except (RuntimeError, OSError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"Slurm does not accept the jobs: {' '.join(str(error).split())}") from None
    return [Launched(job.job_id, folder / job.paths.stdout.name, "submitted") for job in submitted]


def wait_for(jobs: Sequence[Launched]) -> list[Launched]:
    """Returns when jobs have ended. Raises `UserError` if some have failed."""
    states = {job.name: "submitted" for job in jobs}
    while not ENDED.issuperset(states.values()):
        time.sleep(PAUSE)
        done = subprocess.run(QUEUE, capture_output=True, text=True)
        if not done.returncode:  # Else Slurm's controller does not answer, for example because it is started again.
            queue = dict(line.lower().split() for line in done.stdout.splitlines())
            states = {name: queue.get(name, old if old in ENDED else "lost") for name, old in states.items()}
    return checked([attrs.evolve(job, state=states[job.name]) for job in jobs])
