"""Tests that costs of recipes are those that follow from the layers of their networks, counted in the tests."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest
import tomli_w
import torch
from helpers.tiny_runs import PROJECT, tiny
from torch import Tensor, nn

from auxar.model import Chain, Factor, ImageSpec, Prior, RecomputableBlock
from auxar.recipe import Recipe, cost, load_recipe
from auxar.recipe.cost import factor_costs
from auxar.recipe.loading import parse_recipe

# A convolution: the places where its kernel is applied, its input and output channels, and the size of its kernel. In a
# residual block, a fifth number follows.
Layer = tuple[int, ...]


def parameters(layers: list[Layer]) -> int:
    """Each weight-normalized layer has its kernel, and a gain and a bias for each output channel."""
    return sum(inputs * outputs * kernel + 2 * outputs for _, inputs, outputs, kernel, *_ in layers)


def multiply_adds(layers: list[Layer]) -> int:
    return sum(places * inputs * outputs * kernel for places, inputs, outputs, kernel, *_ in layers)


def block(places: int, filters: int, sides: int, kernel: int) -> Iterator[Layer]:
    """A gated residual block. concat-ELU doubles the channels, and `sides` are those of all side inputs."""
    yield places, 2 * filters, filters, kernel, 1
    if sides:
        yield places, 2 * sides, filters, 1, 1
    yield places, 2 * filters, 2 * filters, kernel, 1


def blocks(count: int, places: int, filters: int, sides: int, rows: int) -> Iterator[Layer]:
    """Blocks of both streams: rows × 3 kernels for u, and rows × rows kernels and the output of u for ul."""
    for _ in range(count):
        yield from block(places, filters, sides, 3 * rows)
        yield from block(places, filters, sides + filters, rows * rows)


def streams(image: ImageSpec, filters: int) -> Iterator[Layer]:
    """The first layers: 2×3 for u, 1×3 and 2×1 for ul. The input has a further channel of ones."""
    for kernel in (6, 3, 2):
        yield image.height * image.width, image.channels + 1, filters, kernel


def light(image: ImageSpec, options: Any, features: int, outputs: int) -> Iterator[Layer]:
    places, filters = image.height * image.width, options["filters"]
    yield from streams(image, filters)
    yield from blocks(options["blocks"], places, filters, features, options["kernel"])
    yield places, filters, outputs, 1


def full(image: ImageSpec, options: Any, features: int, outputs: int) -> Iterator[Layer]:
    """Three resolutions down and up again, with a skip connection to each block on the way up."""
    n, filters, rows = options["nr_resnet"], options["filters"], options["kernel"]
    places = [image.height * image.width // 4**k for k in range(3)]
    yield from streams(image, filters)
    for k in range(3):
        yield from blocks(n, places[k], filters, features, rows)
        yield from blocks(n + (k < 2), places[k], filters, features + filters, rows)
    for coarse in places[1:]:
        # Down by 2×3 and 2×2, and up by 2×3 and 2×2, which are applied at each place of the coarse input.
        yield from ((coarse, filters, filters, kernel) for kernel in (6, 4, 6, 4))
        if features:
            yield coarse, features, features, 9
    yield places[0], filters, outputs, 1


def group(count: int, places: int, filters: int, sides: int = 0) -> Iterator[Layer]:
    for _ in range(count):
        yield from block(places, filters, sides, 9)


def enlarging(view: ImageSpec, options: Any) -> Iterator[Layer]:
    """Five groups of blocks: at the view's size, twice at half of it, at the view's size, and at twice its size."""
    places, filters, n = view.height * view.width, options["filters"], options["blocks_per_group"]
    yield places, view.channels + 1, filters, 9
    yield from group(n, places, filters)
    yield places // 4, filters, filters, 9
    yield from group(n, places // 4, filters)
    yield from group(n, places // 4, filters, filters)
    yield places // 4, filters, filters, 9
    yield from group(n, places, filters, filters)
    yield places, filters, filters, 9
    yield from group(n, 4 * places, filters)
    yield 4 * places, filters, filters, 9


def same_size(view: ImageSpec, options: Any) -> Iterator[Layer]:
    filters, n = options["filters"], options["blocks_per_group"]
    places = [view.height * view.width // 4**k for k in range(3)]
    yield places[0], view.channels + 1, filters, 9
    for k in range(3):
        yield from group(n, places[k], filters)
        yield from group(n + (k < 2), places[k], filters, filters)
    for coarse in places[1:]:
        yield from ((coarse, filters, filters, 9) for _ in ("down", "up"))
    yield places[0], filters, filters, 9


def outputs(image: ImageSpec, head: Any) -> int:
    """A weight, three means, three scales and three couplings for each component, or one output for each value."""
    if head["name"] == "softmax":
        return image.channels * image.levels
    return head["components"] * {1: 3, 3: 10}[image.channels]


def layers(recipe: Recipe) -> dict[str, list[Layer]]:
    """The layers of each factor of a recipe of pyramids and gray views."""
    networks = {"pixelcnn": light, "pixelcnn++": full}
    found: dict[str, list[Layer]] = {}
    image = recipe.image
    for index, stage in enumerate(recipe.stage):
        if stage.view.name == "pyramid":
            view = attrs.evolve(image, height=image.height // 2, width=image.width // 2)
            embedding = enlarging(view, stage.embedding.options)
        else:
            view = attrs.evolve(image, channels=1, levels=stage.view.options["levels"])
            embedding = same_size(view, stage.embedding.options)
        features, options = stage.embedding.options["filters"], stage.decoder.options
        decoder = networks[stage.decoder.name](image, options, features, outputs(image, options["head"]))
        found[f"stage{index}"] = [*embedding, *decoder]
        image = view
    options = recipe.prior.options
    found["prior"] = list(networks[recipe.prior.name](image, options, 0, outputs(image, options["head"])))
    return found


FULL = {"name": "pixelcnn++", "filters": 3, "nr_resnet": 2}
# The stages are recomputed, the prior is not.
RECOMPUTE = {"training__recompute": True, "training__factor": {"prior": {"recompute": False}}}


@pytest.mark.parametrize(
    "changes",
    [
        {"stage__0__repeat": 2, "stage__0__decoder__blocks": 2, "image__height": 16, "prior__kernel": 3, **RECOMPUTE},
        {
            "stage__0__view": {"name": "grayscale", "levels": 16},
            "stage__0__embedding__blocks_per_group": 2,
            "stage__0__decoder": {**FULL, "filters": 5},
            "prior": {**FULL, "kernel": 3, "head": "softmax"},
            **RECOMPUTE,
        },
    ],
    ids=["pyramid", "grayscale"],
)
def test_parameters_and_multiply_adds_are_those_of_the_layers(changes):
    recipe, registry = parse_recipe(tomli_w.dumps(tiny(Path("x"), **changes)), Path("."))
    costs = {cost.factor: cost for cost in factor_costs(recipe, registry)}
    expected = layers(recipe)
    assert {name: cost.parameters for name, cost in costs.items()} == {k: parameters(v) for k, v in expected.items()}
    found = {name: cost.multiply_adds for name, cost in costs.items()}
    assert found == {name: multiply_adds(own) for name, own in expected.items()}
    in_blocks = {name: multiply_adds([layer for layer in own if len(layer) == 5]) for name, own in expected.items()}
    assert {name: cost.training_multiply_adds for name, cost in costs.items()} == {
        name: 3 * found[name] + (in_blocks[name] if name != "prior" else 0) for name in found
    }


@pytest.mark.parametrize("name", ["grayscale_cifar10", "pixelcnnpp_cifar10", "pyramid_celeba", "pyramid_cifar10"])
def test_multiply_adds_in_the_headers_of_shipped_recipes(name):
    path = PROJECT / "recipes" / f"{name}.toml"
    costs = [multiply_adds(own) / 1e9 for own in layers(load_recipe(path)[0]).values()]
    said = re.findall(r"([\d.]+) G\b", path.read_text("utf-8").split("\n\n[data]")[0])
    assert said
    for number in said:
        digits = len(number.partition(".")[2])
        assert number in [f"{cost:.{digits}f}" for cost in (*costs, sum(costs))]


class Known(Prior):
    """A prior of which autograd keeps exactly two float32 tensors of the batch's size."""

    def __init__(self, image: ImageSpec) -> None:
        super().__init__()
        self.image = image
        self.weight = nn.Parameter(torch.zeros(1000))

    def log_prob(self, image: Tensor) -> Tensor:
        # The product keeps the image, and the exponential keeps its own result. The square keeps the weights, which are
        # there anyway.
        return (self.weight.square().sum() * image.float()).exp().sum((1, 2, 3))

    def draw(self, request: Any, sampler: Any) -> Tensor:
        raise NotImplementedError


