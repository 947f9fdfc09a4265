"""Tests that a run's folder is only changed in valid ways, and that errors name the damaged or unsuitable file."""

from __future__ import annotations

import json
import math
import os
import shutil
import stat
import tomllib
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch
from helpers.evaluations import figures_of
from helpers.tiny_runs import VIEW, changed, run, same, snapshot, tiny, weights, write
from hypothesis import given, settings
from hypothesis import strategies as st

import auxar
from auxar.commands.evaluate import evaluate
from auxar.commands.figures import figures
from auxar.commands.run import run as run_recipe
from auxar.commands.sample import sample
from auxar.errors import UserError
from auxar.files import read_json, read_tensors, replacing, write_json, write_tensors, write_text
from auxar.model import Chain, ImageSpec, SampleRequest
from auxar.recipe import Recipe, load_recipe
from auxar.recipe.schema import Crop, DataConfig, EvaluationConfig, SamplingConfig, Split, Stage, TrainingConfig
from auxar.runs.layout import RunFolder
from auxar.runs.opening import begin_run
from auxar.training.lengths import is_trained
from auxar_rules import Map

BOTH = ["prior", "stage0"]


@pytest.fixture
def copied(finished, tmp_path) -> Path:
    """A copy of the finished run for a test to damage."""
    shutil.copytree(finished, tmp_path / "run")
    return tmp_path / "run"


def refusal(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        auxar.load(folder)
    return str(caught.value)


# Folders for runs


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            {"stage__0__decoder__head__components": 3, "training__seed": 4, "prior__filters": 5},
            "prior.filters, stage[0].decoder.head.components, training.seed",
        ),
        ({"stage": None}, "stage"),
        ({"training__factor": {"prior": {"clip": 1.0}}}, "training.factor"),
    ],
)
def test_another_recipes_run_is_left_alone(pictures, finished, change, named):
    before = snapshot(finished)
    with pytest.raises(UserError) as caught:
        run(finished, tiny(pictures, **change))
    assert str(caught.value) == another_recipe(finished, named)
    assert snapshot(finished) == before


def another_recipe(folder: Path, named: str) -> str:
    return f"{folder} holds a run of another recipe (different keys: {named}); choose another folder with --out"


# A new value of every key of a recipe, for keys that must stay the same once a factor has weights.
FIXED = {
    "data.path": "other",
    "data.config": "small",
    "data.train": "other",
    "data.heldout": "test",
    "data.split.train": 0.5,
    "data.split.seed": 1,
    "data.split.validation": 0.5,
    "data.validation": "other",
    "data.column": "picture",
    "data.crop.left": 1,
    "data.crop.right": 1,
    "data.crop.top": 1,
    "data.crop.bottom": 1,
    "data.resize": "cover",
    "data.values": "levels",
    "data.broken": "skip",
    "data.limit": 20,
    "data.streaming": True,
    "data.shards": "own",
    "data.shuffle_buffer": 5,
    "image.channels": 1,
    "image.height": 16,
    "image.width": 16,
    "image.levels": 16,
    "stage[0].view": "grayscale",
    "stage[0].embedding.filters": 5,
    "stage[0].decoder.filters": 5,
    "stage[0].support": "restricted",
    "stage[0].repeat": 2,
    "prior.filters": 5,
    "training.batch_size": 8,
    "training.accumulate": 2,
    "training.optimizer": {"name": "adam", "betas": [0.5, 0.5]},
    "training.clip": 1.0,
    "training.ema": 0.5,
    "training.ema_warmup": False,
    "training.flip": True,
    "training.precision": "bf16",
    "training.seed": 1,
    "training.init": "other",
    "training.initialization_images": 9,
    "training.evaluate_every": 2,
    "training.validation_images": 5,
    "training.keep_best": True,
    "training.patience": 2,
    "training.factor": {"stage0": {"flip": True}},
    "condition": {"kind": "label", "suffix": ".txt", "classes": 3},
    "plugins": ["thin.py"],
}
# A new value of every other key. These keys have no effect on the steps that are done, so they may change.
FREE = {
    "data.workers": 1,
    "training.steps": 5,
    "training.epochs": 2.5,
    "training.schedule": "cosine",
    "training.warmup": 1,
    "training.checkpoint_every": 3,
    "training.keep_checkpoints": 3,
    "training.sample_every": 3,
    "training.log_every": 3,
    "training.trackers": ["tensorboard"],
    "training.nonfinite": "skip",
    "training.compile": True,
    "training.recompute": True,
    "evaluation.batch_size": 3,
    "evaluation.heldout_images": 3,
    "evaluation.train_images": 3,
    "evaluation.samples": 3,
    "sampling.images": 5,
    "sampling.rule": "map",
    "sampling.batch_size": 3,
    "sampling.seed": 1,
    "sampling.sampler": "raster",
    "sampling.figure_rows": 2,
    "arithmetic": "integer",
}
# The keys that are named if a change of one key also changes others.
NAMED = {
    "stage[0].view": "stage[0].view.factor, stage[0].view.levels, stage[0].view.name",
    "stage[0].repeat": "stage",
    "data.shards": "data.heldout, data.shards, data.streaming",
    "data.values": "data.values, image.levels",
    "training.optimizer": "training.optimizer.betas[0], training.optimizer.betas[1]",
    "training.evaluate_every": "data.split.validation, training.evaluate_every",
    "training.keep_best": "data.split.validation, training.evaluate_every, training.keep_best",
    "training.patience": "data.split.validation, training.evaluate_every, training.patience",
}


