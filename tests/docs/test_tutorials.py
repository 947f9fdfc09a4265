"""Tests of the files of tutorials. `test_stranger` tests docs/views.md."""

from __future__ import annotations

import importlib
import subprocess
import sys

import pytest
import torch
from helpers.causal_networks import needs_native
from helpers.tiny_runs import PROJECT
from helpers.tutorial_files import write_tutorial

from auxar.commands.run import run
from auxar.data import StoredImages, load_images
from auxar.draw.image_model import ImageModel
from auxar.model import Adjustments, CausalNetwork, DrawSource, Interval, RestrictableHead, SampleRequest
from auxar.recipe import load_recipe
from auxar.recipe.building import build_model
from auxar.testing import distributions
from auxar_samplers import AutoSampler, RasterSampler, WavefrontSampler


@pytest.fixture(scope="module")
def sketch(tmp_path_factory):
    folder = tmp_path_factory.mktemp("networks")
    assert write_tutorial("networks.md", folder) == ["sketch.py", "sketch.toml", "test_sketch.py"]
    return folder


def test_its_networks_make_a_model_that_is_drawn_from_fast(sketch):
    recipe, registry = load_recipe(sketch / "sketch.toml", ["image.height=8", "image.width=8"], trust_plugins=True)
    model = build_model(recipe, registry)
    networks = [module for module in model.modules() if isinstance(module, CausalNetwork)]
    assert len(networks) == 2
    for network in networks:
        WavefrontSampler().check(network)
    images = ImageModel(model).sample(2).tensor
    assert set(images.unique().tolist()) <= {0, 1}
    views = [*model.views(images), None]
    for depth, factor in enumerate(model.factors):
        image = views[depth]
        assert image is not None
        factor.initialize(image, views[depth + 1])
        assert factor(image, views[depth + 1]).isfinite().all()


@pytest.mark.parametrize(
    "name",
    [
        "test_the_head",
        pytest.param("test_the_code_of_the_head", marks=needs_native),
        pytest.param("test_the_network", marks=pytest.mark.slow),
        "test_the_network_with_its_own_head",
        "test_the_embedding",
    ],
)
def test_its_head_and_networks_keep_their_contracts(sketch, monkeypatch, name):
    monkeypatch.setattr(distributions, "EXAMPLES", 4)  # A third of the examples, to save time.
    monkeypatch.syspath_prepend(sketch)
    try:
        getattr(importlib.import_module("test_sketch"), name)()
    finally:
        for module in ("sketch", "test_sketch"):
            sys.modules.pop(module, None)


def test_its_head_draws_from_what_it_scores(sketch):
    recipe, registry = load_recipe(sketch / "sketch.toml", trust_plugins=True)
    network = next(module for module in build_model(recipe, registry).modules() if isinstance(module, CausalNetwork))
    logits = torch.tensor([-2.0, 0.0, 1.5]).double()[:, None]
    # With evenly spaced noise, the share of pixels with value 1 equals the probability of 1.
    noise = ((torch.arange(1000) + 0.5) / 1000).double()[:, None]
    for logit in logits:
        drawn = network.head.draw(logit.expand(1000, 1), noise, Adjustments())
        one = network.head.log_prob(logit[None, :, None, None], torch.ones((1, 1, 1, 1), dtype=torch.int64)).exp()
        assert abs(drawn.double().mean() - one.item()) <= 1e-3


@pytest.mark.parametrize(("low", "high"), [(0, 0), (0, 1), (1, 1), (-3, 9), (2, 5)])
def test_its_head_can_be_restricted(sketch, low, high):
    recipe, registry = load_recipe(sketch / "sketch.toml", trust_plugins=True)
    network = next(module for module in build_model(recipe, registry).modules() if isinstance(module, CausalNetwork))
    head = network.head
    assert isinstance(head, RestrictableHead)
    parameters = torch.tensor([-2.0, 0.0, 30.0]).double().view(-1, 1, 1, 1)
    values = torch.tensor([0, 1]).expand(3, 2)[:, None, None]
    interval = Interval(torch.full_like(values, low), torch.full_like(values, high))
    free = head.channel_log_prob(parameters, values)
    assert free is not None
    mass = head.channel_log_mass(parameters, values, interval)
    possible = [value for value in (0, 1) if low <= value <= high] or [1]
    assert torch.allclose(mass, free[..., possible].logsumexp(-1, keepdim=True))
    if low <= 1:
        assert torch.allclose(
            head.restricted_log_prob(parameters, values, interval).exp().sum(-1), torch.ones(3, 1, 1).double()
        )


