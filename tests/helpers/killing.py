"""Runs a command in several processes at once, some of which are killed while others join."""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from helpers.tiny_runs import process_environment

PROCESSES, KILLS, LONGEST = 8, 6, 4.0
"""Number of processes at once, of kills, and the maximum time in seconds between two kills."""
REPETITIONS = int(os.environ.get("REPETITIONS", "1"))
"""Number of repetitions of each test with kills, at other moments."""


def wait_for(what: Callable[[], object], process: subprocess.Popen[Any] | None = None, limit: float = 120) -> None:
    """Waits until something is true or a process has ended, but no more than `limit` seconds."""
    until = time.monotonic() + limit
    while not what() and (process is None or process.poll() is None):
        assert time.monotonic() < until, "the run did not get to this place"
        time.sleep(0.001)


def outputs_of_killed(line: Sequence[str | Path], seed: int) -> list[tuple[str, str]]:
    """Returns the standard output and the standard error of each process that was not killed."""
    numbers = random.Random(seed)

    def start() -> subprocess.Popen[str]:
        environment = process_environment(OMP_NUM_THREADS="1")
        return subprocess.Popen(line, env=environment, stdout=-1, stderr=-1, text=True, start_new_session=True)

    working = [start() for _ in range(PROCESSES)]
    for _ in range(KILLS):
        time.sleep(numbers.uniform(0, LONGEST))
        killed = working.pop(numbers.randrange(len(working)))
        os.killpg(killed.pid, signal.SIGKILL)
        killed.communicate()
        working.append(start())
    return [process.communicate(timeout=300) for process in working]
