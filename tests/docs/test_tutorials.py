"""Tests of the files of tutorials. `test_stranger` tests docs/views.md."""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
import torch
from helpers.tiny_runs import PROJECT
from helpers.tutorial_files import write_tutorial

from auxar.commands.compare import compare
from auxar.commands.run import run
from auxar.data.loading import load_images
from auxar.draw.loading import load
from auxar.model import CausalNetwork, SampleRequest
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model
from auxar.testing import distributions
from auxar_samplers import AutoSampler, WavefrontSampler


@contextmanager
def imported_tests(folder: Path, name: str) -> Iterator[ModuleType]:
    """The module `test_NAME` of a tutorial, whose plugin is the module `NAME` in the same folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        try:
            yield importlib.import_module(f"test_{name}")
        finally:
            for module in (name, f"test_{name}"):
                sys.modules.pop(module, None)


@pytest.fixture(scope="module")
def sketch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    assert write_tutorial("networks.md", folder) == ["sketch.py", "sketch.toml", "test_sketch.py"]
    return folder


@pytest.fixture
def model(sketch):
    recipe = load_recipe(sketch / "sketch.toml", ["image.height=8", "image.width=8"], trust_plugins=True)
    return build_model(recipe).eval()


def test_its_networks_make_a_model_that_is_drawn_from_fast(model):
    networks = [module for module in model.modules() if isinstance(module, CausalNetwork)]
    assert len(networks) == 2
    for network in networks:
        WavefrontSampler().check(network)
    with torch.no_grad():
        values = model.draw(SampleRequest((0, 1)), AutoSampler())
    assert set(values["image"].unique().tolist()) == {0, 1}
    assert model.exact
    assert torch.equal(model.values(values["image"])["view1"], values["view1"])
    for factor in model.factors:
        factor.initialize(values)
        assert factor(values).isfinite().all()


def test_its_head_makes_a_model_in_integers(sketch, tmp_path):
    settings = ["stage=[]", "prior.layers=1", "prior.filters=4", "image.height=8", "image.width=8", "data.limit=20"]
    settings += ["data.resize=stretch", "training.steps=2", "sampling.images=0", "arithmetic=integer"]
    folder = run(sketch / "sketch.toml", settings=settings, out=tmp_path / "run", trust_plugins=True)
    (floats,) = compare([folder]).runs
    (integers,) = compare([folder], arithmetic="integer").runs
    assert integers.bits_per_dim == pytest.approx(floats.bits_per_dim, abs=0.01)
    for arithmetic in ("integer", "float"):
        images = load(folder, arithmetic=arithmetic, trust_plugins=True).sample(2, rule="ancestral")
        assert set(images.tensor.unique().tolist()) == {0, 1}


@pytest.mark.parametrize(
    "name",
    [
        "test_the_head",
        pytest.param("test_the_network", marks=pytest.mark.slow),
        "test_the_network_with_its_own_head",
        "test_the_embedding",
    ],
)
def test_its_head_and_networks_keep_their_contracts(sketch, monkeypatch, name):
    monkeypatch.setattr(distributions, "EXAMPLES", 4)  # A third of the examples, to save time.
    with imported_tests(sketch, "sketch") as tests:
        getattr(tests, name)()


def test_its_data_set_is_read_with_its_options(tmp_path, monkeypatch):
    assert write_tutorial("datasets.md", tmp_path) == ["digits.py", "digits.toml", "test_digits.py"]
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    with imported_tests(tmp_path, "digits") as tests:
        tests.test_it_is_a_data_set(tmp_path)
    # The test has written digits.npz, with 4 images of each digit.
    for setting, count in (("data.options.digits=[4]", 3), ("data.options={}", 36)):
        settings = [setting, f"data.options.file={tmp_path / 'digits.npz'}"]
        recipe = load_recipe(tmp_path / "digits.toml", settings, trust_plugins=True)
        images = load_images(recipe.data, recipe.image, recipe.registry, recipe.condition).train
        examples = images.spaced_examples(100)
        assert len(examples) == count
        assert examples["image"].max() == 16
        assert "condition" in examples
        assert examples["condition"].flatten().tolist() == ([4] * 3 if count == 3 else [n % 10 for n in range(4, 40)])


def test_its_optimizer_and_schedule_keep_their_contracts_and_train(tmp_path, monkeypatch):
    assert write_tutorial("optimizers.md", tmp_path) == ["lion.py", "test_lion.py"]
    with imported_tests(tmp_path, "lion") as tests:
        tests.test_it_is_an_optimizer()
        tests.test_the_rate_falls_at_the_end()
    monkeypatch.chdir(tmp_path)
    settings = ['plugins=["lion.py"]', "training.optimizer=lion:fast=0.95", "training.schedule=trapezoid"]
    settings += ["training.steps=2", "training.batch_size=2", "training.initialization_images=2", "data.limit=30"]
    run("quickstart", settings=settings, only=["prior"], train_only=True, trust_plugins=True, out=tmp_path / "run")
    assert (tmp_path / "run" / "factors" / "prior" / "weights.safetensors").is_file()


def test_what_tutorials_write_is_tidy(tmp_path):
    for page in ("views", "networks", "datasets", "optimizers"):
        write_tutorial(f"{page}.md", tmp_path / page)
    ruff = [sys.executable, "-m", "ruff", "check", "--config", str(PROJECT / "pyproject.toml"), "--ignore", "I", "."]
    done = subprocess.run(ruff, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
