"""Copies of a command: processes that run the same line at the same time."""

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import attrs

from auxar import UserError

logger = logging.getLogger("auxar")

TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node")
"""The launcher of several processes on one machine. It chooses a free port."""


@attrs.frozen
class Launched:
    """A job that `auxar.launch` has started."""

    name: str
    """Number of the job: Slurm's, such as 1234_5, or a number from 1 on for a process of this machine."""
    log: Path
    """The file of its messages."""
    state: str
    """`submitted`, `completed`, or how the job failed."""


@attrs.frozen
class Copies:
    """Jobs that run the same command of auxar."""

    words: tuple[str, ...]
    """The command's name and its arguments."""
    jobs: int
    """Number of jobs."""
    gpus_per_job: int
    """Number of GPUs of each job."""
    cpus_per_job: int | None
    """Number of CPU cores of each job. The default is all that the job may use."""

    def start(self, environment: dict[str, str], **options: Any) -> subprocess.Popen[bytes]:
        """Starts the command in a session of its own, so that Ctrl-C in a terminal does not reach it.

        With several GPUs, torchrun starts a process for each. `environment` has variables besides those of this
        process, and `options` are options of `Popen`.
        """
        # With -P, Python imports nothing from the working directory.
        launcher = [sys.executable, "-P", *([*TORCHRUN, str(self.gpus_per_job)] if self.gpus_per_job > 1 else [])]
        threads = (self.cpus_per_job or len(os.sched_getaffinity(0))) // max(1, self.gpus_per_job)
        environment = {"OMP_NUM_THREADS": str(max(1, threads)), **os.environ, **environment}
        return subprocess.Popen(
            [*launcher, "-m", "auxar", *self.words], env=environment, start_new_session=True, **options
        )


def run_here(copies: Copies, folder: Path) -> list[Launched]:
    """Runs jobs on this machine at the same time, and returns when all have ended. Their messages go into `folder`.

    If this process is asked to end, it ends all jobs and waits for their checkpoints. Raises `UserError` if there are
    too few GPUs, or if jobs fail.
    """
    copies = attrs.evolve(copies, cpus_per_job=copies.cpus_per_job or len(os.sched_getaffinity(0)) // copies.jobs or 1)
    gpus = _gpus(copies.gpus_per_job * copies.jobs)
    logs = [folder / f"{number + 1}.log" for number in range(copies.jobs)]
    logger.info("%d jobs run; their messages are in %s", copies.jobs, folder)
    running: list[subprocess.Popen[bytes]] = []
    try:
        for log in logs:
            own = {"CUDA_VISIBLE_DEVICES": ",".join(gpus.pop(0) for _ in range(copies.gpus_per_job))}
            with log.open("xb") as file:
                running.append(copies.start(own, stdin=subprocess.DEVNULL, stdout=file, stderr=file))
        codes = [process.wait() for process in running]
    finally:
        for process in running:
            process.terminate()  # Has no effect on a process that has ended.
        for process in running:
            process.wait()
    ended = [(log, "completed" if code == 0 else f"exit status {code}") for log, code in zip(logs, codes, strict=True)]
    return checked([Launched(log.stem, log, state) for log, state in ended])


def _gpus(count: int) -> list[str]:
    """The first `count` GPUs that this process may use. Raises `UserError` if there are fewer."""
    if count == 0:
        return []
    import torch

    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    found = given.split(",") if given else [str(number) for number in range(torch.cuda.device_count())]
    if len(found) < count:
        raise UserError(f"gpus_per_job: the jobs need {count} GPUs, and this machine has {len(found)}")
    return found[:count]


def checked(jobs: Sequence[Launched]) -> list[Launched]:
    """Returns jobs that have ended. Raises `UserError` with the files of their messages if some have failed."""
    failed = [f"job {job.name} ({job.state}): {job.log}" for job in jobs if job.state != "completed"]
    if failed:
        raise UserError(f"{len(failed)} of {len(jobs)} jobs have failed; see their messages: {'; '.join(failed)}")
    return list(jobs)
