"""Measures how much slower a restricted decoder is than a free one, in training and in sampling.

    python tests/benchmarks/restricted.py --json

The decoders come from the small recipes: p(16×16 | 8×8) and p(32×32 | 16×16) of the pyramid (64 and 48 filters, 3
blocks), and colors given 4-bit gray (PixelCNN++, 40 filters, nr_resnet 1). Each has 10 mixture components. Batches hold
8 images for training, and 1 and 16 for sampling. Calls of the free and of the restricted decoder alternate. A ratio is
the median, over pairs of calls, of the restricted time divided by the free time.
"""

import functools
import statistics
from collections.abc import Callable

import torch
from measuring import options_of, seconds_in_turn, show, training_step

from auxar.model import CausalDistribution, Factor, ImageSpec, SampleRequest, Values
from auxar.testing.examples import random_images
from auxar_grayscale import GrayscaleConfig, GrayscaleView
from auxar_pixelcnn import components
from auxar_pyramid import PyramidConfig, PyramidView
from auxar_samplers.auto import AutoSampler
from auxar_samplers.engines.choice import AUTO, SHIPPED

CASES = ("16x16", "32x32", "color")


def factor(case: str, *, restricted: bool) -> Factor:
    """The factor of a small recipe, initialized on noise."""
    torch.manual_seed(0)
    side, filters, dropout = {"16x16": (16, 64, 0.1), "32x32": (32, 48, 0.1), "color": (32, 40, 0.2)}[case]
    image = ImageSpec(height=side, width=side)
    view = _view(case, image)
    options = components.EmbeddingConfig(filters=filters, blocks_per_group=1, dropout=dropout)
    embedding = components.embedding(options, view.view, image)
    if case == "color":
        full = components.FullConfig(filters=filters, nr_resnet=1, dropout=dropout)
        decoder = CausalDistribution(components.full(full, image, filters))
    else:
        light = components.LightConfig(filters=filters, dropout=dropout)
        decoder = CausalDistribution(components.light(light, image, filters))
    found = Factor(decoder, view=view, embedding=embedding, restricted=restricted)
    images = random_images(8, image, 0)
    found.initialize(Values({"image": images, "view1": view(images)}))
    return found


def training(case: str, *, restricted: bool, bf16: bool) -> Callable[[], object]:
    """Returns a call that does one optimizer step."""
    made = factor(case, restricted=restricted).train()
    optimizer = torch.optim.Adam(made.parameters(), lr=1e-4, fused=True)
    images = random_images(8, made.image, 1)
    view = _view(case, made.image)

    def step() -> None:
        training_step(made, optimizer, Values({"image": images, "view1": view(images)}), bf16=bf16)

    return step


def sampling(case: str, batch: int, *, restricted: bool, engine: str) -> Callable[[], object]:
    """Returns a call that draws a batch of images given their views."""
    made = factor(case, restricted=restricted).eval()
    view = _view(case, made.image)(random_images(batch, made.image, 2))
    sampler, request = AutoSampler(engine), SampleRequest(tuple(range(batch)))

    @torch.no_grad()
    def draw() -> None:
        made.given(Values({"view1": view})).draw(request, sampler)

    return draw


def _view(case: str, image: ImageSpec) -> GrayscaleView | PyramidView:
    return GrayscaleView(GrayscaleConfig(), image) if case == "color" else PyramidView(PyramidConfig(), image)


def ratio(make: Callable[..., Callable[[], object]], repeats: int) -> dict[str, float]:
    """Returns the median and the quartiles of restricted time / free time, and the median seconds of each decoder."""
    calls = {name: make(restricted=name == "restricted") for name in ("free", "restricted")}
    times = seconds_in_turn(calls, repeats, warm_up=2)
    pairs = zip(times["free"], times["restricted"], strict=True)
    lower, middle, upper = statistics.quantiles([restricted / free for free, restricted in pairs], n=4)
    medians = {f"{name}_seconds": statistics.median(each) for name, each in times.items()}
    return {"ratio": middle, "lower_quartile": lower, "upper_quartile": upper, **medians}


def main() -> None:
    options = options_of(
        __doc__,
        case={"choices": CASES, "action": "append"},
        part={"choices": ("training", "sampling"), "action": "append"},
        repeats=20,
        bf16={"action": "store_true", "help": "train with convolutions in bfloat16, as the recipes do"},
        engine={"choices": (AUTO, *SHIPPED), "default": "auto", "help": "engine to sample with"},
    )
    works: dict[str, Callable[..., Callable[[], object]]] = {}
    for case in options.case or CASES:
        if "training" in (options.part or ("training",)):
            works[f"{case} training"] = functools.partial(training, case, bf16=options.bf16)
        if "sampling" in (options.part or ("sampling",)):
            for batch in (1, 16):
                works[f"{case} sampling b{batch}"] = functools.partial(sampling, case, batch, engine=options.engine)
    show({name: ratio(make, options.repeats) for name, make in works.items()}, options)


if __name__ == "__main__":
    main()
