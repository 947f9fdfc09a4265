"""Tests of runs in integers: files, commands, and images that do not depend on how they are drawn."""

import json
import re
import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
from helpers.evaluations import figures_of
from helpers.tiny_runs import run, stopping_after, tiny
from PIL import Image

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.files import read_tensors, write_tensors
from auxar.recipe import ComponentChoice
from auxar.runs.converted import DESCRIPTION
from auxar.runs.layout import RunFolder
from auxar.training.conversion import is_converted
from auxar_codec import compress, decompress


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


def test_integers_are_kept_and_replaced_only_with_the_weights(finished, caplog, capsys):
    before = integers_of(finished).read_bytes()
    assert main(["integers", str(finished)]) == 0
    assert len(capsys.readouterr().out.split()[1]) == 64
    unused = "all factors have integers already, so the options --images and --set are not used"
    assert unused not in caplog.messages
    for options in (["--images", str(10**12)], ["--set", "data.path=/nonexistent"]):
        caplog.clear()
        assert main(["integers", str(finished), *options]) == 0
        assert unused in caplog.messages
    assert main(["integers", str(finished), "--weights", "3"]) == 2
    assert "auxar: --weights: expected an integer from 4 to 16, got 3" in capsys.readouterr().err
    assert integers_of(finished).read_bytes() == before
    # Other weights make the integers useless, and they are replaced.
    weights = finished / "factors" / "stage0" / "weights.safetensors"
    tensors, metadata = read_tensors(weights)
    write_tensors(weights, {name: tensor * 1.01 for name, tensor in tensors.items()}, metadata)
    with pytest.raises(UserError, match=r"was made from other weights than .* make it again with `auxar integers`"):
        auxar.load(finished, arithmetic="integer")
    auxar.export(finished, finished.with_name("incomplete"))
    assert not list(finished.with_name("incomplete").rglob("integer.*"))
    assert "run has no file of it for the present weights of stage0" in caplog.text
    auxar.integers(finished)
    assert integers_of(finished).read_bytes() != before
    assert "or belongs to other weights, and is replaced; files made with older integers need " in caplog.text
    auxar.load(finished, arithmetic="integer")


def test_a_run_with_integers_is_trained_further(finished, pictures, monkeypatch):
    monkeypatch.chdir(finished.parent)
    auxar.evaluate(finished, arithmetic="integer")
    shutil.copy(integers_of(finished), integers_of(finished).with_name("plugin.safetensors"))
    before = integers_of(finished).read_bytes()
    table = tiny(pictures, stage__0__support="restricted", sampling__rule="ancestral")
    run(finished, {**table, "sampling": {**table["sampling"], "images": 2}})
    assert len(pixels(finished / "samples")) == 2
    assert len(auxar.compare([finished, finished], arithmetic="integer").runs) == 2
    assert not (finished / "older").exists()
    compress(finished, [pictures / "000.png"], "a.auxar")
    # The integers of older weights are kept, and used for files alone.
    run(finished, {**table, "training": {**table["training"], "steps": 6}})
    assert integers_of(finished).read_bytes() == before
    assert "In integers" not in (finished / "report.html").read_text()
    for use in (auxar.load, auxar.evaluate, auxar.sample):
        with pytest.raises(UserError, match=r"was made from other weights than .* make it again with `auxar integers`"):
            use(finished, arithmetic="integer")
    stale = r"evaluation-integer\.safetensors is an evaluation of other weights .*; run `auxar integers .*`, and then "
    with pytest.raises(UserError, match=stale):
        auxar.compare([finished, finished], arithmetic="integer")
    auxar.integers(finished, images=8)
    (decoded,) = decompress("a.auxar", "out", run=finished).paths
    (older,) = (finished / "older").iterdir()
    integers_of(older, "prior").write_bytes(b"damaged")
    with pytest.raises(UserError, match=f"{re.escape(str(integers_of(older, 'prior')))}.*; restore it from a copy"):
        decompress("a.auxar", "again", run=finished)
    assert Image.open(decoded).tobytes() == Image.open(pictures / "000.png").tobytes()
    with pytest.raises(UserError, match=stale):
        auxar.compare([finished, finished], arithmetic="integer")
    auxar.evaluate(finished, arithmetic="integer")
    assert len(auxar.compare([finished, finished], arithmetic="integer").runs) == 2
    assert "In integers" in (finished / "report.html").read_text()


def test_integers_that_are_made_during_further_training_are_kept(finished, pictures, caplog):
    for name in ("stage0", "prior"):
        integers_of(finished, name).unlink()
    table = tiny(pictures, stage__0__support="restricted", sampling__rule="ancestral")
    longer = {**table, "training": {**table["training"], "steps": 9, "checkpoint_every": 1}}
    with stopping_after(2):
        run(finished, longer)
    assert not (finished / "older").exists()
    auxar.integers(finished, images=8)
    (kept,) = (finished / "older").iterdir()
    assert integers_of(kept).is_file()
    integers_of(finished).write_bytes(b"damaged")
    run(finished, longer)
    assert "files that were made with these integers cannot be decoded after this training" in caplog.text


def large_multiplier(description, tensors):
    name = next(name for name in tensors if "multiplier" in name)
    tensors[name] = tensors[name].to(torch.int64) * 2**40


def other_shape(description, tensors):
    name = next(name for name in tensors if name.endswith("weight") and tensors[name].shape[2] > 1)
    tensors[name] = tensors[name][:, :, :1].contiguous()


CHANGES: dict[str, Callable[[dict[str, Any], dict[str, torch.Tensor]], object]] = {
    "an operation is missing": lambda description, _: description["network"].pop(3),
    "a kind is unknown": lambda description, _: description["network"][0].update(kind="fft"),
    "a large multiplier": large_multiplier,
    "another shape": other_shape,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_files_that_do_not_belong_to_the_factor_are_refused(finished, change):
    tensors, metadata = read_tensors(path := integers_of(finished))
    description = json.loads(metadata[DESCRIPTION])
    change(description, tensors)
    write_tensors(path, tensors, {**metadata, DESCRIPTION: json.dumps(description)})
    (finished / "integer.json").unlink()  # Otherwise the digest shows that the file was changed.
    with pytest.raises(UserError, match=re.escape(f"{path}: these are not the integers of factor stage0")):
        auxar.load(finished, arithmetic="integer")


def test_missing_and_damaged_files_are_named_and_made_again(finished):
    before = auxar.integers(finished).digests
    for path in (finished / "integer.json", integers_of(finished)):
        path.write_bytes(path.read_bytes()[:-7] + b"damaged")
        with pytest.raises(UserError, match=f"{path} is damaged: .*; delete this file, and `auxar integers` makes it"):
            auxar.load(finished, arithmetic="integer")
        if path.suffix == ".json":
            path.unlink()
        assert auxar.integers(finished, images=8).digests == before
        auxar.load(finished, arithmetic="integer")
    path.write_bytes(b"")
    with pytest.raises(UserError, match="get the model again"):  # Nothing is written into the folders of models.
        is_converted(RunFolder(finished, "user/name"), "stage0", ComponentChoice("integer"))
    path.unlink()
    with pytest.raises(UserError, match=f"{path} is missing: the run is not converted to integers yet; run `auxar int"):
        auxar.load(finished, arithmetic="integer")