def memory_of(monkeypatch: pytest.MonkeyPatch, prior: type[Known], training: dict[str, Any]) -> int:
    """Returns the memory of a recipe that consists of this prior."""
    table = tiny(Path("x"), stage=None, **{f"training__{key}": value for key, value in training.items()})
    recipe, registry = parse_recipe(tomli_w.dumps(table), Path("."))

    def build(recipe: Recipe, registry: object, on: str) -> Chain:
        with torch.device(on):
            return Chain([Factor(prior(recipe.image))])

    monkeypatch.setattr(cost, "build_model", build)
    (found,) = factor_costs(recipe, registry)
    assert found.parameters == 1000
    return found.memory


@pytest.mark.parametrize(
    ("training", "part", "copies"),
    [
        # Weights, gradients, two moments, and the average.
        ({"batch_size": 6}, 6, 5),
        ({"batch_size": 6, "ema": 0.0}, 6, 4),
        ({"batch_size": 7, "accumulate": 3}, 3, 5),
        ({"factor": {"prior": {"batch_size": 9, "ema": 0.0}}}, 9, 4),
    ],
)
def test_memory_is_that_of_the_weights_and_of_the_largest_part_of_a_batch(monkeypatch, training, part, copies):
    assert memory_of(monkeypatch, Known, training) == 4 * (copies * 1000 + 2 * part * 3 * 8 * 8)


