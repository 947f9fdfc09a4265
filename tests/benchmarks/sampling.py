"""Compares the speed of sampling with the speed of this machine's matrix products and with the raster sampler.

    python tests/benchmarks/sampling.py --case light128 --json

Cases: `light32` and `light128` (the pyramid's decoder: 3 blocks, 100 filters, 10 components, conditional), `full32`
(PixelCNN++: nr_resnet 5, 160 filters), `pyramid128` (the whole chain of recipes/pyramid_celeba.toml with its
embeddings) and `transformer32` (likewise of recipes/small/emoji/transformer.toml). Weights are untrained, in float32.

The output is one JSON object with one entry for each batch size. `seconds` is the median over repeats, after one call
that also compiles the native engine if this machine has not done so. `gflops` is the rate of the sampler; it counts two
operations for each multiply-add of one pass of the networks and embeddings over the images, and nothing else.
`peak_gflops` is the rate of `torch.mm` on the weight matrices that the sampler multiplies, one after the other, at the
fastest number of rows. `weights_gb` is the size of the weights that the sampler reads in all steps together, in 10⁹
bytes; `read_gb_per_second` divides it by the time, and `peak_read_gb_per_second` is the rate at which `torch.sum` reads
the same matrices. For one image, reading weights can take longer than multiplying them. The raster sampler is timed on
`raster_pixels` pixels of each network; its time is extrapolated to all pixels.

Measured on one thread of an Intel Xeon with AVX-512 and AMX, for 1 and 16 images: seconds, and `gflops` /
`peak_gflops`.

    light32     0.12 and 0.62   0.25 and 0.67
    light128    0.81 and 9.29   0.55 and 0.69
    full32      1.82 and 7.33   0.16 and 0.59
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache, partial
from pathlib import Path
from typing import Any
from unittest.mock import patch

import attrs
import numpy as np
import torch
from measuring import options_of, seconds, show
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from auxar.model import CausalDistribution, CausalNetwork, Chain, DrawSource, Embedding, ImageSpec, SampleRequest
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model
from auxar_pixelcnn import components
from auxar_samplers import AutoSampler, program_sampler
from auxar_samplers.compiler.cached import cached_program
from auxar_samplers.compiler.program import Product, Program
from auxar_samplers.compiler.wavefront import wavefront_program

RECIPES = Path(__file__).parents[2] / "recipes"
ROWS = (64, 256, 1024, 4096)
"""Numbers of rows at which the matrix products are timed."""


class Recorder:
    """Records the matrix products, the steps and the weights that they read of all programs that samplers compile."""

    def __init__(self) -> None:
        self.products: dict[Product, None] = {}
        self.steps = 0
        self.read = 0
        """The size of the weights that all steps read, in bytes."""

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Records every program that is compiled inside the `with` block."""
        with (
            patch.object(program_sampler, "wavefront_program", self._noting(wavefront_program)),
            patch.object(program_sampler, "cached_program", self._noting(cached_program)),
        ):
            yield

    def _noting(self, compiler: Callable[..., Program]) -> Callable[..., Program]:
        def compiled(*arguments: Any) -> Program:
            program = compiler(*arguments)
            runs = np.bincount(program.steps[:, 0], minlength=len(program.lists)).tolist()
            for instructions, times in zip(program.lists, runs, strict=True):
                products = [each for each in instructions if isinstance(each, Product)]
                self.products.update(dict.fromkeys(products))
                self.read += times * sum(matrix.nbytes for each in products for _, matrix in each.terms)
            self.steps += len(program.steps)
            return program

        return compiled


def peak(matrices: Sequence[Tensor]) -> float:
    """Returns the GFLOP/s of `torch.mm` on all matrices in turn, at the fastest number of rows."""
    rates = []
    for rows in ROWS:
        pairs = [(torch.randn(rows, matrix.shape[0]), matrix) for matrix in matrices]
        outputs = [torch.empty(rows, matrix.shape[1]) for matrix in matrices]

        def once(pairs: list = pairs, outputs: list = outputs) -> None:
            for (left, right), output in zip(pairs, outputs, strict=True):
                torch.mm(left, right, out=output)

        flops = sum(2 * rows * matrix.numel() for matrix in matrices)
        rates.append(flops / seconds(once, 5) / 1e9)
    return max(rates)


def peak_read(matrices: Sequence[Tensor]) -> float:
    """Returns the rate in 10⁹ bytes per second at which `torch.sum` reads all matrices in turn."""

    def once() -> None:
        for matrix in matrices:
            matrix.sum()

    return sum(matrix.nbytes for matrix in matrices) / seconds(once, 5) / 1e9


def features_of(network: CausalNetwork, batch: int) -> Tensor | None:
    """Random features of the shape that a network expects, or None if it takes none."""
    if not network.features_channels:
        return None
    return torch.randn(batch, network.features_channels, *network.image.shape[1:])


