"""Compares times on an idle machine with times beside other busy processes.

    python tests/benchmarks/busy.py sampling --processes 1
    python tests/benchmarks/busy.py training --processes 1 3
    python tests/benchmarks/busy.py evaluation --processes 1 3

`--processes` gives numbers of other processes that compute without pause; each is measured, and so is the idle machine.
Measurements with and without them take turns, and medians are printed as JSON. The machine must be idle otherwise.

`sampling` draws images from untrained networks with the native engine, with one thread and with all, and prints the
ratio of the times beside busy processes and on the idle machine. `training` trains networks of several sizes, and
`evaluation` computes likelihoods, with one thread, with all, and with the number that auxar chooses. They print the
ratio of the time with this number and with the better of the others, and whether all results are the same.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

import auxar
from auxar import DrawSource, ImageSpec, SampleRequest
from auxar.numerics.threads import ThreadChoice, threads
from auxar_pixelcnn import components
from auxar_samplers import AutoSampler

BETWEEN = 0.2
"""Seconds between starting or stopping the busy processes and a measurement."""
ADAPTING = 0.5
"""Seconds of draws before a measurement of sampling."""
TRAININGS = {"8×8": ("prior", 300), "16×16": ("stage1", 120), "32×32": ("stage0", 60)}
"""Factors of the quickstart, and numbers of steps."""
IMAGES = 640
"""The number of images whose likelihoods are computed."""


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


def seconds(call: Callable[[], object]) -> float:
    """Returns the duration of a call in seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def light(size: int, images: int) -> Callable[[], object]:
    """Draws images with the pyramid's decoder."""
    network = components.light(components.LightConfig(), ImageSpec(3, height=size, width=size), 100)
    features = torch.randn(images, 100, size, size)
    request = SampleRequest(tuple(range(images)))
    return lambda: AutoSampler("native").sample(network.eval(), features, DrawSource.of(network, request))


def sampling(options: argparse.Namespace, others: Others) -> Iterator[dict[str, Any]]:
    """Yields the times of drawing images."""
    torch.set_grad_enabled(False)
    for name, size, images in (("light32", 32, 1), ("light32", 32, 16), ("light128", 128, 1)):
        draw = light(size, images)
        for count in (1, options.threads):
            torch.set_num_threads(count)
            draw()
            found: dict[int, list[float]] = {number: [] for number in (0, *options.processes)}
            for _ in range(options.repeats):
                for number, times in found.items():
                    others.run(number)
                    started = time.perf_counter()
                    while time.perf_counter() - started < ADAPTING:
                        draw()
                    times.append(seconds(draw))
            medians = {number: statistics.median(times) for number, times in found.items()}
            ratios = {number: median / medians[0] for number, median in medians.items() if number}
            yield {"case": name, "images": images, "threads": count, "seconds": medians, "ratio": ratios}


@contextlib.contextmanager
def fixed() -> Iterator[None]:
    """A context in which no number of threads is chosen, so that all operations use the number that PyTorch has."""
    original = ThreadChoice.__init__
    ThreadChoice.__init__ = lambda self, _: original(self, None)  # type: ignore[method-assign, assignment]
    try:
        yield
    finally:
        ThreadChoice.__init__ = original  # type: ignore[method-assign]


def compared(
    name: str, work: Callable[[int], str], amount: int, options: argparse.Namespace, others: Others
) -> Iterator[dict[str, Any]]:
    """Yields the times of an amount of work, whose result has the digest that `work` returns.

    Beside busy processes, all threads do a tenth of the work, because they may be many times as slow. Their time is
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
                    started = time.perf_counter()
                    result = work(amount // part)
                    found.append(part * (time.perf_counter() - started))
                if part == 1:
                    digests.add(result)
        medians = {way: statistics.median(found) for way, found in times.items()}
        ratio = medians["chosen"] / min(medians["one"], medians["all"])
        row = {"case": name, "processes": number, "seconds": medians, "ratio": ratio, "same": len(digests) == 1}
        print(json.dumps(row), file=sys.stderr, flush=True)
        yield row


def digest(*files: Path) -> str:
    """A digest of the tensors in files."""
    found = hashlib.sha256()
    for file in files:
        for name, tensor in sorted(load_file(file).items()):
            found.update(name.encode() + tensor.numpy().tobytes())
    return found.hexdigest()


def training(options: argparse.Namespace, others: Others) -> Iterator[dict[str, Any]]:
    """Yields the times of trainings of factors of the quickstart, each in a new folder."""

    def train(factor: str, steps: int) -> str:
        with tempfile.TemporaryDirectory() as folder:
            settings = [f"training.factor.{factor}.steps={steps}"]
            run = auxar.run("quickstart", settings=settings, only=[factor], train_only=True, out=Path(folder, "run"))
            return digest(run.weights(factor))

    for name, (factor, steps) in TRAININGS.items():
        yield from compared(name, functools.partial(train, factor), steps, options, others)


def evaluation(options: argparse.Namespace, others: Others) -> Iterator[dict[str, Any]]:
    """Yields the times of evaluating the model `emoji32`, and of the likelihoods of images from Python."""
    model = auxar.load("emoji32")
    images = model.sample(IMAGES, seed=0).tensor

    def evaluate(count: int) -> str:
        settings = ["evaluation.heldout_images=1", f"evaluation.train_images={count}"]
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            return digest(auxar.evaluate("emoji32", settings=settings).path / "evaluation.safetensors")

    def log_prob(count: int) -> str:
        return hashlib.sha256(model.log_prob(images[:count], batch_size=16).numpy().tobytes()).hexdigest()

    yield from compared("auxar.evaluate", evaluate, IMAGES, options, others)
    yield from compared("ImageModel.log_prob", log_prob, IMAGES, options, others)


def main() -> None:
    """Measures one kind of work, and prints JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {"sampling": sampling, "training": training, "evaluation": evaluation}
    parser.add_argument("work", choices=list(kinds))
    parser.add_argument("--processes", type=int, nargs="+", default=[1], help="numbers of busy processes (default: 1)")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    torch.manual_seed(0)
    others = Others(max(options.processes))
    try:
        print(json.dumps(list(kinds[options.work](options, others)), indent=2))
    finally:
        # A process that is stopped cannot be ended.
        others.run(len(others.processes))


if __name__ == "__main__":
    main()
