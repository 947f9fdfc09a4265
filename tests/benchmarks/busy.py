"""Compares times on an idle machine with times beside other busy processes.

    python tests/benchmarks/busy.py --processes 1 3

`--processes` gives numbers of other processes that compute without pause; each is measured, and so is the idle machine.
Measurements with and without them take turns, and medians are printed as JSON. The machine must be idle otherwise.

Networks of several sizes are trained with one thread, with all, and with the number that auxar chooses. The output has
the ratio of the time with this number and with the better of the others, and whether all results are the same.
`--steps` multiplies the numbers of steps.
"""

import argparse
import contextlib
import functools
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from measuring import options_of, show, timed

import auxar
from auxar.files import read_checksum
from auxar.numerics.threads import ThreadChoice, threads

BETWEEN = 0.2
"""Seconds between starting or stopping the busy processes and a measurement."""
TRAININGS = {"8×8": ("prior", 300), "16×16": ("stage1", 120), "32×32": ("stage0", 60)}
"""Factors of the quickstart, and numbers of steps."""


def busy() -> None:
    """Computes until the process is ended."""
    number = 0
    while True:
        number += 1


class Others:
    """Other processes, of which a chosen number computes."""

    def __init__(self, most: int) -> None:
        self.processes = [multiprocessing.Process(target=busy, daemon=True) for _ in range(most)]
        for process in self.processes:
            process.start()
        self.run(0)

    def run(self, count: int) -> None:
        """Lets `count` processes compute, and stops the others."""
        for index, process in enumerate(self.processes):
            if process.pid is not None:
                os.kill(process.pid, signal.SIGCONT if index < count else signal.SIGSTOP)
        time.sleep(BETWEEN)


@contextlib.contextmanager
def fixed() -> Iterator[None]:
    """A context in which no number of threads is chosen, so that all operations use the number that PyTorch has."""
    original = ThreadChoice.__init__
    ThreadChoice.__init__ = lambda self, _: original(self, None)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ThreadChoice.__init__ = original  # type: ignore[method-assign]


def compared(factor: str, steps: int, options: argparse.Namespace, others: Others) -> Iterator[dict[str, Any]]:
    """Yields the times of trainings of a factor.

    Beside busy processes, all threads train a tenth of the steps, because they may be many times as slow. Their time is
    multiplied by ten.
    """
    for number in (0, *options.processes):
        times: dict[str, list[float]] = {"one": [], "all": [], "chosen": []}
        digests: set[str] = set()
        for _ in range(options.repeats):
            for way, found in times.items():
                others.run(number)
                part = 10 if way == "all" and number else 1
                count = 1 if way == "one" else options.threads
                with threads(count), contextlib.nullcontext() if way == "chosen" else fixed():
                    duration, result = timed(functools.partial(train, factor, steps // part))
                found.append(part * duration)
                if part == 1:
                    digests.add(result)
        medians = {way: statistics.median(found) for way, found in times.items()}
        ratio = medians["chosen"] / min(medians["one"], medians["all"])
        row = {"processes": number, "seconds": medians, "ratio": ratio, "same": len(digests) == 1}
        print(row, file=sys.stderr, flush=True)
        yield row


def train(factor: str, steps: int) -> str:
    """Trains a factor of the quickstart in a new folder, and returns a digest of its weights."""
    with tempfile.TemporaryDirectory() as folder:
        settings = [f"training.factor.{factor}.steps={steps}"]
        run = auxar.run("quickstart", settings=settings, only=[factor], train_only=True, out=Path(folder, "run"))
        return read_checksum(run.weights(factor))


def main() -> None:
    """Measures trainings, and prints JSON."""
    options = options_of(__doc__, processes=[1], threads=os.cpu_count() or 1, repeats=3, steps=1.0)
    torch.manual_seed(0)
    others = Others(max(options.processes))
    try:
        trainings = {name: (factor, round(options.steps * steps)) for name, (factor, steps) in TRAININGS.items()}
        show({name: list(compared(*how, options, others)) for name, how in trainings.items()}, options)
    finally:
        # A process that is stopped cannot be ended.
        others.run(len(others.processes))


if __name__ == "__main__":
    main()
