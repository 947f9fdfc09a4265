"""Measures how much slower a restricted decoder is than a free one, in training and in sampling.

    python tests/benchmarks/restricted.py --json

The decoders come from the small recipes: p(16×16 | 8×8) and p(32×32 | 16×16) of the pyramid (64 and 48 filters, 3
blocks), and colors given 4-bit gray (PixelCNN++, 40 filters, nr_resnet 1). Each has 10 mixture components. Batches hold
8 images for training, and 1 and 16 for sampling. Calls of the free and of the restricted decoder alternate. A ratio is
the median, over pairs of calls, of the restricted time divided by the free time.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch

from auxar.model import CausalDistribution, Factor, ImageSpec, SampleRequest, View
from auxar.testing.examples import random_images
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_heads import logistic_mixture, softmax
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers.auto import AutoSampler
from auxar_samplers.engines.choice import AUTO, SHIPPED

CASES = ("16x16", "32x32", "color")
HEADS = {"logistic_mixture": logistic_mixture, "softmax": softmax}


def factor(case: str, *, restricted: bool, head: str = "logistic_mixture") -> Factor:
    """The factor of a small recipe, initialized on noise."""
    torch.manual_seed(0)
    view: View
    if case == "color":
        image = ImageSpec(height=32, width=32)
        view = GrayscaleView(GrayscaleConfig(), image)
        embedding = components.embedding(
            components.EmbeddingConfig(filters=40, blocks_per_group=1, dropout=0.2), view.view, image
        )
        config = components.FullConfig(filters=40, nr_resnet=1, dropout=0.2, head=HEADS[head]())
        decoder = CausalDistribution(components.full(config, image, embedding.features_channels))
    else:
        side, filters = (16, 64) if case == "16x16" else (32, 48)
        image = ImageSpec(height=side, width=side)
        view = PyramidView(PyramidConfig(), image)
        embedding = components.embedding(
            components.EmbeddingConfig(filters=filters, blocks_per_group=1, dropout=0.1), view.view, image
        )
        light = components.LightConfig(filters=filters, dropout=0.1, head=HEADS[head]())
        decoder = CausalDistribution(components.light(light, image, embedding.features_channels))
    found = Factor(decoder, view=view, embedding=embedding, restricted=restricted)
    images = random_images(8, image, 0)
    found.initialize(images, view(images))
    return found


def training(case: str, *, restricted: bool, bf16: bool) -> Callable[[], object]:
    """Returns a call that does one optimizer step."""
    made = factor(case, restricted=restricted).train()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-4, fused=True)
    images = random_images(8, made.image, 1)
    view = _view(case, made.image)

    def step() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = -made(images, view(images)).sum() / images.numel()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def sampling(case: str, batch: int, *, restricted: bool, head: str, engine: str) -> Callable[[], object]:
    """Returns a call that draws a batch of images given their views."""
    made = factor(case, restricted=restricted, head=head).eval()
    view = _view(case, made.image)(random_images(batch, made.image, 2))
    sampler, request = AutoSampler(engine), SampleRequest(tuple(range(batch)))

    @torch.no_grad()
    def draw() -> None:
        made.draw(request, sampler, view)

    return draw


def _view(case: str, image: ImageSpec) -> GrayscaleView | PyramidView:
    return GrayscaleView(GrayscaleConfig(), image) if case == "color" else PyramidView(PyramidConfig(), image)


def ratio(make: Callable[..., Callable[[], object]], repeats: int) -> dict[str, float]:
    """Returns the median and the quartiles of restricted time / free time, and the median seconds of each decoder."""
    calls = [make(restricted=False), make(restricted=True)]
    seconds: list[list[float]] = [[], []]
    for turn in range(repeats + 2):
        for place in (0, 1) if turn % 2 else (1, 0):
            started = time.perf_counter()
            calls[place]()
            seconds[place].append(time.perf_counter() - started)
    free, restricted = (times[2:] for times in seconds)
    quartiles = statistics.quantiles([b / a for a, b in zip(free, restricted, strict=True)], n=4)
    return {
        "ratio": quartiles[1],
        "lower_quartile": quartiles[0],
        "upper_quartile": quartiles[2],
        "free_seconds": statistics.median(free),
        "restricted_seconds": statistics.median(restricted),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=CASES, action="append")
    parser.add_argument("--part", choices=("training", "sampling"), action="append")
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--bf16", action="store_true", help="train with convolutions in bfloat16, as the recipes do")
    parser.add_argument("--head", choices=HEADS, default="logistic_mixture", help="head to sample with")
    parser.add_argument("--engine", choices=(AUTO, *SHIPPED), default="auto", help="engine to sample with")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {}
    for case in options.case or CASES:
        if "training" in (options.part or ("training",)):
            found[f"{case} training"] = ratio(
                lambda case=case, **kind: training(case, bf16=options.bf16, **kind), options.repeats
            )
        if "sampling" in (options.part or ("sampling",)):
            for batch in (1, 16):
                found[f"{case} sampling b{batch}"] = ratio(
                    lambda case=case, batch=batch, **kind: sampling(
                        case, batch, head=options.head, engine=options.engine, **kind
                    ),
                    options.repeats,
                )
    if options.json:
        print(json.dumps(found, indent=2))
        return
    for name, values in found.items():
        print(f"{name}: {values['ratio']:.3f} ({values['lower_quartile']:.3f} … {values['upper_quartile']:.3f})")


if __name__ == "__main__":
    main()
