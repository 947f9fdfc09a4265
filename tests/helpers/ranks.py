"""Starts the processes of one command by hand, without a launcher, and simulates several processes in threads."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from torch.distributed import HashStore

from auxar.distributed.peers import Peer
from auxar.distributed.processes import Processes
from helpers.tiny_runs import command, process_environment


def free_port() -> int:
    """Returns the number of a TCP port that no program uses now."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextlib.contextmanager
def started_by_hand(
    *ranks: Sequence[str | Path], folders: Sequence[Path], **environment: str
) -> Iterator[list[subprocess.Popen[str]]]:
    """Starts `auxar` once with each sequence of arguments, as the ranks of one group of CPU processes.

    `folders` are the working directories of the ranks, and `environment` are further environment variables. Processes
    that still run at the end of the block are killed.
    """
    place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port()), "OMP_NUM_THREADS": "1", **environment}
    started = [
        subprocess.Popen(
            command(*arguments),
            env=process_environment(**place, WORLD_SIZE=str(len(ranks)), RANK=str(rank), LOCAL_RANK=str(rank)),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            cwd=folder,
        )
        for rank, (arguments, folder) in enumerate(zip(ranks, folders, strict=True))
    ]
    try:
        yield started
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.communicate()


def in_threads(count: int, work: Callable[[Processes], Any], present: Sequence[int] | None = None) -> dict[int, Any]:
    """Calls a function in threads that act as the processes of a group of `count` processes.

    Only the ranks in `present` take part, by default all. Returns the result of each rank, or the exception it raised.
    """
    store = HashStore()
    found: dict[int, Any] = {}

    def act(rank: int) -> None:
        peers = [Peer(other, "here", 1000 + other, "host") for other in range(count)]
        try:
            found[rank] = work(Processes(rank, count, store, peers))
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=act, args=[rank], daemon=True) for rank in present or range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return found