def keys_of(config: type, path: str) -> set[str]:
    """The keys of a table of a recipe, including those of the tables inside."""
    keys: set[str] = set()
    for field in attrs.fields(config):
        inside = {"split": Split, "crop": Crop}.get(field.name)
        keys |= keys_of(inside, f"{path}.{field.name}") if inside else {f"{path}.{field.name}"}
    return keys


def test_every_key_is_fixed_or_free():
    tables = {"image": ImageSpec, "data": DataConfig, "stage[0]": Stage, "training": TrainingConfig}
    tables |= {"evaluation": EvaluationConfig, "sampling": SamplingConfig}
    assert {field.name for field in attrs.fields(Recipe)} == {
        *(path.partition("[")[0] for path in tables),
        *("prior", "condition", "plugins", "factor_training", "arithmetic"),
    }
    keys = set().union(*(keys_of(config, path) for path, config in tables.items()))
    given = {key.removesuffix(".filters") for key in FIXED} | FREE.keys()
    # Only registered data sets have options, which `test_registered` changes.
    assert given | {"data.options"} == keys | {"prior", "condition", "plugins", "training.factor", "arithmetic"}


def test_a_run_with_weights_continues_only_if_fixed_keys_are_the_same(pictures, tmp_path):
    def begin(**changes: Any) -> None:
        recipe = load_recipe(write(tmp_path / "recipe.toml", tiny(pictures, **changes)), trust_plugins=True)
        begin_run(tmp_path / "run", *recipe)

    def change(key: str, value: Any) -> dict[str, Any]:
        validation = {"data__split__validation": 0.5, "training__evaluate_every": 2}
        others: dict[str, dict[str, Any]] = {
            "training.epochs": {"training__steps": None},
            "data.shards": {"data__streaming": True, "data__heldout": "test"},
            "data.values": {"image__levels": 16},
            **dict.fromkeys(("training.evaluate_every", "training.keep_best", "training.patience"), validation),
        }
        return {key.replace("[0]", "__0").replace(".", "__"): value, **others.get(key, {})}

    (tmp_path / "thin.py").write_text(VIEW)
    begin()
    (tmp_path / "run" / "factors" / "prior").mkdir(parents=True)
    (tmp_path / "run" / "factors" / "prior" / "training-000000001.safetensors").touch()
    before = snapshot(tmp_path / "run")
    for key, value in FIXED.items():
        with pytest.raises(UserError) as caught:
            begin(**change(key, value))
        assert str(caught.value) == another_recipe(tmp_path / "run", NAMED.get(key, key))
    assert snapshot(tmp_path / "run") == before
    for key, value in FREE.items():
        begin(**change(key, value))
        node: Any = tomllib.loads((tmp_path / "run" / "recipe.toml").read_text())
        for part in key.split("."):
            node = node[part]
        names = [{"name": name} for name in value] if isinstance(value, list) else {"name": value}
        assert node in (value, names) or node["name"] == value


