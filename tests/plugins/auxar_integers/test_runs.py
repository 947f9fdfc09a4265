"""Tests of runs in integers: files, commands, and images that do not depend on how they are drawn."""

import json
import shutil
from typing import Any

import pytest
import torch
from helpers.evaluations import figures_of
from helpers.tiny_runs import run, tiny
from PIL import Image

import auxar
from auxar.cli import main
from auxar.data import load_images
from auxar.errors import UserError
from auxar.files import read_metadata, read_tensors, write_tensors
from auxar.runs.converted import DESCRIPTION
from auxar.training.conversion import training_views


@pytest.fixture(scope="module")
def original(tmp_path_factory, pictures):
    """A finished run with a restricted stage, and its integers."""
    folder = tmp_path_factory.mktemp("integers") / "run"
    run(folder, tiny(pictures, stage__0__support="restricted", sampling__rule="ancestral"))
    auxar.integers(folder, images=8)
    return folder


@pytest.fixture
def finished(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def integers_of(folder, factor="stage0"):
    return folder / "factors" / factor / "integer.safetensors"


def pixels(folder):
    return [Image.open(file).tobytes() for file in sorted((folder / "images").iterdir())]


def test_tables_of_an_arithmetic_have_its_figures(original, tmp_path):
    run = shutil.copytree(original, tmp_path / "run")
    auxar.evaluate(run, arithmetic="integer")
    figures = {}
    for arithmetic, name in (("float", "evaluation"), ("integer", "evaluation-integer")):
        figures[arithmetic] = figures_of(run, name)["bits_per_dim"]["heldout"]
        for runs in ([run], [run, run]):
            out = tmp_path / f"{arithmetic}-{len(runs)}"
            auxar.compare(runs, tables=out, arithmetic=arithmetic)
            text = "".join(path.read_text() for path in out.iterdir())
            assert repr(figures[arithmetic]) in text
    assert figures["float"] != figures["integer"]


@pytest.mark.parametrize("count", [1, 5, 6, 100])
def test_ranges_are_taken_from_as_many_training_images_as_asked_for(original, count):
    recipe, registry = auxar.load_recipe(original / "recipe.toml")
    data: Any = load_images(recipe.data, recipe.image, registry)
    model = auxar.load(original)
    views, condition = training_views(model.chain, data, count)
    assert condition is None
    assert [len(each) for each in views] == [min(count, len(data.train))] * 2
    step = max(1, len(data.train) // count)
    numbers = range(0, len(data.train), step)[:count]
    expected = torch.stack([image for number, image in data.train.every(1, 0, None) if number in numbers])
    assert torch.equal(views[0], expected.long())


def test_images_do_not_depend_on_batch_sampler_and_engine(finished, tmp_path):
    first = pixels(auxar.sample(finished, images=5, arithmetic="integer", out=tmp_path / "first"))
    options: list[dict[str, Any]] = [
        {"batch_size": 2},
        {"sampler": "raster"},
        {"sampler": "cached", "batch_size": 5},
        {"settings": ['sampling.sampler={name="wavefront",engine="torch"}']},
    ]
    for number, each in enumerate(options):
        found = auxar.sample(finished, images=5, arithmetic="integer", out=tmp_path / str(number), **each)
        assert pixels(found) == first, each


def test_likelihoods_do_not_depend_on_the_batch_and_are_near_those_in_float(finished):
    model, integers = auxar.load(finished), auxar.load(finished, arithmetic="integer")
    noise = torch.Generator().manual_seed(0)
    # Values that differ more from the values around them would have no more than 24 bits in integers.
    images = torch.randint(0, 226, (6, 3, 1, 1), generator=noise) + torch.randint(0, 30, (6, 3, 8, 8), generator=noise)
    together = integers.bits_per_dim(images)
    assert torch.equal(together, torch.cat([integers.bits_per_dim(images[k : k + 1]) for k in range(6)]))
    # Random images are far from the training images, from which the ranges of values are taken.
    assert float((together - model.bits_per_dim(images)).abs().max()) < 0.05 * float(together.mean())
    assert integers.exact


def test_integers_are_kept_and_replaced_only_with_the_weights(finished, caplog, capsys):
    before = integers_of(finished).read_bytes()
    assert main(["integers", str(finished)]) == 0
    digest = capsys.readouterr().out
    assert len(digest.split()[1]) == 64
    assert integers_of(finished).read_bytes() == before
    message = (
        "was made with other numbers of bits: expected weights 9, activations 16, found activations 16, weights 12"
    )
    with pytest.raises(UserError, match=message):
        auxar.integers(finished, weights=9)
    # Other weights make the integers useless, and they are replaced.
    weights = finished / "factors" / "stage0" / "weights.safetensors"
    tensors, metadata = read_tensors(weights)
    write_tensors(weights, {name: tensor * 1.01 for name, tensor in tensors.items()}, metadata)
    with pytest.raises(UserError, match=r"was made from other weights than .* make it again with `auxar integers`"):
        auxar.load(finished, arithmetic="integer")
    auxar.integers(finished)
    assert integers_of(finished).read_bytes() != before
    assert "belongs to other weights and is replaced" in caplog.text
    auxar.load(finished, arithmetic="integer")


def test_integers_are_made_again_with_the_recorded_numbers_of_bits(finished):
    for file in (integers_of(finished), integers_of(finished, "prior"), finished / "integer.json"):
        file.unlink()
    made = auxar.integers(finished, weights=9, images=8).digests
    integers_of(finished).unlink()
    assert auxar.integers(finished, images=8).digests == made


def test_a_run_with_integers_is_trained_further(finished, pictures):
    auxar.evaluate(finished, arithmetic="integer")
    shutil.copy(integers_of(finished), integers_of(finished).with_name("plugin.safetensors"))
    before = integers_of(finished).read_bytes()
    table = tiny(pictures, stage__0__support="restricted", sampling__rule="ancestral")
    run(finished, {**table, "sampling": {**table["sampling"], "images": 2}})
    assert len(pixels(finished / "samples")) == 2
    assert len(auxar.compare([finished, finished], arithmetic="integer").runs) == 2
    # The integers of older weights are kept, and not used.
    run(finished, {**table, "training": {**table["training"], "steps": 6}})
    assert integers_of(finished).read_bytes() == before
    assert "In integers" not in (finished / "report.html").read_text()
    for use in (auxar.load, auxar.evaluate, auxar.sample):
        with pytest.raises(UserError, match=r"was made from other weights than .* make it again with `auxar integers`"):
            use(finished, arithmetic="integer")
    older = r"evaluation-integer\.safetensors is an evaluation of other weights .*; run `auxar integers .*`, and then "
    with pytest.raises(UserError, match=older):
        auxar.compare([finished, finished], arithmetic="integer")
    auxar.integers(finished, images=8)
    with pytest.raises(UserError, match=older):
        auxar.compare([finished, finished], arithmetic="integer")
    auxar.evaluate(finished, arithmetic="integer")
    assert len(auxar.compare([finished, finished], arithmetic="integer").runs) == 2
    assert "In integers" in (finished / "report.html").read_text()


def change_description(path, change):
    tensors, metadata = read_tensors(path)
    description = json.loads(metadata[DESCRIPTION])
    change(description, tensors)
    write_tensors(path, tensors, {**metadata, DESCRIPTION: json.dumps(description)})
    (path.parents[2] / "integer.json").unlink()  # Otherwise the digest shows that the file was changed.


def drop_operation(description, tensors):
    description["network"].pop(3)


def unknown_kind(description, tensors):
    description["network"][0]["kind"] = "fft"


def no_embedding(description, tensors):
    del description["embedding"]


def not_a_list(description, tensors):
    description["network"] = 3


def large_multiplier(description, tensors):
    name = next(name for name in tensors if name.startswith("network/") and name.endswith("multiplier"))
    tensors[name] = tensors[name].to(torch.int64) * 2**40


def other_shape(description, tensors):
    name = next(name for name in tensors if name.endswith("weight") and tensors[name].shape[2] > 1)
    tensors[name] = tensors[name][:, :, :1].contiguous()


def empty_table(description, tensors):
    name = next(name for name in tensors if "/table." in name)
    tensors[name] = tensors[name][:0]


def one_channel_more(description, tensors):
    entry = next(entry for entry in description["network"] if entry["kind"] == "integer_sum")
    entry["inputs"][1] = next(each["name"] for each in description["network"] if "concat_elu" in each["name"])


@pytest.mark.parametrize(
    "change",
    [
        drop_operation,
        unknown_kind,
        no_embedding,
        not_a_list,
        large_multiplier,
        other_shape,
        empty_table,
        one_channel_more,
    ],
)
def test_files_that_do_not_belong_to_the_factor_are_refused(finished, change, capsys):
    change_description(integers_of(finished), change)
    assert main(["sample", str(finished), "--arithmetic", "integer", "-n", "1"]) == 2
    said = capsys.readouterr().err
    assert f"{integers_of(finished)}: these are not the integers of factor stage0" in said
    assert "Traceback" not in said


def test_missing_and_damaged_files_are_named(finished, capsys):
    path = integers_of(finished)
    path.write_bytes(path.read_bytes()[:-7])
    assert main(["sample", str(finished), "--arithmetic", "integer", "-n", "1"]) == 2
    assert f"{path} is damaged" in capsys.readouterr().err
    path.unlink()
    assert main(["sample", str(finished), "--arithmetic", "integer", "-n", "1"]) == 2
    assert (
        f"{path} is missing: the run is not converted to integers yet; convert it with `auxar"
        in capsys.readouterr().err
    )


def test_an_unknown_arithmetic_names_the_nearest(finished):
    with pytest.raises(UserError, match="arithmetic: 'integers' is unknown; did you mean 'integer'"):
        auxar.load(finished, arithmetic="integers")


def test_samples_in_integers_have_their_own_folder(finished):
    assert auxar.sample(finished, images=1, arithmetic="integer").name == "integer-ancestral-seed0"
    assert auxar.sample(finished, images=1, arithmetic="float").name == "ancestral-seed0"


def test_a_transformer_is_refused_by_name(tmp_path, pictures):
    prior = {"name": "transformer", "width": 8, "blocks": 1, "heads": 1}
    folder = tmp_path / "run"
    run(folder, tiny(pictures, stage=[], prior=prior))
    with pytest.raises(UserError, match="prior cannot be converted to integers: "):
        auxar.integers(folder)
    assert not integers_of(folder, "prior").exists()


def test_the_file_says_what_it_was_made_from(finished):
    metadata = read_metadata(integers_of(finished))
    assert json.loads(metadata["options"]) == {"weights": 12, "activations": 16}
