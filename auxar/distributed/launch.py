"""Several processes on a CPU, as `accelerate launch --cpu --num_processes N -m auxar …` asks for them.

For GPUs `accelerate launch` starts the processes itself. For CPUs it leaves that to MPI: without it, it starts a single
process and says nothing of the others. Here they are started by torch's own launcher.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Mapping, Sequence

import psutil

from auxar.distributed.signals import PEER_DIED

STARTED_BY_A_LAUNCHER = ("LOCAL_RANK", "RANK", "WORLD_SIZE", "OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE")


def missing_processes(environment: Mapping[str, str], parent: Sequence[str]) -> int:
    """How many processes the command line `parent` of `accelerate launch` asks for on CPUs and did not start.

    0 for any other parent, and where the processes are there.
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
    """Runs `auxar` with `arguments` in as many processes as were asked for; None if nothing is missing.

    Returns the exit status of the process that ended first with one that is not 0, and `PEER_DIED` if it was killed.
    """
    try:
        parent = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return None
    count = missing_processes(os.environ, parent)
    if not count:
        return None
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    # A free port is found by the launcher; the address that accelerate passes on is for MPI.
    options = ["--standalone", "--nproc_per_node", str(count), "-m", "auxar", *arguments]
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # The processes speak for themselves.
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
        print(f"auxar: process {rank} of {count} (pid {failure.pid}) was ended by {end}", file=sys.stderr)
        return PEER_DIED
    except SignalException as error:  # Passed on to the processes, which have saved what they had.
        return 128 + error.sigval
    return 0
