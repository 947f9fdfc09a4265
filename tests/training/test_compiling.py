"""Tests of training with compiled networks, `training.compile`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers.tiny_runs import run, said, same, stopping_after, tiny, weights, with_dropout
from torch import Tensor

from auxar.errors import UserError
from auxar.files import read_metadata
from auxar.model import CausalDistribution, Factor, ImageSpec, Values
from auxar.recipe import TrainingConfig
from auxar.runs.layout import RunFolder
from auxar.training.compiling import LONG_TRAINING, compilable, compiled, pays_to_compile
from auxar_pixelcnn.components import LightConfig, light


@pytest.fixture
def compilations(monkeypatch) -> list[Any]:
    """Replaces PyTorch's compiler by a function that leaves functions as they are. Returns the calls of its results.

    PyTorch has one thread, so that no gradient is computed again to compare numbers of threads.
    """
    calls: list[Any] = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)

    def compile_(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            calls.append(function)
            return function(*inputs)

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    return calls


def recorded(folder: Path) -> set[tuple[str, str | None]]:
    """The factors whose networks were compiled or not, as the run's weights and checkpoints tell it."""
    return {(path.parent.name, read_metadata(path).get("compiled")) for path in RunFolder(folder).saved}


def test_long_trainings_on_a_cpu_are_compiled():
    factor = Factor(CausalDistribution(light(LightConfig(filters=4, blocks=1), ImageSpec(height=8, width=8))))
    step = 3 * sum(parameter.numel() for parameter in factor.parameters()) * 64 * 16
    steps = int(LONG_TRAINING // step) + 1
    config = TrainingConfig(steps=1)
    assert pays_to_compile(factor, config, steps, "cpu")
    assert not pays_to_compile(factor, config, steps - 1, "cpu")
    assert pays_to_compile(factor, attrs.evolve(config, batch_size=32), steps // 2 + 1, "cpu")
    assert not pays_to_compile(factor, config, steps, "cuda")
    assert not pays_to_compile(factor, attrs.evolve(config, recompute=True), steps, "cpu")
    for network in compilable(factor):
        network.compiles = False
    assert not pays_to_compile(factor, config, steps, "cpu")
    assert compilable(factor, required=True)


def test_networks_are_compiled_for_training_steps_only(pictures, tmp_path, compilations):
    table = with_dropout(tiny(pictures, training__steps=2, sampling__images=0))
    own = run(tmp_path / "own", table | {"training": table["training"] | {"compile": False}})
    assert not compilations
    assert recorded(own) == {("prior", "false"), ("stage0", "false")}
    table["training"]["compile"] = True
    found = run(tmp_path / "compiled", table)
    # The stage has two networks and the prior has one. Each is tried once, and then runs in two steps.
    assert len(compilations) == 3 * (1 + 2)
    assert recorded(found) == {("prior", "true"), ("stage0", "true")}
    assert same(weights(own), weights(found)), "trying to compile must not change the training"


def test_a_training_continues_as_it_was_begun(pictures, tmp_path, compilations, monkeypatch):
    table = tiny(pictures, training__steps=3, training__checkpoint_every=1, sampling__images=0)
    monkeypatch.setattr("auxar.training.compiling.LONG_TRAINING", 0.0)
    with stopping_after(1):
        run(tmp_path / "run", table)
    monkeypatch.setattr("auxar.training.compiling.LONG_TRAINING", float("inf"))
    before = len(compilations)
    found = run(tmp_path / "run", table)
    assert len(compilations) - before == 1 + 2, "only the prior was begun; the stage is not compiled"
    assert recorded(found) == {("prior", "true"), ("stage0", "false")}


@pytest.mark.parametrize("required", [True, False])
def test_a_network_that_cannot_be_compiled_is_trained_without_or_refused(
    pictures, tmp_path, monkeypatch, caplog, required
):
    def compile_(function: object, **options: Any) -> Callable[..., Any]:
        def call(*inputs: Any) -> Any:
            raise RuntimeError("no C++ compiler was found\n\nmore")

        return call

    monkeypatch.setattr(torch, "compile", compile_)
    monkeypatch.setattr("auxar.training.compiling.LONG_TRAINING", 0.0)
    table = tiny(pictures, training__steps=1, sampling__images=0)
    problem = "cannot be compiled (no C++ compiler was found)"
    if required:
        table["training"]["compile"] = True
        assert f"training.compile: the factor prior {problem}; leave the key out" in said(run, tmp_path / "run", table)
    else:
        caplog.set_level("INFO", "auxar")
        assert recorded(run(tmp_path / "run", table)) == {("prior", "false"), ("stage0", "false")}
        assert f"prior {problem}; it is trained without compiling" in caplog.text


def test_errors_of_the_step_are_not_taken_for_those_of_the_compiler(compilations):
    factor, values = small_factor()

    def fail() -> None:
        raise UserError("the image cannot be read")

    with pytest.raises(UserError, match="the image cannot be read"), compiled(factor, fail, required=False):
        pass
    assert "forward" not in vars(compilable(factor)[0])
    factor(values)


def small_factor(height: int = 8) -> tuple[Factor, Values]:
    torch.manual_seed(0)
    config = LightConfig(filters=4, blocks=2, dropout=0.5)
    factor = Factor(CausalDistribution(light(config, ImageSpec(height=height, width=8))))
    images = torch.randint(0, 256, (3, 3, height, 8), dtype=torch.uint8)
    values = Values({"image": images})
    factor.initialize(values)
    return factor.train(), values


def gradients(factor: Factor, values: Values) -> dict[str, Tensor]:
    factor.zero_grad()
    torch.manual_seed(1)
    factor(values).sum().backward()
    return {name: parameter.grad.clone() for name, parameter in factor.named_parameters() if parameter.grad is not None}


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=pytest.mark.slow)])
def test_gradients_of_compiled_networks_are_the_same_with_the_same_dropout(backend):
    """A compiler that takes equal calls for the same would drop the same values in all layers."""
    factor, values = small_factor()
    expected = gradients(factor, values)
    (network,) = compilable(factor)
    # With `fullgraph`, the compiler refuses to leave parts of the network as they are.
    network.forward = torch.compile(network.forward, backend=backend, dynamic=False, fullgraph=True)  # type: ignore[method-assign]
    try:
        found = gradients(factor, values)
    finally:
        torch.compiler.reset()
    assert found.keys() == expected.keys()
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-4, atol=1e-4)
