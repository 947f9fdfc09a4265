"""Tests of the recipe's key `arithmetic`, and of evaluations and comparisons in integers."""

import importlib
import json
import math
import shutil

import pytest
from helpers.evaluations import nats_of
from helpers.tiny_runs import run, stopping_at, tiny

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.evaluation.stored import read_evaluation
from auxar.files import read_checksum, read_tensors, write_tensors
from auxar.model import NetworkEmbedding
from auxar.report.summary import MeasuredRun, summary_lines


def recipe_of(pictures, bits=10, **changes):
    """A recipe with the arithmetic `integer`."""
    return tiny(pictures, stage__0__support="restricted", arithmetic={"name": "integer", "weights": bits}, **changes)


@pytest.fixture(scope="module")
def original(tmp_path_factory, pictures):
    """A run whose recipe has the arithmetic `integer`, with 10-bit weights."""
    return run(tmp_path_factory.mktemp("recipes") / "run", recipe_of(pictures))


@pytest.fixture
def finished(original, tmp_path):
    return shutil.copytree(original, tmp_path / "run")


def test_a_run_is_converted_evaluated_and_drawn_in_integers(original):
    evaluation = read_evaluation(original / "evaluation-integer.safetensors")
    floats = read_evaluation(original / "evaluation.safetensors")
    assert (evaluation.arithmetic, floats.arithmetic) == ("integer", "float")
    assert json.loads((original / "samples" / "samples.json").read_text())["arithmetic"] == "integer"
    record = json.loads((original / "integer.json").read_text())["factors"]
    assert json.loads(record["prior"]["options"]) == {"weights": 10, "activations": 16}
    # The likelihood is that of the integer model itself, and the cost is the mean difference on the same images.
    model = auxar.load(original)
    assert model.arithmetic == "integer"
    floats_of_images, integers = (nats_of(original, name=name).sum(0) for name in ("evaluation", "evaluation-integer"))
    apart = (floats_of_images - integers) / (math.log(2) * 192)
    cost = evaluation.cost(floats)
    assert cost.value == pytest.approx(apart.mean())
    assert cost.error == pytest.approx(apart.std(ddof=1) / len(apart) ** 0.5)
    assert [each.parameters for each in evaluation.factors] == [each.parameters for each in floats.factors]


PLACES = (
    ("auxar.runs.converted", "write_json", 1),
    ("auxar.training.conversion", "write_converted", 1),
    ("auxar.evaluation.likelihoods", "write_evaluation", 1),
    ("auxar.evaluation.likelihoods", "write_evaluation", 2),
    ("auxar.draw.figures", "Samples", 1),
    ("auxar.draw.samples", "write_sheets", 1),
    ("auxar.pipeline", "update_report", 1),
)
"""Functions, and the number of the call in which a run is killed, in the order of a run whose factors are trained: a
factor is converted and not recorded, the other one is not converted, the run is not evaluated, ..."""


def results(folder):
    """The contents, or the checksums, of the files that are made after training."""
    names = ("evaluation*", "integer.json", "factors/*/integer.safetensors", "samples/images/*.png", "samples/*.png")
    files = [file for name in names for file in folder.glob(name)]
    assert len(files) == 2 + 1 + 2 + 3 + 3
    return {
        str(file.relative_to(folder)): read_checksum(file) if file.suffix == ".safetensors" else file.read_bytes()
        for file in files
    }


@pytest.mark.slow
def test_a_run_that_is_killed_after_its_conversion_ends_like_another(original, pictures, tmp_path):
    """The run is trained further, which replaces its integers."""
    whole, folder = (shutil.copytree(original, tmp_path / name) for name in ("whole", "run"))
    table = recipe_of(pictures, training__steps=6)
    for module, name, number in PLACES:
        with stopping_at(importlib.import_module(module), name, number):
            run(folder, table)
    assert results(run(folder, table)) == results(run(whole, table))


def test_summary_report_and_evaluate_say_what_integers_cost(finished, capsys):
    bits = read_evaluation(finished / "evaluation-integer.safetensors").bits_per_dim().value
    sentence = f"in integers: {bits:.4f} bits/dim, a difference of "
    assert any(sentence in line for line in summary_lines(MeasuredRun(finished).summary))
    assert "In integers: " in (finished / "report.html").read_text()
    assert main(["evaluate", str(finished)]) == 0
    assert sentence in capsys.readouterr().out
    assert main(["evaluate", str(finished), "--json"]) == 0
    table = json.loads(capsys.readouterr().out)
    cost = table["others"]["integer"]["bits_per_dim"]["heldout"] - table["bits_per_dim"]["heldout"]
    assert table["others"]["integer"]["cost"]["heldout"]["bits_per_dim"] == pytest.approx(cost)
    # The stored evaluation in integers does not belong to an evaluation of other images.
    assert main(["evaluate", str(finished), "--arithmetic", "float", "--set", "evaluation.heldout_images=3"]) == 0
    assert "in integers" not in capsys.readouterr().out
    assert "In integers: " not in (finished / "report.html").read_text()


def test_a_model_in_integers_is_not_saved(finished, tmp_path):
    with pytest.raises(UserError, match="the arithmetic 'integer', whose numbers cannot be trained or saved"):
        auxar.load(finished).save(tmp_path / "saved")


