"""Compares the speed of training with the speed of this machine's convolutions.

    python tests/benchmarks/training.py --json

The model is the full PixelCNN++ (nr_resnet 1, 100 filters, 10 components), trained on batches of 16 images of 32×32 in
float32 and in bfloat16, with and without compiled networks (`training.compile`). `training_rate_gflops` is the rate of
whole Adam steps. `convolution_rate_gflops` is the rate of the network's convolutions alone, forward and backward: each
is timed separately, with its own shapes and in its faster memory layout, in the same process. Both rates count two
operations for each multiply-add of the convolutions, and nothing for padding and other layers. Times are medians over
repetitions. Measured in GFLOP/s, before gradients of weights were summed in parts that depend only on the shape of the
weight, which costs a little time (two cores of an AMD EPYC; one core of an Intel Xeon with AMX beside another program):

                      training   compiled   convolutions alone   ratio   compiled
    EPYC, float32          140                             183    0.76
    EPYC, bf16             243                             339    0.72
    Xeon, float32           96        120                  145    0.66       0.83
    Xeon, bf16             233        345                  741    0.32       0.47
"""

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from unittest.mock import patch

import torch
from measuring import options_of, seconds, show, training_step
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from auxar.model import CausalDistribution, Factor, ImageSpec, Values
from auxar.numerics.threads import threads
from auxar.training.averaging import WeightAverage
from auxar.training.compiling import compiled
from auxar_pixelcnn.components import FullConfig, full


def layer_calls(network: nn.Module, step: Callable[[], object]) -> Counter:
    """Counts the convolutions of one step by (transposed, input shape, weight shape, options, whether the input needs a
    gradient)."""
    calls: Counter = Counter()

    def record(transposed: bool, original: Callable) -> Callable:
        def call(x: Tensor, weight: Tensor, bias: Tensor, **options: Any) -> Tensor:
            known = tuple((name, tuple(value) if isinstance(value, list) else value) for name, value in options.items())
            calls[transposed, tuple(x.shape), tuple(weight.shape), known, x.requires_grad] += 1
            return original(x, weight, bias, **options)

        return call

    ways = {"conv2d": False, "conv_transpose2d": True}
    with contextlib.ExitStack() as patches:
        for name, transposed in ways.items():
            patches.enter_context(patch.object(functional, name, record(transposed, getattr(functional, name))))
        step()
    return calls


def bare_convolution(call: tuple, dtype: torch.dtype, repeats: int) -> float:
    """Returns the median seconds of one entry of `layer_calls`, forward and backward, in the faster memory layout."""
    transposed, shape, weight_shape, options, needs_input = call
    convolve = partial(functional.conv_transpose2d if transposed else functional.conv2d, **dict(options))
    outputs = weight_shape[1] * dict(options).get("groups", 1) if transposed else weight_shape[0]
    best = float("inf")
    for layout in (torch.channels_last, torch.contiguous_format):
        x = torch.randn(shape, dtype=dtype).to(memory_format=layout).requires_grad_(needs_input)
        weight = (torch.randn(weight_shape, dtype=dtype) * 0.01).to(memory_format=layout).requires_grad_()
        bias = torch.zeros(outputs, dtype=dtype, requires_grad=True)
        inputs = (x, weight, bias) if needs_input else (weight, bias)
        gradient = torch.randn_like(convolve(x, weight, bias))

        def once(x=x, weight=weight, bias=bias, inputs=inputs, gradient=gradient) -> None:
            torch.autograd.grad(convolve(x, weight, bias), inputs, gradient)

        best = min(best, seconds(once, repeats, 2))
    return best


def measure(dtype: torch.dtype, options: argparse.Namespace) -> dict[str, float]:
    """Measures the rates of training, with and without compiled networks, and of its convolutions."""
    torch.manual_seed(0)
    spec, repeats = ImageSpec(3, height=options.side, width=options.side), options.repeats
    config = FullConfig(filters=options.filters, nr_resnet=1, dropout=options.dropout)
    factor = Factor(CausalDistribution(full(config, spec)))
    images = torch.randint(0, 256, (options.batch, *spec.shape), dtype=torch.uint8)
    values = Values({factor.variable: images})
    factor.initialize(values)
    optimizer = torch.optim.Adam(factor.parameters(), lr=1e-3, fused=True)
    average = WeightAverage(factor, 0.9995)

    def step() -> None:
        training_step(factor, optimizer, values, bf16=dtype is torch.bfloat16)
        average.update()

    # The counter sees the operations of the calling thread only.
    with FlopCounterMode(display=False) as counter, threads(1):
        step()
    flops = counter.get_total_flops()
    convolutions = sum(
        count * bare_convolution(call, dtype, max(3, repeats // 2)) for call, count in layer_calls(factor, step).items()
    )
    duration = seconds(step, repeats, 2)
    results = {
        "seconds_per_step": duration,
        "images_per_second": options.batch / duration,
        "training_rate_gflops": flops / duration / 1e9,
        "convolution_rate_gflops": flops / convolutions / 1e9,
        "ratio": convolutions / duration,
    }
    if options.uncompiled:
        return results
    started = time.perf_counter()
    with compiled(factor.train(), step, required=True):
        compiling = time.perf_counter() - started
        fast = seconds(step, repeats, 2)
    return {
        **results,
        "compiled_seconds_per_step": fast,
        "seconds_to_compile": compiling,
        "compiled_ratio": convolutions / fast,
    }


def main() -> None:
    uncompiled = {"action": "store_true", "help": "leave out compiled networks"}
    options = options_of(__doc__, repeats=11, dropout=0.5, side=32, filters=100, batch=16, uncompiled=uncompiled)
    float32, bf16 = (measure(dtype, options) for dtype in (torch.float32, torch.bfloat16))
    results = {
        "threads": torch.get_num_threads(),
        "float32": float32,
        "bf16": bf16,
        "bf16_speedup": float32["seconds_per_step"] / bf16["seconds_per_step"],
    }
    show(results, options)


if __name__ == "__main__":
    main()
