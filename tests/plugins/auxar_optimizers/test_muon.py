"""Tests of Muon against singular value decompositions, and of its other weights against PyTorch's Adam."""

import io
import json
import math
import warnings
from functools import partial

import pytest
import torch
from helpers.causal_networks import generator
from helpers.tiny_runs import tiny, write
from torch import nn

from auxar.commands.run import run as run_recipe
from auxar.numerics.threads import threads
from auxar.recipe.component_choice import takes_steps
from auxar_optimizers import muon
from auxar_optimizers.muon import MuonConfig, build

HIDDEN = [f"network.{number}.weight" for number in (1, 3, 5, 6, 7)]
"""The weights of the hidden layers of `Module`."""


class Module(nn.Module):
    """A module of one part with weights of all kinds, some of whose matrices are large enough for several threads.

    Three of the hidden layers have matrices of equal shape, 12×90.
    """

    def __init__(self) -> None:
        super().__init__()
        first = [nn.Linear(10, 10), nn.Conv2d(10, 12, 3), nn.Embedding(20, 12), nn.Linear(12, 1200)]
        hidden = [nn.LayerNorm((9, 9)), nn.Linear(1200, 70), nn.Linear(90, 12), nn.Linear(90, 12)]
        self.network = nn.Sequential(*first, *hidden, nn.Conv2d(3, 12, 3), nn.Linear(70, 100))
        self.network.place = nn.Parameter(torch.ones(16, 16))
        with torch.no_grad():
            for weight in self.parameters():
                weight.copy_(torch.randn(weight.shape, generator=generator(weight.numel())))


def give_gradients(module, step, scale=1.0):
    """Gives each weight a gradient that depends on the step alone. The rows of a matrix differ by a factor of 100."""
    noise = generator(step)
    for weight in module.parameters():
        rows = torch.logspace(0, -2, len(weight)).view(-1, *[1] * (weight.dim() - 1))
        weight.grad = scale * rows * torch.randn(weight.shape, generator=noise)


def train(module, optimizer, steps):
    for step in steps:
        give_gradients(module, step)
        with warnings.catch_warnings(action="error"):
            optimizer.step()
        optimizer.zero_grad()
    return [weight.detach().clone() for weight in module.parameters()]


@pytest.mark.parametrize("scale", [1.0, 1e-9, 1e9])
def test_a_step_changes_hidden_matrices_equally_in_all_directions(scale, monkeypatch):
    """The update is U S Vᵀ of the gradient with other singular values S, which no learning rate has to suit."""
    monkeypatch.setattr(muon, "BATCH", 2 * 12 * 90)
    module = Module()
    before = {name: weight.detach().clone() for name, weight in module.named_parameters()}
    optimizer = build(MuonConfig(learning_rate=0.01, weight_decay=0.1), module, 100)
    give_gradients(module, 0, scale)
    optimizer.step()
    for name in HIDDEN:
        weight = module.get_parameter(name)
        update = (before[name] * (1 - 0.01 * 0.1) - weight.detach()).flatten(1)
        u, _, v = torch.linalg.svd(weight.grad.flatten(1), full_matrices=False)
        values = u.T @ update @ v.T / (0.01 * 0.2 * math.sqrt(max(update.shape)))
        assert values.diagonal().min() > 0.6
        assert values.diagonal().max() < 1.3
        # In bfloat16, products have three digits.
        assert (values - values.diagonal().diag()).square().sum() < 0.01 * values.square().sum()


