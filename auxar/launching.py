"""Several processes on a CPU, as `accelerate launch --cpu --num_processes N -m auxar …` asks for them.

For GPUs `accelerate launch` starts the processes itself. For CPUs it leaves that to MPI: without it, it starts a single
process and says nothing of the others. Here they are started by torch's own launcher.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence

import psutil

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
    """Runs `auxar` with `arguments` in as many processes as were asked for; None if nothing is missing."""
    try:
        parent = psutil.Process(os.getppid()).cmdline()
    except psutil.Error:
        return None
    count = missing_processes(os.environ, parent)
    if not count:
        return None
    # A free port is found by the launcher; the address that accelerate passes on is for MPI.
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    threads = str(max(1, (os.cpu_count() or 1) // count))
    environment = {"OMP_NUM_THREADS": threads, **os.environ}
    return subprocess.call([sys.executable, *launcher, "-m", "auxar", *arguments], env=environment)
