"""Compares the time of sampling on an idle machine with the time beside other busy processes.

    python tests/benchmarks/busy.py --processes 1

For each number of threads, the native engine draws images from untrained networks, with and without `--processes` other
processes that compute without pause. Idle and busy draws take turns. The output is JSON: median seconds, and their
ratio. The machine must be idle otherwise.
"""

from __future__ import annotations

import argparse
import atexit
import json
import multiprocessing
import os
import signal
import statistics
import time
from collections.abc import Callable

import torch

from auxar import DrawSource, ImageSpec, SampleRequest
from auxar_pixelcnn import components
from auxar_samplers import AutoSampler

BETWEEN = 0.2
"""Seconds between starting or stopping the busy processes and a measurement."""


ADAPTING = 0.5
"""Seconds of draws before a measurement."""


def busy() -> None:
    """Computes until the process is ended."""
    number = 0
    while True:
        number += 1


def light(size: int, images: int) -> Callable[[], object]:
    """Draws images with the pyramid's decoder."""
    network = components.light_decoder(components.LightConfig(), ImageSpec(3, height=size, width=size), 100).network
    features = torch.randn(images, 100, size, size)
    request = SampleRequest(tuple(range(images)))
    return lambda: AutoSampler("native").sample(network.eval(), features, DrawSource.of(network, request))


def settle(draw: Callable[[], object]) -> None:
    """Draws until the engine has adapted itself to the processors that are free."""
    started = time.perf_counter()
    while time.perf_counter() - started < ADAPTING:
        draw()


def seconds(call: Callable[[], object]) -> float:
    """Returns the duration of a call in seconds."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=1, help="number of busy processes (default: 1)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, os.cpu_count() or 1])
    parser.add_argument("--repeats", type=int, default=7)
    options = parser.parse_args()
    torch.set_grad_enabled(False)
    torch.manual_seed(0)
    others = [multiprocessing.Process(target=busy, daemon=True) for _ in range(options.processes)]
    for other in others:
        other.start()
    identifiers = [other.pid for other in others if other.pid is not None]

    def send(number: signal.Signals) -> None:
        for identifier in identifiers:
            os.kill(identifier, number)
        time.sleep(BETWEEN)

    found = []
    # A process that is stopped cannot be ended.
    atexit.register(send, signal.SIGCONT)
    for name, size, images in (("light32", 32, 1), ("light32", 32, 16), ("light128", 128, 1)):
        draw = light(size, images)
        for threads in options.threads:
            torch.set_num_threads(threads)
            draw()
            idle, beside = [], []
            for _ in range(options.repeats):
                send(signal.SIGSTOP)
                settle(draw)
                idle.append(seconds(draw))
                send(signal.SIGCONT)
                settle(draw)
                beside.append(seconds(draw))
            one, other_one = statistics.median(idle), statistics.median(beside)
            found.append(
                {
                    "case": name,
                    "images": images,
                    "threads": threads,
                    "idle_seconds": one,
                    "busy_seconds": other_one,
                    "ratio": other_one / one,
                }
            )
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