@attrs.frozen
class Case:
    """A model to draw images from, and its networks, for counting operations and timing the raster sampler."""

    networks: Sequence[CausalNetwork]
    draw: Callable[[SampleRequest, AutoSampler], object]
    model: Chain | None = None

    def raster(self, batch: int, pixels: int) -> float:
        """Estimates the raster sampler's seconds for all networks together from a few pixels of each."""
        total = 0.0
        for network in self.networks:
            image = torch.zeros((batch, *network.image.shape), dtype=torch.int64)
            source = DrawSource.of(network, SampleRequest(tuple(range(batch))))
            once = partial(raster_pixel, network, image, source, features_of(network, batch))
            total += seconds(once, pixels) * network.image.height * network.image.width
        return total


def raster_pixel(network: CausalNetwork, image: Tensor, source: DrawSource, features: Tensor | None) -> None:
    """Draws a pixel as the raster sampler does."""
    source.pixels(torch.zeros(1, dtype=torch.int64), network(network.encode(image), features)[:, :, 0, 0])


def light(size: int) -> Case:
    """The pyramid's decoder at one size."""
    spec = ImageSpec(3, height=size, width=size)
    network = components.light(components.LightConfig(), spec, 100).eval()

    @lru_cache(maxsize=1)
    def features(batch: int) -> Tensor | None:
        return features_of(network, batch)

    def draw(request: SampleRequest, sampler: AutoSampler) -> Tensor:
        return sampler.sample(network, features(len(request.numbers)), DrawSource.of(network, request))

    return Case([network], draw)


def full(size: int) -> Case:
    """PixelCNN++ at one size."""
    spec = ImageSpec(3, height=size, width=size)
    prior = CausalDistribution(components.full(components.FullConfig(), spec)).eval()
    return Case([prior.network], prior.draw)


def chain(name: str) -> Case:
    """The whole chain of a recipe. The time and the counted operations include its embeddings."""
    recipe = load_recipe(RECIPES / name, [])
    model = build_model(recipe).eval()
    networks = [module for module in model.modules() if isinstance(module, CausalNetwork)]
    return Case(networks, model.draw, model)


def work(case: Case) -> float:
    """Returns the operations (multiply-adds × 2) of one pass of every network and embedding over one image."""
    with FlopCounterMode(display=False) as counter:
        for network in case.networks:
            image = torch.zeros((1, *network.image.shape), dtype=torch.int64)
            network(network.encode(image), features_of(network, 1))
        for module in [] if case.model is None else case.model.modules():
            if isinstance(module, Embedding):
                module(torch.zeros((1, *module.view.shape), dtype=torch.int64))
    return counter.get_total_flops()


def measure(case: Case, batch: int, repeats: int, raster_pixels: int, engine: str) -> dict[str, Any]:
    """Measures one case at one batch size; returns all of its figures."""
    sampler = AutoSampler(engine)
    request = SampleRequest(tuple(range(batch)))
    recorder = Recorder()
    with recorder.recording():
        case.draw(request, sampler)
    duration = seconds(lambda: case.draw(request, sampler), repeats, 0)
    achieved = work(case) * batch / duration / 1e9
    matrices = [torch.cat([matrix for _, matrix in product.terms]) for product in recorder.products]
    if not matrices:
        layers = [module for network in case.networks for module in network.modules()]
        matrices = [layer.weight.T for layer in layers if isinstance(layer, nn.Linear)]
    best = peak(matrices)
    finest = max(network.image.height for network in case.networks)
    found: dict[str, Any] = {
        "batch": batch,
        "seconds": duration,
        "steps": recorder.steps,
        "images": batch,
        "pixels_per_second": batch * finest**2 / duration,
        "gflops": achieved,
        "peak_gflops": best,
        "ratio": achieved / best,
    }
    if recorder.read:
        found["weights_gb"] = recorder.read / 1e9
        found["read_gb_per_second"] = recorder.read / duration / 1e9
        found["peak_read_gb_per_second"] = peak_read(matrices)
    if raster_pixels:
        found["raster_seconds"] = case.raster(batch, raster_pixels)
        found["raster_pixels"] = raster_pixels
        found["times_faster"] = found["raster_seconds"] / duration
    return found


CASES: dict[str, Callable[[], Case]] = {
    "light32": lambda: light(32),
    "light128": lambda: light(128),
    "full32": lambda: full(32),
    "pyramid128": lambda: chain("pyramid_celeba.toml"),
    "transformer32": lambda: chain("small/emoji/transformer.toml"),
}


def main() -> None:
    options = options_of(
        __doc__,
        case={"choices": list(CASES), "required": True},
        batch=[1, 16],
        repeats=3,
        raster_pixels={"type": int, "default": 3, "help": "pixels to time; 0: none"},
        engine={"default": "auto", "help": "auto, native or torch"},
    )
    torch.manual_seed(0)
    torch.set_grad_enabled(False)
    case = CASES[options.case]()
    results = [measure(case, batch, options.repeats, options.raster_pixels, options.engine) for batch in options.batch]
    found = {"case": options.case, "threads": torch.get_num_threads(), "engine": options.engine, "results": results}
    show(found, options)


if __name__ == "__main__":
    main()