def test_another_run_to_begin_from_is_named_with_its_old_and_new_path(pictures, tmp_path):
    def begin(folder: str) -> None:
        recipe = write(tmp_path / folder / "recipe.toml", tiny(pictures, training__init="first"))
        begin_run(tmp_path / "run", *load_recipe(recipe))

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    begin("a")
    (tmp_path / "run" / "factors" / "prior").mkdir(parents=True)
    (tmp_path / "run" / "factors" / "prior" / "training-000000001.safetensors").touch()
    with pytest.raises(UserError) as caught:
        begin("b")
    named = f"training.init; training.init was {tmp_path}/a/first and is {tmp_path}/b/first"
    assert str(caught.value) == another_recipe(tmp_path / "run", named)


def test_a_folder_that_is_no_run_is_left_alone(pictures, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "holiday.txt").write_text("mine")
    before = snapshot(folder)
    with pytest.raises(UserError, match="photos exists and is not a run's folder; choose another folder with --out"):
        run(folder, tiny(pictures))
    assert snapshot(folder) == before
    with pytest.raises(UserError, match="exists and is not a run's folder"):
        run(folder / "holiday.txt", tiny(pictures))
    with pytest.raises(UserError, match=r"photos is not a run's folder: it has no recipe.toml"):
        auxar.load(folder)


def test_an_empty_folder_becomes_a_run(pictures, tmp_path):
    (tmp_path / "run").mkdir()
    run(tmp_path / "run", tiny(pictures, training__steps=0, sampling__images=0))
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_mistake_found_on_the_way_can_be_mended_in_the_same_folder(pictures, tmp_path):
    # The images of a stream are read during training, when the folder exists.
    wrong = tiny(pictures, data__streaming=True, image__height=16, training__steps=1, sampling__images=0)
    with pytest.raises(UserError, match=r"^data\.resize: "):
        run(tmp_path / "run", wrong)
    assert (tmp_path / "run" / "recipe.toml").is_file()
    run(tmp_path / "run", changed(wrong, image__height=8))


def test_what_has_no_part_in_the_weights_may_change(pictures, copied):
    before = weights(copied), (copied / "factors" / "prior" / "weights.safetensors").stat().st_mtime_ns
    table = tiny(
        pictures,
        sampling__images=5,
        sampling__rule="map",
        sampling__seed=3,
        evaluation={"train_images": 4, "batch_size": 2},
        training__checkpoint_every=2,
        training__log_every=3,
    )
    run(copied, table)
    facts = read_json(copied / "samples" / "samples.json")
    assert (facts["count"], facts["rule"]["name"], facts["seed"]) == (5, "map", 3)
    assert figures_of(copied)["images"] == {"heldout": 6, "training": 4}
    assert same(weights(copied), before[0])
    assert (copied / "factors" / "prior" / "weights.safetensors").stat().st_mtime_ns == before[1]
    kept = snapshot(copied)
    run(copied, table)
    assert snapshot(copied) == kept


def test_a_run_is_continued_from_any_folder(pictures, finished, tmp_path, monkeypatch):
    before = snapshot(finished)
    monkeypatch.chdir(pictures.parent)
    run(finished, tiny(pictures), settings=[f"data.path={pictures.name}"])
    assert snapshot(finished) == before
    run(finished, tiny(pictures, data__path=os.path.relpath(pictures, finished.parent)))
    assert snapshot(finished) == before


def test_a_runs_recipe_gives_the_same_run(finished, tmp_path):
    run_recipe(finished / "recipe.toml", out=tmp_path / "again")
    assert same(weights(tmp_path / "again"), weights(finished))
    assert (tmp_path / "again" / "recipe.toml").read_bytes() == (finished / "recipe.toml").read_bytes()


# Damage