def test_iterations_are_those_of_single_products():
    """In float32, as in Jordan et al. 2024."""
    matrices = torch.randn(2, 5, 9, generator=generator(0), dtype=torch.float32)
    expected = matrices / matrices.flatten(1).norm(dim=1).view(-1, 1, 1)
    for _ in range(5):
        squares = expected @ expected.mT
        expected = 3.4445 * expected + (-4.7750 * squares + 2.0315 * squares @ squares) @ expected
    torch.testing.assert_close(muon.orthogonalized(matrices), expected, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(muon.orthogonalized(matrices.mT), expected.mT, rtol=1e-3, atol=1e-4)


def test_large_matrices_are_multiplied_in_bfloat16_where_that_is_fast(monkeypatch):
    for able, rows in (({}, False), ({"amx_bf16": True}, True), ({"avx512_bf16": True}, True)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda able=able: able, raising=False)
        assert muon._prefers_bfloat16(torch.empty(1, 64, 64)) is rows
        assert not muon._prefers_bfloat16(torch.empty(1, 63, 64))


def test_the_momentum_is_that_of_nesterov():
    """Two gradients in different directions: the second step follows the average of both and the second once more."""
    module, moved = Module(), Module()
    optimizer = build(MuonConfig(learning_rate=0.01, momentum=0.75), module, 100)
    first, second = (torch.zeros(12, 10, 3, 3) for _ in range(2))
    first[:, 0, 0, 0], second[:, 1, 0, 0] = 1, 1
    weight, other = module.get_parameter(HIDDEN[0]), moved.get_parameter(HIDDEN[0])
    for gradient in (first, second):
        before = weight.detach().clone()
        weight.grad = gradient
        optimizer.step()
    # The average is 0.75 · 0.25 · first + 0.25 · second.
    other.grad = 0.75 * (0.75 * 0.25 * first + 0.25 * second) + 0.25 * second
    start = other.detach().clone()
    build(MuonConfig(learning_rate=0.01), moved, 100).step()
    torch.testing.assert_close(before - weight, start - other)


def test_adam_trains_all_other_weights():
    module, expected = Module(), Module()
    train(module, build(MuonConfig(learning_rate=0.01, betas=(0.8, 0.95)), module, 100), range(4))
    adam = torch.optim.Adam(expected.parameters(), lr=0.01, betas=(0.8, 0.95))
    train(expected, adam, range(4))
    other = dict(expected.named_parameters())
    different = [name for name, weight in module.named_parameters() if not torch.allclose(weight, other[name])]
    assert different == HIDDEN


def test_training_continues_from_a_stored_state_and_on_any_number_of_threads():
    module = Module()
    whole = train(module, build(MuonConfig(), module, 100), range(6))
    for count in (1, 2, 3):
        with threads(count):
            module = Module()
            optimizer = build(MuonConfig(), module, 100)
            train(module, optimizer, range(3))
            file = io.BytesIO()
            torch.save(optimizer.state_dict(), file)
            file.seek(0)
            optimizer = build(MuonConfig(learning_rate=1.0), module, 100)
            optimizer.load_state_dict(torch.load(file, weights_only=True))
            for found, weight in zip(train(module, optimizer, range(3, 6)), whole, strict=True):
                assert torch.equal(found, weight)


def rates_of(steps, **options):
    return [group["lr"] for group in build(MuonConfig(**options), Module(), steps).param_groups]


def test_the_usual_learning_rate_depends_on_the_number_of_steps():
    assert rates_of(0) == rates_of(1) == rates_of(216) == [0.01] * 2
    assert rates_of(1728) == pytest.approx([0.005] * 2)
    assert rates_of(1000, learning_rate=0.003) == [0.003] * 2


def test_the_usual_learning_rate_of_a_factor_depends_on_its_own_steps(pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(muon, "USUAL", 0.004)
    recipe = write(
        tmp_path / "recipe.toml", tiny(pictures, training__optimizer="muon", training__factor={"prior": {"steps": 1}})
    )
    run_recipe(recipe, out=tmp_path / "run")
    for name, rate in (("stage0", 0.004 / 4 ** (1 / 3)), ("prior", 0.004)):
        metrics = (tmp_path / "run" / "factors" / name / "metrics.jsonl").read_text().splitlines()
        assert json.loads(metrics[0])["learning_rate"] == rate


def test_only_a_build_with_a_parameter_for_the_steps_gets_them():
    assert takes_steps(build)
    assert takes_steps(lambda config, factor, *, steps: None)
    for other in (lambda config, factor: None, lambda config, factor, steps=5: None, partial(build, steps=5)):
        assert not takes_steps(other)