def test_the_recipes_arithmetic_is_the_default(finished):
    assert auxar.sample(finished, images=1).name.startswith("integer-")
    assert not auxar.sample(finished, images=1, arithmetic="float").name.startswith("integer-")
    assert auxar.load(finished, arithmetic="float").arithmetic == "float"


def test_a_run_of_floats_can_be_continued_in_integers(tmp_path, pictures):
    recipe = tiny(pictures)
    folder = run(tmp_path / "run", recipe)
    assert not (folder / "integer.json").exists()
    with pytest.raises(UserError, match=r"no evaluation-integer\.safetensors; run `auxar evaluate .* --arithmetic int"):
        auxar.compare([folder], arithmetic="integer")
    with pytest.raises(UserError, match="is not converted to integers yet; run `auxar integers "):
        auxar.evaluate(folder, arithmetic="integer")
    run(folder, {**recipe, "arithmetic": "integer"})
    report = (folder / "report.html").stat()
    assert "In integers: " in (folder / "report.html").read_text()
    run(folder, {**recipe, "arithmetic": "integer"})
    assert (folder / "report.html").stat().st_mtime_ns == report.st_mtime_ns  # The run was finished.


def test_integers_that_were_deleted_are_made_again_only_if_they_are_the_same(finished):
    path = finished / "factors" / "prior" / "integer.safetensors"
    before = auxar.integers(finished).digests
    path.unlink()
    assert auxar.integers(finished).digests == before
    path.unlink()
    # Numbers of bits are those of the run. Ranges from few images differ, so the numbers differ.
    with pytest.raises(UserError, match=r"factor prior .* has the digest .*, but it was converted before with "):
        auxar.integers(finished, images=1)
    assert not path.exists()


def test_an_exported_run_has_its_integers(finished, tmp_path):
    before = auxar.integers(finished).digests
    exported = auxar.export(finished, tmp_path / "exported").path
    assert auxar.integers(exported).digests == before
    assert auxar.compare([finished, exported], arithmetic="integer").runs[1].bits_per_dim is not None
    halved = auxar.export(finished, tmp_path / "half", half=True).path
    assert not (halved / "integer.json").exists()
    assert auxar.load(halved).arithmetic == "float"


def test_a_file_with_other_numbers_than_recorded_is_refused(finished):
    path = finished / "factors" / "prior" / "integer.safetensors"
    tensors, metadata = read_tensors(path)
    name = next(name for name in tensors if name.endswith(".bias"))
    write_tensors(path, {**tensors, name: tensors[name] + 1}, metadata)
    for recorded in (None, 10**5 * "f"):
        if recorded is not None:
            record = json.loads((finished / "integer.json").read_text())
            record["factors"]["prior"]["digest"] = recorded
            (finished / "integer.json").write_text(json.dumps(record))
        for command in (auxar.load, auxar.integers):
            with pytest.raises(
                UserError, match=r"integer\.safetensors has the digest .* records .*; restore the original$"
            ) as error:
                command(finished)
            assert len(str(error.value)) < 1000


def test_other_bits_leave_the_recipe_of_a_run_alone(finished, pictures):
    before = (finished / "recipe.toml").read_bytes()
    with pytest.raises(UserError, match=r"other numbers of bits: expected .*\"weights\": 9}, found .*\"weights\": 10"):
        run(finished, recipe_of(pictures, bits=9))
    assert (finished / "recipe.toml").read_bytes() == before


def test_an_evaluation_of_other_integers_is_not_current(finished):
    for path in (finished / "integer.json", *finished.glob("factors/*/integer.safetensors")):
        path.unlink()
    auxar.integers(finished, images=1)
    assert MeasuredRun(finished).summary.others == []
    auxar.evaluate(finished)
    assert len(MeasuredRun(finished).summary.others) == 1


def test_an_embedding_that_encodes_other_integers_is_refused(finished, monkeypatch):
    for path in (finished / "integer.json", *finished.glob("factors/*/integer.safetensors")):
        path.unlink()
    right = NetworkEmbedding.encode_integers
    monkeypatch.setattr(NetworkEmbedding, "encode_integers", lambda self, view: right(self, view.flip(3)))
    with pytest.raises(UserError, match=r"stage0 cannot be converted .*: `encode` is not `encode_integers`"):
        auxar.integers(finished, images=1)


def test_files_of_others_are_not_replaced_in_the_folder_of_a_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "emoji32_color").mkdir()
    (tmp_path / "emoji32_color" / "integer.json").write_text("[1, 2]")
    with pytest.raises(UserError, match=r"emoji32_color/integer\.json is not a file of auxar and is not replaced"):
        auxar.integers("emoji32_color")


def test_networks_without_integers_are_refused_before_training(pictures, tmp_path):
    prior = {"name": "transformer", "width": 8, "blocks": 1, "heads": 1}
    with pytest.raises(UserError, match="prior cannot be converted to integers: "):
        run(tmp_path / "run", tiny(pictures, stage=[], prior=prior, arithmetic="integer"))
    assert not (tmp_path / "run").exists()
