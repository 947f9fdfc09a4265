"""Tests that recomputed blocks change nothing but the memory and the time of training."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
import torch
from helpers.tiny_runs import metrics, run, same, tiny, weights, with_dropout
from torch import Tensor, nn

from auxar.model import Factor, ImageSpec, RecomputableBlock, recomputable_blocks, recomputing
from auxar.recipe import TrainingConfig
from auxar.training.averaging import WeightAverage
from auxar.training.recomputing import recomputing_if_asked
from auxar_pixelcnn.components import LightConfig, light
from auxar_samplers.compiler.trace import trace

# Settings that use random numbers or compute a step in parts.
EVERYTHING = {
    "training__steps": 4,
    "training__flip": True,
    "training__accumulate": 2,
    "training__clip": 1.0,
    "training__checkpoint_every": 1,
    "prior": {"name": "transformer", "width": 4, "heads": 2, "blocks": 2},
    "sampling__images": 0,
}


class Stopped(Exception):
    """An exception that simulates the end of a process."""


@pytest.mark.parametrize("precision", [pytest.param("float32", marks=pytest.mark.slow), "bf16"])
def test_weights_are_the_same_also_if_recomputation_begins_and_ends_on_the_way(
    pictures, tmp_path, monkeypatch, precision
):
    def table(recompute: bool) -> dict[str, Any]:
        found = tiny(pictures, **EVERYTHING, training__precision=precision, training__recompute=recompute)
        return with_dropout(found)

    calls = {False: 0, True: 0}

    def counted(block: RecomputableBlock, inputs: tuple[Any, ...]) -> None:
        calls[block.recomputed] += 1

    updates = 0

    def update(self: WeightAverage, update: Any = WeightAverage.update) -> None:
        nonlocal updates
        updates += 1
        if updates == 3:
            raise Stopped
        update(self)

    kept = run(tmp_path / "kept", table(False))
    with monkeypatch.context() as patch:
        patch.setattr(WeightAverage, "update", update)
        with pytest.raises(Stopped):
            run(tmp_path / "mixed", table(False))
    # The prior is at step 2 of 4. It ends with recomputation, and the stage is trained with it.
    register = nn.modules.module.register_module_forward_pre_hook
    with register(lambda module, inputs: counted(module, inputs) if isinstance(module, RecomputableBlock) else None):
        mixed = run(tmp_path / "mixed", table(True))
    assert calls[True] == 2 * 2 * ((4 - 2) * 2 + 4 * (5 + 2)), "two calls in both parts of each step for each block"
    assert same(weights(mixed), weights(kept))
    assert same(weights(mixed, "training"), weights(kept, "training"))
    assert metrics(mixed) == metrics(kept)


class Counted(RecomputableBlock):
    """A block that counts its calls."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.calls = 0

    def forward(self, x: Tensor, *, scale: float) -> Tensor:
        self.calls += 1
        found: Tensor = self.inner(x, scale=scale) if isinstance(self.inner, Counted) else self.inner(x)
        return (found * scale).exp()


def test_a_block_is_recomputed_once_and_only_in_training():
    inner = Counted(nn.Linear(2, 2))
    outer = Counted(inner)
    x = torch.ones(1, 2)

    def calls() -> tuple[int, int]:
        outer.calls = inner.calls = 0
        outer(x, scale=0.1).sum().backward()
        return outer.calls, inner.calls

    assert recomputable_blocks(nn.Sequential(outer, nn.ModuleList([outer]))) == [outer]
    assert calls() == (1, 1)
    with recomputing(nn.Sequential(outer)):
        assert calls() == (2, 2)
        outer.eval()
        assert calls() == (1, 1)
        outer.train()
        outer.calls = 0
        with torch.no_grad():
            outer(x, scale=0.1)
        assert outer.calls == 1
        assert set(outer.state_dict()) == {"inner.inner.weight", "inner.inner.bias"}
    assert calls() == (1, 1)


def test_recomputed_networks_can_be_compiled():
    """Samples may be drawn while a factor is trained. The program of the sampler is made from the network's layers."""
    network = light(LightConfig(filters=2, blocks=1), ImageSpec(height=4, width=4))
    expected = [(value.name, value.kind) for value in trace(network.eval()).values]
    with recomputing(network):
        assert [(value.name, value.kind) for value in trace(network).values] == expected


def test_recomputation_without_blocks_is_told(caplog):
    factor: Any = nn.Linear(1, 1)
    factor.name = "prior"
    config = TrainingConfig(steps=1, recompute=True)

    def begin(factor: Factor, rank: int = 0) -> None:
        team: Any = SimpleNamespace(rank=rank)
        with recomputing_if_asked(factor, config, team):
            pass

    begin(factor, rank=1)
    assert not caplog.messages
    begin(factor)
    said = "training.recompute has no effect on prior: its networks have no auxar.RecomputableBlock"
    assert caplog.messages == [said]