def test_a_missing_factor_is_named(copied):
    file = copied / "factors" / "stage0" / "weights.safetensors"
    file.unlink()
    assert refusal(copied) == (
        f"{file} is missing: factor stage0 is not trained; train it with `auxar run` and the run's recipe"
    )


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("content", [b"", b"garbage", b"\xff" * 5000, None])
def test_damaged_weights_are_named(copied, name, content):
    file = copied / "factors" / name / "weights.safetensors"
    file.write_bytes(file.read_bytes()[:-100] if content is None else content)
    assert refusal(copied).startswith(f"{file} is damaged: ")


def test_weights_of_another_model_are_named(copied):
    first, second = (copied / "factors" / name / "weights.safetensors" for name in BOTH)
    shutil.copy(first, second)
    assert refusal(copied).startswith(f"{second} does not belong to factor stage0 of this recipe: ")


def test_weights_of_another_view_are_named(copied):
    """The views `pyramid` and `subsample` have equal shapes, so the weights of both have equal names and shapes."""
    recipe, file = copied / "recipe.toml", copied / "factors" / "stage0" / "weights.safetensors"
    recipe.write_text(recipe.read_text().replace('name = "pyramid"', 'name = "subsample"'))
    said = "does not belong to factor stage0 of this recipe: it was trained with another image size, view or network; "
    assert refusal(copied).startswith(f"{file} {said}")
    with pytest.raises(UserError, match="trained with another image size, view or network"):
        evaluate(copied)


def test_the_recipe_of_weights_is_required_but_not_all_options_of_components(copied):
    """Components of plugins have other options in other versions."""
    file = copied / "factors" / "stage0" / "weights.safetensors"
    tensors, metadata = read_tensors(file)
    part = json.loads(metadata.pop("recipe"))
    del part[-1]["filters"]
    write_tensors(file, tensors, {**metadata, "recipe": json.dumps(part)})
    auxar.load(copied)
    for entry, problem in (({}, "is missing"), ({"recipe": "[["}, "is not valid JSON")):
        write_tensors(file, tensors, metadata | entry)
        assert refusal(copied).startswith(f"{file} is damaged: its metadata entry 'recipe' {problem}; ")


@pytest.mark.parametrize("key", ["step", "weights", "images", "kept", "trained_steps", "complete_at", "history"])
def test_facts_of_weights_are_required(copied, key):
    file = copied / "factors" / "stage0" / "weights.safetensors"
    tensors, metadata = read_tensors(file)
    del metadata[key]
    write_tensors(file, tensors, metadata)
    with pytest.raises(UserError, match=f"^{file} is damaged: its metadata entry '{key}' is missing"):
        evaluate(copied)


def test_weights_of_another_version_of_a_network_are_refused(pictures, copied):
    """The names and shapes of their weights may be the same."""
    file = copied / "factors" / "prior" / "weights.safetensors"
    tensors, metadata = read_tensors(file)
    versions = json.loads(metadata.pop("versions"))
    write_tensors(file, tensors, metadata)
    assert refusal(copied).startswith(f"{file} is damaged: its metadata entry 'versions' is missing")
    write_tensors(file, tensors, {**metadata, "versions": "[]"})
    assert refusal(copied).startswith(
        f"{file} is damaged: its metadata entry 'versions' is not valid (expected a table, got [])"
    )
    assert versions["CausalConv2d"] == 2
    for found in (1, 3):
        write_tensors(file, tensors, {**metadata, "versions": json.dumps({**versions, "CausalConv2d": found})})
        expected = (
            f"{file} was trained with version {found} of the network's CausalConv2d, but this auxar has version 2, "
            "which computes other values from the same weights; use the auxar that trained it, or train the factor in "
            "a new folder (--out)"
        )
        assert refusal(copied) == expected
    # Training of the other factor does not begin.
    (copied / "factors" / "stage0" / "weights.safetensors").unlink()
    before = snapshot(copied)
    with pytest.raises(UserError) as caught:
        run(copied, tiny(pictures))
    assert str(caught.value) == expected
    assert snapshot(copied) == before