def test_its_restricted_draws_have_the_views_they_were_drawn_from(sketch):
    recipe, registry = load_recipe(sketch / "sketch.toml", ["image.height=8", "image.width=8"], trust_plugins=True)
    model = build_model(recipe, registry).double().eval()
    assert model.exact
    request = SampleRequest(tuple(range(4)), seed=3)
    with torch.no_grad():
        expected = model.draw_views(request, RasterSampler())
        found = model.draw_views(request, AutoSampler())
    assert len(expected[0].unique()) == 2
    assert torch.equal(model.views(expected[0])[1], expected[1])
    for image, other in zip(expected, found, strict=True):
        assert torch.equal(image, other)


@needs_native
def test_its_head_is_drawn_from_by_its_own_code(sketch, monkeypatch):
    recipe, registry = load_recipe(sketch / "sketch.toml", ["image.height=8", "image.width=8"], trust_plugins=True)
    model = build_model(recipe, registry).eval()
    monkeypatch.setattr(DrawSource, "pixels", None)  # so that Python cannot draw
    with torch.no_grad():
        model.draw_views(SampleRequest((0, 1)), AutoSampler("native"))


def test_its_data_set_is_read_with_its_options(tmp_path, monkeypatch):
    assert write_tutorial("datasets.md", tmp_path) == ["digits.py", "digits.toml", "test_digits.py"]
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    try:
        importlib.import_module("test_digits").test_it_is_a_data_set(tmp_path)
    finally:
        for module in ("digits", "test_digits"):
            sys.modules.pop(module, None)
    # The test has written digits.npz, with 4 images of each digit.
    for setting, count in (("data.options.digits=[4]", 3), ("data.options={}", 36)):
        settings = [setting, f"data.options.file={tmp_path / 'digits.npz'}"]
        recipe, registry = load_recipe(tmp_path / "digits.toml", settings, trust_plugins=True)
        images = load_images(recipe.data, recipe.image, registry, recipe.condition).train
        assert isinstance(images, StoredImages)
        examples = images.examples(range(count))
        assert len(images) == count
        assert examples.image.max() == 16
        assert examples.condition is not None
        assert examples.condition.flatten().tolist() == ([4] * 3 if count == 3 else [n % 10 for n in range(4, 40)])


def test_its_optimizer_and_schedule_keep_their_contracts_and_train(tmp_path, monkeypatch):
    assert write_tutorial("optimizers.md", tmp_path) == ["lion.py", "lion.toml", "test_lion.py"]
    monkeypatch.syspath_prepend(tmp_path)
    try:
        tests = importlib.import_module("test_lion")
        tests.test_it_is_an_optimizer()
        tests.test_the_rate_falls_at_the_end()
    finally:
        for module in ("lion", "test_lion"):
            sys.modules.pop(module, None)
    settings = ["training.steps=2", "training.batch_size=2", "training.initialization_images=2", "data.limit=30"]
    run(tmp_path / "lion.toml", settings=settings, out=tmp_path / "run", train_only=True, trust_plugins=True)
    assert (tmp_path / "run" / "factors" / "prior" / "weights.safetensors").is_file()


@pytest.mark.parametrize("page", ["views.md", "networks.md", "datasets.md", "optimizers.md"])
def test_what_a_tutorial_writes_is_tidy(tmp_path, page):
    write_tutorial(page, tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--config", str(PROJECT / "pyproject.toml"), "--ignore", "I", "."],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
