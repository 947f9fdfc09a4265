"""Tests of training loops of the user: building a model, its images, and saving the result as a run."""

import logging
import math
from typing import Any

import pytest
import torch
from helpers.tiny_runs import VIEW, same, snapshot, tiny, weights, write
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import DataLoader

import auxar
from auxar.errors import UserError
from auxar.evaluation.stored import read_evaluation
from auxar.files import read_metadata
from auxar.model import Chain
from auxar.recipe.building import build_model
from auxar_augmentations import Flip


@pytest.fixture
def recipe(pictures, tmp_path):
    return write(tmp_path / "recipes" / "tiny.toml", tiny(pictures))


def train(model, batches, steps=2):
    """Trains all factors of a model for some steps, as a user would."""
    optimizer = torch.optim.Adam(model.chain.parameters(), lr=0.01)
    for _, batch in zip(range(steps), batches, strict=False):
        loss = -model.chain.log_prob(batch).mean() / (math.log(2) * model.image.dims)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def test_a_model_of_ones_own_loop_is_a_run_like_any_other(recipe, tmp_path, caplog):
    model = auxar.build(recipe)
    images = auxar.load_images(model)
    before = {name: value.clone() for name, value in model.chain.state_dict().items()}
    model.chain.initialize(next(images.train.shuffled(8)))
    after = model.chain.state_dict()
    changed = {name.split(".")[1] for name in after if not torch.equal(before[name], after[name])}
    assert changed == {"0", "1"}
    train(model, images.train.shuffled(4, augment=[Flip()]))
    out = tmp_path / "runs" / "mine"
    assert model.save(out, steps=2).path == out
    heldout = next(images.heldout.in_order(6))
    expected = model.bits_per_dim(heldout)
    assert torch.equal(auxar.load(out).bits_per_dim(heldout), expected)
    assert same(
        weights(out),
        {f"{factor.name}/{name}": value for factor in model.factors for name, value in factor.state_dict().items()},
    )
    evaluation = read_evaluation(auxar.evaluate(out).evaluation)
    assert evaluation.bits_per_dim().value == pytest.approx(expected.mean().item(), rel=1e-5)
    assert evaluation.weights == "own"
    assert [(factor.steps, factor.trained_steps, factor.kept) for factor in evaluation.factors] == [(2, 2, None)] * 2
    assert (auxar.sample(out, images=2, rule="map", seed=5) / "samples.png").is_file()
    assert auxar.compare([out, out]).runs[1].margin.bits_per_dim == 0
    # `auxar run` with the recipe keeps the weights, and draws and reports what is missing.
    kept = snapshot(out / "factors")
    with caplog.at_level(logging.INFO, "auxar"):
        assert auxar.run(recipe, out=out).report.is_file()
    assert "these factors keep the weights of your own training loop: stage0, prior" in caplog.text
    assert snapshot(out / "factors") == kept
    assert "own loop" in (out / "report.html").read_text()
    assert (out / "samples" / "samples.json").is_file()


def test_a_run_trains_the_factors_that_were_not_saved(recipe, tmp_path):
    model = auxar.build(recipe)
    out = tmp_path / "mine"
    model.save(out, only=["prior"])
    with pytest.raises(UserError, match="factor stage0 is not trained"):
        auxar.load(out)
    auxar.run(recipe, settings=["sampling.images=0"], out=out)
    metadata = [read_metadata(out / "factors" / name / "weights.safetensors") for name in ("stage0", "prior")]
    assert [entry["weights"] for entry in metadata] == ["ema", "own"]
    assert read_evaluation(auxar.RunFolder(out).evaluation).factors[1].steps == 0


def test_the_initial_weights_are_those_of_a_run(recipe, tmp_path):
    before = torch.random.get_rng_state()
    first, second = (auxar.build(recipe, [f"training.seed={seed}"]).chain.state_dict() for seed in (3, 3))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(first, second)
    torch.manual_seed(3)  # as `auxar run` does
    assert same(first, build_model(auxar.load_recipe(recipe)).state_dict())
    assert not same(first, auxar.build(recipe, ["training.seed=4"]).chain.state_dict())


def test_a_loaded_model_is_tuned_and_saved(finished, tmp_path):
    model = auxar.load(finished)
    before = {name: value.clone() for name, value in model.chain.state_dict().items()}
    model.chain.train()
    train(model, auxar.load_images(model).train.shuffled(4), steps=1)
    out = model.save(tmp_path / "tuned", steps={"prior": 1})
    assert not same(before, auxar.load(out.path).chain.state_dict())
    assert same(model.chain.state_dict(), auxar.load(out.path).chain.state_dict())
    factors = read_evaluation(auxar.evaluate(out.path).evaluation).factors
    assert [factor.history.init.run for factor in factors] == [str(finished)] * 2
    assert [factor.steps for factor in factors] == [0, 1]
    # The copy of the recipe continues to be that of the run.
    assert auxar.run(out.recipe, out=out.path, settings=["sampling.images=0"]).report.is_file()


def test_relative_paths_are_those_of_the_folder_in_which_the_model_was_built(pictures, tmp_path, monkeypatch):
    write(tmp_path / "tiny.toml", tiny(pictures, data__path="pictures"))
    (tmp_path / "pictures").symlink_to(pictures)
    monkeypatch.chdir(tmp_path)
    models = [auxar.build("tiny.toml")]
    models.append(auxar.ImageModel(models[0].chain, auxar.load_recipe("tiny.toml")))
    runs = [models[1].save("second").path.resolve()]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    runs.append(models[0].save("first").path)
    for path in runs:
        assert len(list(auxar.load_images(auxar.load(path)).heldout.in_order(6))) == 1


