"""Seconds and memory of a model with images of several sizes, each in a process of its own.

    python tests/benchmarks/sizes.py RUN --widths 32 128 512 2048 --threads 2 --json

Images have a height of 3/4 of their width. The first one of a smooth picture with noise is measured (`log_prob`), drawn
(`sample`), encoded and decoded in integers (`encode`, `decode`). `memory` is the largest resident memory of the process
in MiB, of which an image of 32×24 needs the first row's. The run must have integers (`auxar integers RUN`).

Measured with a model of the recipe `photos` on one core of an AMD EPYC with AVX-512, beside programs on both cores,
so that seconds are up to twice those of an idle machine:

    width    log_prob            sample              encode               decode
    32       0.01 s   301 MiB    0.06 s   297 MiB    0.25 s   300 MiB    0.28 s   300 MiB
    128      0.08 s   326 MiB    0.14 s   322 MiB    0.62 s   355 MiB    0.38 s   321 MiB
    512      1.61 s   701 MiB    1.13 s   560 MiB    6.79 s   540 MiB    2.96 s   483 MiB
    2048     63.3 s   4871 MiB   84.2 s   3829 MiB   256 s    1894 MiB   132 s    1782 MiB
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch
from measuring import options_of, show
from torch.nn.functional import interpolate

import auxar
from auxar import FactorCoder

TASKS = ("log_prob", "sample", "encode", "decode")


def smooth(height: int, width: int) -> torch.Tensor:
    """A smooth image with noise: int64, (1, 3, height, width)."""
    torch.manual_seed(0)
    coarse = torch.rand(1, 3, 1 + height // 16, 1 + width // 16) * 255
    whole = interpolate(coarse, (height, width), mode="bilinear") + torch.randn(1, 3, height, width) * 3
    return whole.round().clamp(0, 255).to(torch.int64)


def measured(run: Path, task: str, width: int) -> dict[str, float]:
    """Seconds and memory of a task, which this process does once."""
    integers = task in ("encode", "decode")
    model = auxar.load(run, "cpu", arithmetic="integer" if integers else "float").at(max(1, width * 3 // 4), width)
    image = smooth(model.image.height, width)
    views = model.chain.views(image)
    coders: list[Any] = []
    if integers:
        assert model.chain.sampler is not None
        coders = [(FactorCoder(factor, model.chain.sampler), *factor.inputs(views)[:2]) for factor in model.factors]
    streams = [[bytes(view.numel())] for _, view, _ in coders]  # The time is that of any other stream.
    started = time.perf_counter()
    if task == "log_prob":
        model.log_prob(image)
    elif task == "sample":
        model.sample(1, progress=False)
    for (coder, view, coarser), stream in zip(coders, streams, strict=True):
        if task == "encode":
            coder.encode(view, coarser, coder.lag())
        else:
            coder.decode(stream, coarser, coder.lag())
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "memory": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def main() -> None:
    runs = {"positional": True, "type": Path, "metavar": "RUN"}
    widths = {"type": int, "nargs": "+", "default": [32, 128, 512, 2048]}
    options = options_of(__doc__, run=runs, widths=widths, task="", threads=1)
    torch.set_num_threads(options.threads)
    if options.task:
        print(json.dumps(measured(options.run, options.task, *options.widths)))
        return
    for width in options.widths:
        found: dict[str, Any] = {"width": width}
        for task in TASKS:
            line = [sys.executable, __file__, options.run, "--task", task, "--widths", str(width)]
            done = subprocess.run([*line, "--threads", str(options.threads)], capture_output=True, text=True)
            found[task] = json.loads(done.stdout) if done.returncode == 0 else done.stderr[-200:]
        show(found, options)


if __name__ == "__main__":
    main()