class Exponentials(RecomputableBlock):
    """A block in which autograd keeps as many tensors of the size of its input as it has exponentials."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.count):
            x = x.exp()
        return x


class KnownBlocks(Known):
    """A prior with a linear layer and three blocks. It keeps 1 + (5 + 7 + 4) + 1 tensors without recomputation."""

    def __init__(self, image: ImageSpec) -> None:
        super().__init__(image)
        self.blocks = nn.ModuleList(map(Exponentials, (5, 7, 4)))

    def log_prob(self, image: Tensor) -> Tensor:
        # The product keeps the pixels.
        x = image.float() * self.weight.sum()
        for block in self.blocks:
            x = block(x)
        # The square keeps the output of the last block, which the block keeps too.
        return x.square().sum((1, 2, 3))


def test_recomputed_blocks_keep_their_inputs_and_one_of_them_everything(monkeypatch):
    """The inputs of three blocks, the pixels and the output are kept, and six more tensors of the second block.

    Of the seven tensors that the second block keeps, its last is the input of the third.
    """
    tensor = 4 * 6 * 3 * 8 * 8
    weights = 4 * 5 * 1000
    training = {"batch_size": 6}
    assert memory_of(monkeypatch, KnownBlocks, training) == weights + (1 + 5 + 7 + 4) * tensor
    recomputed = memory_of(monkeypatch, KnownBlocks, {**training, "recompute": True})
    assert recomputed == weights + (1 + 3 + 1 + 6) * tensor


class KnownProduct(Known):
    """A prior with a product of matrices, which bfloat16 computes from rounded copies of the weights and the pixels."""

    def log_prob(self, image: Tensor) -> Tensor:
        pixels = image.float().flatten(1)[:, :100] + self.weight[0]
        found = pixels @ self.weight.view(100, 10)
        return found.exp().sum(1).float()


@pytest.mark.parametrize(("precision", "size"), [("float32", 4), ("bf16", 2)])
def test_memory_is_that_of_the_precision(monkeypatch, precision, size):
    """The product keeps both of its inputs, and the exponential keeps its result. Weights remain in float32."""
    copy_of_weights = 1000 if precision == "bf16" else 0
    kept = size * (copy_of_weights + 6 * 100 + 6 * 10)
    found = memory_of(monkeypatch, KnownProduct, {"batch_size": 6, "precision": precision})
    assert found == 4 * 5 * 1000 + kept
