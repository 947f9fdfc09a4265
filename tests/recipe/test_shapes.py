"""Tests that models on the device "meta" have the right shapes, and that no random numbers are drawn for them."""

from typing import Any

import pytest
import torch
from helpers.tiny_runs import PROJECT
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from auxar.recipe.building import WithoutDrawing, build_model
from auxar.recipe.loading import load_recipe, parse_recipe, recipe_text

RECIPES = PROJECT / "recipes"
SHIPPED = sorted(RECIPES.rglob("*.toml"))

NOISE = torch.Generator()

# Initializers of a 6×4 matrix: functions of `torch.nn.init`, methods of tensors, and layers.
FILLS = {
    "normal": nn.init.normal_,
    "truncated": nn.init.trunc_normal_,
    "kaiming": nn.init.kaiming_normal_,
    "of a tensor": lambda weight: weight.normal_(0, 0.1).exponential_(),
    "by name": lambda weight: nn.init.kaiming_uniform_(tensor=weight, a=5**0.5),
    "layer": lambda weight: nn.Linear(4, 6).weight,
    "numbers": lambda weight: torch.randn(6, 4, dtype=weight.dtype, generator=NOISE) * 2,
    "zeros": nn.init.zeros_,
}


class Draws(TorchDispatchMode):
    """Records the operations that draw random numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if torch.Tag.nondeterministic_seeded in function.tags:
            self.found.append(str(function))
        return function(*args, **(kwargs or {}))


def contents(model: nn.Module) -> dict[str, tuple[torch.Size, torch.dtype]]:
    return {name: (value.shape, value.dtype) for name, value in model.state_dict().items()}


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: str(path.relative_to(RECIPES)))
def test_shipped_recipes_are_read_written_and_built_without_drawing(path):
    recipe = load_recipe(path)
    assert parse_recipe(recipe_text(recipe), path.parent) == recipe
    with Draws() as draws:
        model = build_model(recipe, on="meta")
    assert not draws.found
    assert all(value.is_meta for value in model.state_dict().values())
    assert model.specs[0] == recipe.image
    assert len(model.specs) == len([name for name in recipe.factor_names if name != "condition"])


@pytest.mark.parametrize("name", ["quickstart", "small/emoji/transformer"])
def test_shapes_are_those_of_models_that_have_weights(name):
    recipe = load_recipe(RECIPES / f"{name}.toml")
    with Draws() as draws:
        model = build_model(recipe)
    assert draws.found
    assert contents(build_model(recipe, on="meta")) == contents(model)


@pytest.mark.parametrize("fill", FILLS.values(), ids=FILLS)
def test_what_initializes_weights_draws_nothing(fill):
    with torch.device("meta"), WithoutDrawing(), Draws() as draws:
        weight = torch.empty(6, 4)
        found = fill(weight)
    assert not draws.found
    assert isinstance(found, Tensor)
    assert (found.shape, found.dtype, found.device) == (weight.shape, weight.dtype, weight.device)


def test_tensors_with_numbers_have_their_own():
    """Tensors that are created on the CPU, such as a fixed table of a module, keep their values in `WithoutDrawing`."""
    with torch.device("meta"), WithoutDrawing():
        drawn = torch.rand(1000, device="cpu", generator=torch.Generator().manual_seed(0))
        filled = torch.zeros(1000, device="cpu").normal_(generator=torch.Generator().manual_seed(0))
        constant = nn.init.constant_(torch.zeros(3, device="cpu"), 5)
        with torch.device("cpu"):
            layer = nn.Linear(2, 2)
    assert torch.equal(drawn, torch.rand(1000, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(filled, torch.randn(1000, generator=torch.Generator().manual_seed(0)))
    assert constant.tolist() == [5, 5, 5]
    assert 0 < layer.weight.abs().max() < 1