def test_plugin_files_are_saved_with_the_model(pictures, tmp_path):
    table = tiny(pictures, stage__0__view={"name": "thin", "every": 2}, plugins=["thin.py"])
    recipe = write(tmp_path / "recipes" / "thin.toml", table)
    (recipe.parent / "thin.py").write_text(VIEW)
    with pytest.raises(UserError, match="plugin"):
        auxar.build(recipe)
    out = tmp_path / "mine"
    auxar.build(recipe, trust_plugins=True).save(out)
    assert (out / "plugins" / "thin.py").read_text() == VIEW
    again = auxar.load(out, trust_plugins=True).save(tmp_path / "again")
    assert (again.path / "plugins" / "thin.py").read_text() == VIEW


def test_batches_hold_every_image_once_in_each_epoch(finished):
    train: Any = auxar.load_images(auxar.load_recipe(finished / "recipe.toml")).train
    epochs = list(train.shuffled(5, epochs=2, seed=1))
    assert [len(batch) for batch in epochs] == [5] * 7 + [1]
    first, second = torch.cat(epochs).split(18)
    # PyTorch's loader takes the set as it is.
    loaded = torch.cat(list(DataLoader(train, batch_size=5, shuffle=True)))
    expected = sorted(train[number].numpy().tobytes() for number in range(len(train)))
    for found in (first, second, loaded):
        assert sorted(image.numpy().tobytes() for image in found) == expected
    assert not torch.equal(first, second)
    for wrong, message in (
        ({"batch_size": 2.0}, "batch_size: .* got 2.0"),
        ({"batch_size": 2, "epochs": 0}, "epochs: .* got 0"),
    ):
        with pytest.raises(UserError, match=message):
            train.shuffled(**wrong)


def test_a_stream_has_no_epochs(pictures, tmp_path):
    recipe = write(tmp_path / "tiny.toml", tiny(pictures, data__streaming=True))
    train = auxar.load_images(auxar.load_recipe(recipe)).train
    with pytest.raises(UserError, match="the images of a stream cannot be read by number"):
        train[0]
    with pytest.raises(UserError, match="the length of a stream is not known"):
        train.shuffled(4, epochs=1)


WAYS = {
    "compiled": lambda model: setattr(model, "chain", torch.compile(model.chain, backend="eager")),
    "compiled inside": lambda model: setattr(
        model.chain.factors[-1], "distribution", torch.compile(model.chain.factors[-1].distribution, backend="eager")
    ),
    "half": lambda model: model.chain.to(torch.bfloat16),
    "double": lambda model: model.chain.double(),
    "frozen": lambda model: model.chain.requires_grad_(False),
}


@pytest.mark.parametrize("way", WAYS)
def test_weights_in_other_forms_are_saved_as_those_of_the_recipe(finished, tmp_path, way):
    model = auxar.load(finished)
    WAYS[way](model)
    out = model.save(tmp_path / "saved").path
    expected = load_file(finished / "factors" / "prior" / "weights.safetensors")
    if way == "half":
        expected = {name: value.bfloat16().float() for name, value in expected.items()}
    assert same(load_file(out / "factors" / "prior" / "weights.safetensors"), expected)
    auxar.load(out)


def first_parameter(model):
    return next(iter(model.chain.factors[-1].distribution.parameters()))


def put_nan(model):
    with torch.no_grad():
        first_parameter(model)[:1] = math.nan


def too_large(model):
    model.chain.double()
    with torch.no_grad():
        first_parameter(model)[:1] = 1e300


def other_shape(model):
    model.chain.factors[0].embedding.register_parameter("more", nn.Parameter(torch.zeros(2)))


DAMAGE = {
    "nan": (put_nan, r"the weights of factor prior are not finite: distribution\..*; nothing was saved"),
    "overflow": (too_large, r"the weights of factor prior are not finite: "),
    "tensor": (other_shape, r"factor stage0 is not the recipe's: embedding\.more: expected shape None, found \(2,\)"),
    "views": (
        lambda model: setattr(model, "chain", Chain([model.chain.factors[-1]])),
        r"the model has the factors prior, but its",
    ),
    "recipe": (lambda model: setattr(model, "recipe", None), r"without a recipe cannot be saved .*auxar\.build makes"),
}
OPTIONS = [
    ({"only": ["piror"]}, r"only: the recipe has no factor named 'piror'; did you mean 'prior'\?"),
    ({"steps": 1.5}, r"steps: expected an integer from 0 to 1,000,000,000,000,000,000, got 1.5 \(float\)"),
    ({"steps": {"piror": 1}}, r"steps: no saved factor is named 'piror'; did you mean 'prior'\?"),
]


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [(change, {}, message) for change, message in DAMAGE.values()]
    + [(lambda model: None, options, message) for options, message in OPTIONS],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(finished, tmp_path, change, options, message):
    model = auxar.load(finished)
    change(model)
    with pytest.raises(UserError, match=message):
        model.save(tmp_path / "saved", **options)
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_if_writing_fails(finished, tmp_path, monkeypatch):
    def fail(path, tensors, metadata):
        raise UserError(f"{path.name} cannot be written: No space left on device")

    monkeypatch.setattr("auxar.draw.saving.write_tensors", fail)
    with pytest.raises(UserError, match="No space left"):
        auxar.load(finished).save(tmp_path / "runs" / "saved")
    assert list((tmp_path / "runs").iterdir()) == []