def test_weights_of_another_size_are_named(copied):
    file = copied / "factors" / "prior" / "weights.safetensors"
    tensors, metadata = read_tensors(file)
    name = sorted(tensors)[0]
    write_tensors(file, {**tensors, name: torch.zeros(9, 9)}, metadata)
    shape = tuple(tensors[name].shape)
    expected = f"1 tensor(s) differ in name or shape; the first is {name}: expected {shape}, found (9, 9)"
    assert refusal(copied) == f"{file} does not belong to factor prior of this recipe: {expected}"
    with pytest.raises(UserError, match="does not belong to factor prior"):
        evaluate(copied)


@pytest.mark.parametrize("content", [b"", b"[[[", b"\xff", b"[data]\npath = 3\n"])
def test_a_damaged_recipe_is_named(copied, pictures, content):
    (copied / "recipe.toml").write_bytes(content)
    assert refusal(copied).startswith(f"{copied / 'recipe.toml'}: ")
    with pytest.raises(UserError, match=r"recipe\.toml: "):
        run(copied, tiny(pictures))


# Files


@settings(deadline=None, max_examples=20)
@given(old=st.none() | st.binary(max_size=20), new=st.binary(max_size=20), fails=st.booleans())
def test_a_file_is_the_old_one_or_the_new_one(tmp_path_factory, old, new, fails):
    path = tmp_path_factory.mktemp("files") / "sub" / "file"
    if old is not None:
        path.parent.mkdir()
        path.write_bytes(old)
    try:
        with replacing(path) as temporary:
            temporary.write_bytes(new)
            assert (path.read_bytes() if path.exists() else None) == old
            if fails:
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        assert (path.read_bytes() if path.exists() else None) == old
    else:
        assert path.read_bytes() == new
    assert [file.name for file in path.parent.iterdir()] == (["file"] if path.exists() else [])


def test_a_new_file_has_the_permissions_of_any_other(tmp_path):
    (tmp_path / "other").touch()
    write_text(tmp_path / "file", "text")
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == stat.S_IMODE((tmp_path / "other").stat().st_mode)


def test_files_that_cannot_be_written_or_read_are_named(tmp_path):
    (tmp_path / "file").write_text("a file")
    inside = tmp_path / "file" / "inside"
    with pytest.raises(UserError, match=r"file/inside cannot be written: "):
        write_json(inside, {})
    with pytest.raises(UserError, match=r"file/inside cannot be written: "):
        write_tensors(inside, {}, {})
    with pytest.raises(UserError, match=r"file/inside cannot be read: "):
        read_json(inside)
    (tmp_path / "file").write_bytes(b"\xff{")
    with pytest.raises(UserError, match=r"file is damaged: it is not valid JSON"):
        read_json(tmp_path / "file")
    with pytest.raises(UserError, match=r"none is missing"):
        read_tensors(tmp_path / "none")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_a_full_disk_is_a_users_problem(tmp_path):
    with pytest.raises(UserError, match="cannot be written: No space left"), replacing(tmp_path / "file"):
        Path("/dev/full").write_text("x" * 10000)
    assert not list(tmp_path.iterdir())


# The model of a run


