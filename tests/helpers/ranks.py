"""Simulates the processes of one command in threads."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from auxar.work import processes
from auxar.work.processes import Processes


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
