"""Starts the processes of one command by hand, without a launcher, and simulates several processes in threads."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from auxar.work import processes
from auxar.work.processes import Processes
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


def in_threads(count: int, work: Callable[[Processes], Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Calls a function in threads that act as the processes of a group of `count` processes.

    Returns the result of each rank, or the exception it raised.
    """
    values: list[Any] = [None] * count
    found = values.copy()
    everyone = threading.Barrier(count, timeout=30)
    thread = threading.local()

    def gather(own: list[Any]) -> list[Any]:
        (values[thread.rank],) = own
        everyone.wait()
        gathered = values.copy()
        everyone.wait()
        return gathered

    def broadcast(own: list[Any]) -> None:
        own[0] = gather(own)[0]

    monkeypatch.setattr(processes, "gather_object", gather)
    monkeypatch.setattr(processes, "broadcast_object_list", broadcast)

    def act(rank: int) -> None:
        thread.rank = rank
        try:
            found[rank] = work(Processes(rank, count))
        except Exception as error:
            found[rank] = error

    threads = [threading.Thread(target=act, args=[rank], daemon=True) for rank in range(count)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(30)
    return found