def test_a_loaded_model(finished, pictures):
    model = auxar.load(finished).chain
    assert not model.training
    image = torch.randint(0, 256, (5, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        nats = model.log_prob(image)
        assert nats.shape == (5,)
        bits = -nats / torch.log(torch.tensor(2.0)) / image[0].numel()
        torch.testing.assert_close(model.bits_per_dim(image), bits)
        alone = torch.cat([model.log_prob(one[None]) for one in image])
    torch.testing.assert_close(alone, nats, rtol=1e-5, atol=1e-3)
    with pytest.raises(UserError, match=r"image: expected shape \(b, 3, 8, 8\)"):
        model.bits_per_dim(image[:, :, :4])
    with pytest.raises(UserError, match=r"image: expected integers in \[0, 256\), got 0 … 300"):
        model.bits_per_dim(torch.tensor([0, 300]).repeat(1, 3, 8, 4))
    with pytest.raises(UserError, match="image: expected integers"):
        model.bits_per_dim(image / 255)


@pytest.mark.parametrize("rule", [auxar.Ancestral(), Map()])
def test_samples_of_a_loaded_model(finished, rule):
    model = auxar.load(finished)
    images = model.sample(5, rule=rule, seed=3).tensor
    assert images.shape == (5, 3, 8, 8)
    model.image.check(images)
    model.image.check_range(images)
    assert torch.equal(model.sample(5, rule=rule, seed=3, batch_size=2).tensor, images)
    assert torch.equal(model.sample(2, rule=rule, seed=3, first=3).tensor, images[3:])
    assert torch.equal(auxar.load(finished).sample(1, rule=rule, seed=3).tensor, images[:1])
    assert not torch.equal(model.sample(5, rule=rule, seed=4).tensor, images)


def test_pictures_of_a_run_do_not_depend_on_their_batches(finished, tmp_path):
    options = ["sampling.images=5", "sampling.seed=7"]
    for batch_size in (1, 3):
        sample(finished, settings=[*options, f"sampling.batch_size={batch_size}"], out=tmp_path / str(batch_size))
    first, second = (
        {path.relative_to(tmp_path / size): path.read_bytes() for path in (tmp_path / size).rglob("*.png")}
        for size in "13"
    )
    assert first == second
    assert len(first) == 5 + 2


def test_the_bits_of_drawn_images_are_those_of_all_their_drawn_views(finished, tmp_path):
    """A free decoder may draw an image without the drawn view, so its bits are those of the image and this view."""
    options = ["sampling.images=5", "sampling.seed=7", "sampling.batch_size=2"]
    sample(finished, settings=options, out=tmp_path)
    facts = read_json(tmp_path / "samples.json")
    assert len(facts["bits_per_dim"]) == 5
    assert facts["kind"] == "bound"
    assert facts["columns"] == 3
    model = auxar.load(finished).chain.double()
    assert isinstance(model, Chain)
    assert model.sampler is not None
    image, view = model.draw_views(SampleRequest(tuple(range(5)), 7), model.sampler)
    with torch.no_grad():
        stage, prior = model.factors
        nats = stage(image, view) + prior(view)
    expected = nats / (-math.log(2) * model.image.dims)
    torch.testing.assert_close(torch.tensor(facts["bits_per_dim"]).double(), expected, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(expected, model.bits_per_dim(image).detach(), rtol=1e-3)


# Plugin files

STRANGE = '''
"""A view with two channels and more than 256 levels, and priors with no parameter and with one parameter."""

import math

import attrs
import torch

from auxar.model import ImageSpec, Prior, View
from auxar.plugins import Component, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class Config:
    """No options."""


class Sums(View):
    def __init__(self, config, image):
        self.image = image
        self.view = ImageSpec(2, height=1, width=1, levels=image.dims * image.levels)

    def __call__(self, image):
        total = image.sum((1, 2, 3), dtype=image.dtype)
        return total[:, None, None, None].expand(-1, 2, 1, 1).clone()


class Uniform(Prior):
    def __init__(self, config, image):
        super().__init__()
        self.image = image
        self.register_buffer("infinite", torch.tensor(math.inf))

    def log_prob(self, image):
        self.image.check_range(image)
        assert (image > 255).all(), "sums of bright images"
        return torch.full((len(image),), -self.image.dims * math.log(self.image.levels))

    def draw(self, request, sampler):
        return (request.uniforms(self.image.shape) * self.image.levels).long()


class Learning(Uniform):
    def __init__(self, config, image):
        super().__init__(config, image)
        self.nothing = torch.nn.Parameter(torch.zeros(()))

    def log_prob(self, image):
        return super().log_prob(image) - self.nothing.square()


@hookimpl
def auxar_register_components():
    return [
        Component("view", "sums", Config, Sums),
        Component("prior", "uniform", Config, Uniform),
        Component("prior", "learning", Config, Learning),
    ]
'''


@pytest.mark.parametrize("prior", ["uniform", "learning"])
def test_a_view_may_have_more_values_than_a_byte_and_channels_without_colors(pictures, tmp_path, prior):
    """Plugins may have views with over 256 levels or without color channels, and factors without trainable parameters
    or with infinite constants."""
    (tmp_path / "strange.py").write_text(STRANGE)
    table = tiny(pictures, plugins=["strange.py"], stage__0__view={"name": "sums"})
    table["prior"] = {"name": prior}
    folder = run(tmp_path / "run", table)
    found = figures_of(folder)
    assert found["bits_per_dim"]["heldout"] > 0
    assert [factor["parameters"] > 0 for factor in found["factors"]] == [True, prior == "learning"]
    assert is_trained(RunFolder(folder), "prior", 4)
    assert not (folder / "samples" / "growth.png").exists()
    assert (folder / "samples" / "samples.json").exists()
    assert (folder / "report.html").exists()
    figures(folder, rows=2, trust_plugins=True)
    given = sample(folder, given=[pictures / "000.png"], out=tmp_path / "given", trust_plugins=True)
    assert (given / "samples.png").exists()


def test_a_run_keeps_the_plugin_files_it_needs(pictures, tmp_path):
    recipe = tmp_path / "beside" / "recipe.toml"
    recipe.parent.mkdir()
    plugin = recipe.with_name("thin.py")
    # The copy in the run keeps the line ends of the plugin file.
    plugin.write_bytes(VIEW.replace("\n", "\r\n").encode())
    table = tiny(pictures, plugins=["thin.py"], stage__0__view={"name": "thin", "every": 2}, sampling__images=1)
    folder = run(recipe.parent / "run", table)
    assert (folder / "plugins" / "thin.py").read_bytes() == plugin.read_bytes()
    before = snapshot(folder)
    run(folder, table)
    assert snapshot(folder) == before
    plugin.write_text(VIEW + "\nMORE = 1\n")
    with pytest.raises(UserError, match=r"was made with another version of the plugin file .*thin.py; restore"):
        run(folder, table)
    assert snapshot(folder) == before
    moved = tmp_path / "moved"
    folder.rename(moved)
    shutil.rmtree(recipe.parent)
    assert "this recipe names plugin files, which are code" in refusal(moved)
    assert auxar.load(moved, trust_plugins=True).sample(2).shape == (2, 3, 8, 8)
    assert evaluate(moved, trust_plugins=True).path == moved
    (moved / "plugins" / "thin.py").unlink()
    with pytest.raises(UserError, match=r"thin\.py does not exist"):
        auxar.load(moved, trust_plugins=True)


def test_a_run_keeps_the_plugin_file_that_was_loaded(pictures, tmp_path):
    """A plugin file may change while auxar works. This one changes itself when it is loaded."""
    plugin = tmp_path / "thin.py"
    plugin.write_text(VIEW + "open(__file__, 'w').write('another version')\n")
    loaded = plugin.read_text()
    table = tiny(pictures, plugins=["thin.py"], stage__0__view={"name": "thin", "every": 2})
    recipe, registry = load_recipe(write(tmp_path / "tiny.toml", table), trust_plugins=True)
    assert plugin.read_text() == "another version"
    begin_run(tmp_path / "run", recipe, registry)
    assert (tmp_path / "run" / "plugins" / "thin.py").read_text() == loaded


def test_plugin_files_of_one_name_cannot_be_kept_together(pictures, tmp_path):
    for folder, name in (("a", "thin"), ("b", "thick")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / f"{name}.py").write_text(VIEW.replace('"thin"', f'"{name}"'))
    (tmp_path / "b" / "thick.py").rename(tmp_path / "b" / "thin.py")
    with pytest.raises(UserError, match="two plugins are named 'thin'"):
        run(tmp_path / "run", tiny(pictures, plugins=["a/thin.py", "b/thin.py"]))


def test_evaluation_of_a_part_is_a_part(copied):
    (copied / "factors" / "stage0" / "weights.safetensors").unlink()
    table = figures_of(evaluate(copied).path)
    assert table["bits_per_dim"] == {"heldout": None, "training": None}
    assert [entry["heldout"] is None for entry in table["factors"]] == [True, False]
    assert figures_of(copied) == table
    (copied / "factors" / "prior" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="no factor is trained yet; train the run with `auxar run RECIPE`"):
        evaluate(copied)
