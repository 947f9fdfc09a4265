"""Tests of the costs of recipes: multiply-adds, and the memory of priors of which it is known."""

import re
from pathlib import Path
from typing import Any

import pytest
import tomli_w
import torch
from helpers.tiny_runs import PROJECT, tiny
from torch import Tensor, nn

from auxar.model import Chain, Factor, ImageSpec, Prior, RecomputableBlock
from auxar.recipe import Recipe, cost, load_recipe
from auxar.recipe.building import build_model
from auxar.recipe.cost import FactorCost, factor_costs
from auxar.recipe.loading import parse_recipe


@pytest.mark.parametrize("name", ["grayscale_cifar10", "pixelcnnpp_cifar10", "pyramid_celeba", "pyramid_cifar10"])
def test_multiply_adds_are_those_in_the_headers_of_shipped_recipes(name):
    path = PROJECT / "recipes" / f"{name}.toml"
    model = build_model(load_recipe(path), on="meta")
    costs = [cost.multiply_adds(factor) / 1e9 for factor in model.all_factors]
    said = re.findall(r"([\d.]+) G\b", path.read_text("utf-8").split("\n\n[data]")[0])
    assert said
    for number in said:
        digits = len(number.partition(".")[2])
        assert number in [f"{each:.{digits}f}" for each in (*costs, sum(costs))]


def test_the_prior_of_a_condition_has_costs(tmp_path):
    attributes = {"kind": "attributes", "suffix": ".txt", "names": ["a", "b"], "prior": "pixelcnn"}
    recipe = parse_recipe(tomli_w.dumps(tiny(Path("x"), condition=attributes)), tmp_path)
    labels = load_recipe(PROJECT / "recipes" / "small" / "labels" / "emoji.toml")
    for costs in (factor_costs(recipe), factor_costs(labels)):
        assert costs[-1].factor == "condition"
        assert costs[-1].parameters > 0
        assert costs[-1].multiply_adds > 0


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


def cost_of(monkeypatch: pytest.MonkeyPatch, prior: type[Known], training: dict[str, Any]) -> FactorCost:
    """Returns the cost of a recipe that consists of this prior."""
    table = tiny(Path("x"), stage=None, **{f"training__{key}": value for key, value in training.items()})
    recipe = parse_recipe(tomli_w.dumps(table), Path("."))

    def build(recipe: Recipe, on: str) -> Chain:
        with torch.device(on):
            return Chain([Factor(prior(recipe.image))])

    monkeypatch.setattr(cost, "build_model", build)
    (found,) = factor_costs(recipe)
    assert found.parameters == 1000
    return found


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
    assert cost_of(monkeypatch, Known, training).memory == 4 * (copies * 1000 + 2 * part * 3 * 8 * 8)


class Exponentials(RecomputableBlock):
    """A block in which autograd keeps as many tensors of the size of its input as it has exponentials."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        for _ in range(self.count):
            x = x.exp()
        torch.mm(torch.empty(2, 3, device=x.device), torch.empty(3, 5, device=x.device))  # 30 multiply-adds
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
    plain, recomputed = (
        cost_of(monkeypatch, KnownBlocks, {"batch_size": 6, "recompute": each}) for each in (False, True)
    )
    assert plain.memory == weights + (1 + 5 + 7 + 4) * tensor
    assert recomputed.memory == weights + (1 + 3 + 1 + 6) * tensor
    assert plain.multiply_adds == recomputed.multiply_adds == 90


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
    found = cost_of(monkeypatch, KnownProduct, {"batch_size": 6, "precision": precision})
    assert found.memory == 4 * 5 * 1000 + kept
    assert found.multiply_adds == 100 * 10
