"""Starts the CPU processes that `accelerate launch --cpu --num_processes N -m auxar …` requests.

For GPUs, `accelerate launch` starts all processes. For CPUs, it needs MPI. Without MPI, it starts a single process and
gives no warning. This module then starts the processes with torch's launcher.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping, Sequence

STARTED_BY_A_LAUNCHER = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")
"""Environment variables that launchers set in the processes that they start."""


def missing_processes(environment: Mapping[str, str], parent: Sequence[str]) -> int:
    """The number of CPU processes that `accelerate launch` was asked for and did not start; 0 if none are missing.

    `parent` is the command line of the parent process. The result is 0 if it is not `accelerate launch` or requests at
    most one process, if `environment` does not request CPUs, or if `environment` shows that a launcher of several
    processes has started this one.
    """
    alone = not any(name in environment for name in STARTED_BY_A_LAUNCHER)
    on_cpu = environment.get("ACCELERATE_USE_CPU", "").lower() in ("1", "true")
    if not (alone and on_cpu and "launch" in " ".join(parent)):
        return 0
    for index, word in enumerate(parent):
        name, _, value = word.partition("=")
        if name.replace("-", "_") == "__num_processes":
            value = value or "".join(parent[index + 1 : index + 2])
            return int(value) if value.isdigit() and int(value) > 1 else 0
    return 0


def start_missing_processes(arguments: Sequence[str]) -> int | None:
    """Runs `auxar` with `arguments` in the requested number of processes, and returns the exit status.

    Returns None, and starts nothing, if no processes are missing. The status is 0 on success, that of the first process
    that failed, `PEER_DIED` if a signal killed that process, or 128 + the number of a signal that ended the launcher.
    """
    if not os.environ.get("ACCELERATE_USE_CPU"):
        return None
    import logging

    import psutil

    from auxar.distributed.signals import PEER_DIED

    try:
        parent = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return None
    count = missing_processes(os.environ, parent)
    if not count:
        return None
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    # With `--standalone` the launcher chooses a free port. The address that accelerate sets is meant for MPI.
    options = ["--standalone", "--nproc_per_node", str(count), "-m", "auxar", *arguments]
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # The processes print their own errors.
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import parse_args, run

    try:
        run(parse_args(options))
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        if failure.exitcode > 0:
            return failure.exitcode
        end = signal.Signals(-failure.exitcode).name
        print(f"auxar: the process with rank {rank} of {count} (pid {failure.pid}) was ended by {end}", file=sys.stderr)
        return PEER_DIED
    except SignalException as error:  # The processes got the signal too, and have saved checkpoints.
        return 128 + error.sigval
    return 0
