"""Tests that an engine from a plugin file runs the programs of the shipped samplers."""

import logging
import tomllib
from typing import Any

import pytest
import tomli_w
import torch
from helpers.causal_networks import sample
from helpers.tiny_runs import TINY, changed

import auxar
from auxar.errors import UserError
from auxar.model import ImageSpec, SampleRequest
from auxar.plugins import load_plugins
from auxar.recipe.building import build_model
from auxar.recipe.loading import parse_recipe, recipe_text
from auxar_pixelcnn import components
from auxar_samplers import (
    AutoConfig,
    AutoSampler,
    CachedConfig,
    CachedSampler,
    RasterSampler,
    WavefrontConfig,
    WavefrontSampler,
)
from auxar_samplers.engines import EngineChoice

# A plugin file with the engine `counting`, of the highest priority.
ENGINES = '''
"""An engine that counts its programs."""

import attrs

from auxar.plugins import Component, hookimpl

AUXAR_INTERFACE = 1
from auxar_samplers.engines import Engine, UnavailableError
from auxar_samplers.engines.torch import TorchEngine


@attrs.frozen
class CountingConfig:
    """Options of an engine that records the programs that it runs."""

    most: int = 1000
    """Largest number of steps of a program that it runs."""


class CountingEngine(Engine):
    priority = 30
    ran = []

    def __init__(self, config):
        self.most = config.most

    def prepare(self, program, source):
        if len(program.steps) > self.most:
            raise UnavailableError(f"it takes up to {self.most} steps, not {len(program.steps)}")
        run = TorchEngine().prepare(program, source)
        return lambda: (run(), self.ran.append(self.most))


@attrs.frozen
class DemandingConfig:
    """Options of which one has no default."""

    device: int


@hookimpl
def auxar_register_components():
    return [
        Component("engine", "demanding", DemandingConfig, lambda config: TorchEngine()),
        Component("engine", "counting", CountingConfig, CountingEngine),
    ]
'''
IMAGE = ImageSpec(1, height=3, width=4, levels=5)
NETWORK = components.light(components.LightConfig(filters=2, blocks=1), IMAGE).double()
REQUEST = SampleRequest((0, 3), 5)


@pytest.fixture
def registry(tmp_path):
    (tmp_path / "engines.py").write_text(ENGINES)
    return load_plugins([tmp_path / "engines.py"])


@pytest.fixture
def ran(registry):
    """A list to which the engine `counting` adds an entry for every program that it runs."""
    engine = registry.get("engine", "counting", "").build
    engine.ran.clear()
    return engine.ran


def choice(registry, value):
    return EngineChoice.from_recipe(value, registry, "sampler.engine")


@pytest.mark.parametrize("kind", [WavefrontSampler, CachedSampler])
def test_the_engine_of_the_highest_priority_runs_what_auto_runs(registry, ran, kind):
    found = sample(kind(choice(registry, "auto")), NETWORK, REQUEST)
    assert ran == [1000]
    assert torch.equal(found, sample(RasterSampler(), NETWORK, REQUEST))
    sample(kind("auto"), NETWORK, REQUEST)
    assert ran == [1000], "in Python, `auto` is among the shipped engines"


def test_auto_leaves_out_an_engine_that_needs_options(registry):
    assert len(choice(registry, "auto").engines) == 3
    assert len(choice(registry, {"name": "demanding", "device": 1}).engines) == 1
    with pytest.raises(UserError, match=r"^sampler.engine.device: this key is required"):
        choice(registry, "demanding")


def test_an_engine_that_cannot_run_gives_way_under_auto(registry, ran, caplog, monkeypatch):
    engines = choice(registry, "auto").engines
    assert [type(engine).__name__ for engine in engines] == ["CountingEngine", "NativeEngine", "TorchEngine"]
    monkeypatch.setattr(engines[0], "most", 3)
    with caplog.at_level(logging.DEBUG, logger="auxar"):
        found = sample(WavefrontSampler(EngineChoice("auto", engines)), NETWORK, REQUEST)
    assert torch.equal(found, sample(RasterSampler(), NETWORK, REQUEST))
    assert ran == []
    first, *_, last = [said for said in caplog.messages if "sampling with" in said or "cannot run" in said]
    assert first.startswith("CountingEngine cannot run this program: it takes up to 3 steps, not ")
    assert last in ("sampling with NativeEngine", "sampling with TorchEngine")


@pytest.mark.parametrize("sampler", ["auto", "wavefront", "cached"])
def test_a_recipe_names_it(tmp_path, sampler):
    (tmp_path / "engines.py").write_text(ENGINES)
    engine = {"name": "counting", "most": 777}
    table = changed(tomllib.loads(TINY), sampling__sampler={"name": sampler, "engine": engine}, plugins=["engines.py"])
    recipe = parse_recipe(tomli_w.dumps(table), tmp_path, trust_plugins=True)
    assert recipe.sampling.sampler.options == {"engine": engine}
    model = build_model(recipe)
    build: Any = recipe.registry.get("engine", "counting", "").build
    ran = build.ran
    ran.clear()
    auxar.ImageModel(model).sample(1)
    assert ran == [777, 777]
    again = parse_recipe(recipe_text(recipe), tmp_path, trust_plugins=True)
    assert again == recipe


def test_in_python_an_engines_name_is_that_of_a_shipped_one():
    assert [type(engine).__name__ for engine in EngineChoice().engines] == ["NativeEngine", "TorchEngine"]
    assert all(config().engine == EngineChoice() for config in (AutoConfig, CachedConfig, WavefrontConfig))
    assert [vars(sampler)["engine"].name for sampler in AutoSampler("torch")._fast] == ["torch", "torch"]
    for sampler in (WavefrontSampler, CachedSampler, AutoSampler):
        with pytest.raises(ValueError, match="must be one of auto, native, torch or an EngineChoice, got 'fats'"):
            sampler("fats")
