"""Tests of the commands `compress` and `decompress`: real runs, real pictures, damaged files."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.golden_models import MODELS, golden_images, make_golden_run
from helpers.plain_decoder import decoded_images
from helpers.tiny_runs import PROJECT
from PIL import Image

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.testing import check_command
from auxar_codec import compress, decompress
from auxar_codec.container import read_container

every_model = pytest.mark.parametrize("run", MODELS, indirect=True)
"""Repeats a test for each model. Tests that lack it examine what does not depend on the model."""


@pytest.fixture(scope="module")
def packed(run, images, tmp_path_factory):
    """A file of all images, made with the model of `run`."""
    path = tmp_path_factory.mktemp("packed") / "a.auxar"
    compress(run, [images], path)
    return path


def pixels(path):
    with Image.open(path) as picture:
        return picture.mode, np.asarray(picture)


def same(one, other):
    return pixels(one)[0] == pixels(other)[0] and np.array_equal(pixels(one)[1], pixels(other)[1])


@every_model
def test_images_are_decoded_without_loss(run, images, packed, tmp_path):
    found = decompress(packed, tmp_path / "out", run=run)
    assert not found.damaged
    assert [path.name for path in found.paths] == sorted(path.name for path in images.iterdir())
    assert all(same(path, images / path.name) for path in found.paths)


def test_both_commands_keep_the_contract_of_commands(run, images, tmp_path):
    out = tmp_path / "a.auxar"
    assert check_command(compress, run, images / "0.png", "-o", out)["images"] == 1
    assert check_command(decompress, out, "-o", tmp_path, "--run", run) == {
        "files": [str(tmp_path / "0.png")],
        "damaged": [],
    }
    assert auxar.decompress is decompress  # type: ignore[attr-defined]
    assert auxar.compress is compress  # type: ignore[attr-defined]
    assert decompress(out, list=True).container.entries == read_container(out).entries


@every_model
def test_a_decoder_in_plain_python_reads_the_same_images(run, packed):
    """The decoder follows the docstring of `container.py`. Only networks, frequencies and intervals come from auxar."""
    found = decoded_images(packed.read_bytes(), auxar.load(run, arithmetic="integer"), most=1)
    assert len(found) == 1
    for name, image in found.items():
        assert np.array_equal(image, golden_images()[int(name.removesuffix(".png"))].numpy())


@every_model
def test_the_file_has_the_bits_of_the_likelihoods(run, images, packed):
    model = auxar.load(run, arithmetic="integer")
    bits = float(model.bits_per_dim([images]).sum()) * model.image.dims
    streams = sum(entry.size for entry in read_container(packed).entries)
    count = len(golden_images())
    assert bits <= 8 * streams + 16 * count
    assert 8 * streams <= bits * 1.001 + 8 * 4 * 2 * count


def test_sizes_colors_and_metadata_are_kept(run, tmp_path):
    numbers = np.random.default_rng(0)
    gray = numbers.integers(0, 256, (5, 21), dtype=np.uint8)
    color = numbers.integers(0, 256, (17, 8, 3), dtype=np.uint8)
    (tmp_path / "in").mkdir()
    Image.fromarray(gray).save(tmp_path / "in" / "gray.png", icc_profile=b"profile")
    Image.fromarray(color).save(tmp_path / "in" / "color.bmp")
    made = compress(run, [tmp_path / "in"], tmp_path / "a.auxar")
    assert (made.images, made.sub_pixels) == (2, 5 * 21 + 17 * 8 * 3)
    found = decompress(tmp_path / "a.auxar", tmp_path / "out", run=run)
    assert [path.name for path in found.paths] == ["color.bmp.png", "gray.png"]
    assert same(tmp_path / "out" / "color.bmp.png", tmp_path / "in" / "color.bmp")
    assert same(tmp_path / "out" / "gray.png", tmp_path / "in" / "gray.png")
    with Image.open(tmp_path / "out" / "gray.png") as picture:
        assert picture.info["icc_profile"] == b"profile"


@every_model
def test_views_are_decoded_from_a_part_of_the_file(run, images, packed, tmp_path):
    found = decompress(packed, tmp_path, depth=1, run=run, only=["3.png"])
    model = auxar.load(run)
    view = model.chain.views(golden_images()[3:4])[1]
    expected = auxar.Images(view, model.chain.specs[1]).to_pil()[0]
    assert np.array_equal(pixels(found.paths[0])[1], np.asarray(expected))


def test_the_model_is_found_by_its_digests(run, packed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(packed, tmp_path / "a.auxar")
    assert main(["decompress", "a.auxar", "-o", "out", "--only", "0.png"]) == 2
    assert f"was made with the model '{run.name}', which is not among the models that come" in capsys.readouterr().err
    shutil.copytree(run, tmp_path / "runs" / "of another name")
    assert main(["decompress", "a.auxar", "-o", "out", "--only", "0.png"]) == 0
    other = next(name for name in MODELS if name != run.name)
    make_golden_run(tmp_path / other, other)
    assert main(["decompress", "a.auxar", "-o", "other", "--only", "0.png", "--run", other]) == 2
    assert "a.auxar was made with another model: " in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_plugins_of_a_run_that_was_not_named_are_not_loaded(run, packed, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.copy(packed, "a.auxar")
    recipe = shutil.copytree(run, "found") + "/recipe.toml"
    Path(recipe).write_text('plugins = ["plugins/marking.py"]\n' + Path(recipe).read_text())
    Path("found/plugins").mkdir()
    hook = "from auxar import hookimpl\n@hookimpl\ndef auxar_register_components(): return []\n"
    Path("found/plugins/marking.py").write_text(f"{hook}AUXAR_INTERFACE = 1\nopen('marked', 'w').close()\n")
    arguments = ["decompress", "a.auxar", "-o", "out"]
    assert main(arguments) == 2
    assert "a.auxar was made with the model in found, which cannot be loaded: " in capsys.readouterr().err
    arguments.append("--trust-plugins")
    assert main(arguments) == 2
    assert capsys.readouterr().err == "auxar: --trust-plugins: plugins are trusted only of a run named with --run\n"
    assert not Path("marked").exists()
    assert main([*arguments, "--run", "found"]) == 0
    assert Path("marked").exists()


def test_existing_files_are_kept(run, images, packed, tmp_path):
    out, picture, link = (tmp_path / name for name in ("a.auxar", "0.png", "b"))
    out.write_text("mine")
    picture.write_text("mine")
    link.symlink_to(picture)
    with pytest.raises(UserError, match="exists; files are replaced only with --replace"):
        compress(run, images / "0.png", out)
    with pytest.raises(UserError, match=r"0\.png exists; regular files are replaced only with --replace"):
        decompress(packed, tmp_path, run=run)
    with pytest.raises(UserError, match="found a link"):
        compress(run, images, link, replace=True)
    assert (out.read_text(), picture.read_text()) == ("mine", "mine")
    assert not (tmp_path / "1.png").exists(), "nothing is written if a picture exists"
    compress(run, images / "0.png", out, replace=True)
    decompress(out, tmp_path, run=run, replace=True)
    assert same(picture, images / "0.png")


def test_damaged_images_are_named_and_the_others_decoded(run, images, packed, tmp_path, capsys):
    content = bytearray(packed.read_bytes())
    sizes = [entry.size for entry in read_container(packed).entries]
    content[len(content) - sum(sizes) + sizes[0] + 3] ^= 16
    (tmp_path / "a.auxar").write_bytes(content[:-5])
    arguments = ["decompress", str(tmp_path / "a.auxar"), "-o", str(tmp_path / "out"), "--run", str(run), "--json"]
    assert main(arguments) == 2
    told = capsys.readouterr()
    names = [entry.name for entry in read_container(packed).entries]
    assert json.loads(told.out)["damaged"] == [names[1], names[-1]]
    assert f"these images are damaged or missing: {names[1]}, {names[-1]}" in told.err
    written = sorted((tmp_path / "out").iterdir())
    assert len(written) == len(names) - 2
    assert all(same(path, images / path.name) for path in written)
    views = decompress(tmp_path / "a.auxar", tmp_path / "views", depth=1, run=run)
    assert views.damaged == (names[1],), "the view of the last image is there, although the file is cut"
    whole = decompress(packed, tmp_path / "whole", depth=1, run=run)
    assert all(same(path, tmp_path / "whole" / path.name) for path in views.paths)
    assert len(views.paths) == len(whole.paths) - 1


def test_damage_never_gives_wrong_pixels(monkeypatch):
    """If bytes anywhere are changed, images are decoded as they were, or named, or the file is refused."""
    monkeypatch.syspath_prepend(PROJECT / "tests" / "fuzz")
    fuzz = importlib.import_module("archives")
    outcomes = fuzz.outcomes_of(0, range(30), fuzz.Limits(seconds=20, memory=4))
    assert {found.kind for found in outcomes} <= {"result", "error"}, [found.words for found in outcomes]


def test_a_file_is_described(run, packed, capsys):
    assert main(["decompress", str(packed), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"model {run.name}, images of 8×8×3 with 256 levels"
    assert main(["decompress", str(packed), "--list", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    stages = [f"stage{depth}" for depth in range(len(MODELS[run.name]["stage"]))]
    assert [factor["factor"] for factor in record["factors"]] == ["prior", *reversed(stages)]
    assert record["images"][0]["shape"] == [3, 8, 8]


def test_wrong_arguments_are_named(run, images, packed, tmp_path):
    picture, out = shutil.copy(images / "0.png", tmp_path), tmp_path / "new.auxar"
    for call, message in (
        (lambda: compress(run, [images, tmp_path], out), "would be decompressed to the same file 0.png"),
        (lambda: compress(run, tmp_path / "none", out), "there is no file or folder"),
        (lambda: compress(run, picture, picture, replace=True), "is one of the pictures; choose another name with -o"),
        (lambda: decompress(packed, tmp_path, depth=3), "depth: expected 0 … "),
        (lambda: decompress(packed, tmp_path, only=["77.png"], run=run), "has no image '77.png'; did you mean"),
        (lambda: decompress(images / "0.png", tmp_path), "was not made by `auxar compress`"),
        (lambda: decompress(images, list=True), "not a regular file"),
        (lambda: decompress(packed), "out: expected a folder for the pictures; --list lists the images without one"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            call()
    assert not out.exists()
    assert same(picture, images / "0.png")


@pytest.mark.parametrize("run", ["pyramid", "grayscale"], indirect=True)
def test_many_tiles_views_of_tiles_and_gray_pictures(run, tmp_path):
    """More tiles than are coded at once, of two pictures and of a picture of its own."""
    numbers = np.random.default_rng(1)
    steps = np.arange(26)[:, None, None] + 2 * np.arange(35)[None, :, None]
    color = (steps + numbers.integers(0, 9, (26, 35, 3))).clip(0, 255).astype(np.uint8)
    gray = color[:18, :, 0]
    (tmp_path / "in").mkdir()
    Image.fromarray(color).save(tmp_path / "in" / "a.png")
    Image.fromarray(gray).save(tmp_path / "in" / "b.png")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auxar_codec.archive.ENCODED_DIMS", 9 * 192)
        patch.setattr("auxar_codec.archive.DECODED_DIMS", 7 * 192)
        compress(run, [tmp_path / "in"], tmp_path / "a.auxar")
        found = decompress(tmp_path / "a.auxar", tmp_path / "out", run=run)
        views = decompress(tmp_path / "a.auxar", tmp_path / "views", run=run, depth=1)
    assert np.array_equal(pixels(found.paths[0])[1], color)
    assert np.array_equal(pixels(found.paths[1])[1], gray)
    compress(run, [tmp_path / "in"], tmp_path / "at-once.auxar")
    assert (tmp_path / "at-once.auxar").read_bytes() == (tmp_path / "a.auxar").read_bytes()
    model = auxar.load(run)
    whole = np.pad(color, ((0, 6), (0, 5), (0, 0)), mode="edge")
    tiles = whole.reshape(4, 8, 5, 8, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 8, 8).astype(np.int64)
    view, spec = model.chain.views(torch.from_numpy(tiles))[1], model.chain.specs[1]
    shown = [np.asarray(each) for each in auxar.Images(view, spec).to_pil()]
    joined = np.concatenate([np.concatenate(shown[5 * row : 5 * row + 5], axis=1) for row in range(4)])
    height, width = pixels(views.paths[0])[1].shape[:2]
    assert (height, width) == ((13, 18) if run.name == "pyramid" else (26, 35))
    assert np.array_equal(pixels(views.paths[0])[1], joined[:height, :width])


def test_names_that_other_systems_cannot_have_are_refused(run, images, tmp_path):
    for names, message in (
        (["a\\b.png"], "the name of an image is kept, and it contains '\\\\'"),
        (["a" * 230 + ".png"], "the name of an image is kept, and it has 234 bytes, and at most 200 are allowed"),
        ([b"\xff.png".decode("utf-8", "surrogateescape")], "the name of an image is kept, and it is not UTF-8"),
        (["b.jpg", "b.jpg.png"], "would be decompressed to the same file b.jpg.png"),
        (["b.png", "B.PNG"], "would be decompressed to the same file B.PNG"),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            compress(run, [shutil.copy(images / "0.png", tmp_path / name) for name in names], tmp_path / "a.auxar")


def test_pictures_and_their_index_are_checked_before_the_first_is_encoded(run, images, tmp_path, monkeypatch):
    count, stages = len(golden_images()), len(MODELS[run.name]["stage"])
    most = 4 + sum(len(path.name) + 1 for path in images.iterdir()) + count * 4 * (8 + stages)
    monkeypatch.setattr("auxar_codec.index.MOST_INDEX", most)
    compress(run, [images], tmp_path / "b.auxar")
    monkeypatch.setattr("auxar_codec.compression.Compression.compute", None)
    monkeypatch.setattr("auxar_codec.index.MOST_INDEX", most - 1)
    message = f"whose index would have {most} bytes, and at most {most - 1} are allowed"
    with pytest.raises(UserError, match=message):
        compress(run, images, tmp_path / "c.auxar")
    shutil.copytree(images, tmp_path / "in")
    Image.new("RGBA", (8, 8)).save(tmp_path / "in" / "z.png")
    with pytest.raises(UserError, match=r"z\.png cannot be compressed: it has transparency"):
        compress(run, tmp_path / "in", tmp_path / "a.auxar")


def test_a_file_has_the_digests_of_the_integers_that_were_used(run, images, packed, tmp_path):
    """A record of digests may be missing. The digests of the model itself are compared all the same."""
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "integer.json").unlink()
    compress(copy, [images / "0.png"], tmp_path / "a.auxar")
    assert read_container(tmp_path / "a.auxar").header.factors == read_container(packed).header.factors
    other = next(name for name in MODELS if name != run.name)
    make_golden_run(tmp_path / other, other)
    (tmp_path / other / "integer.json").unlink()
    with pytest.raises(UserError, match="was made with another model"):
        decompress(packed, tmp_path / "out", depth=1, run=tmp_path / other)
    assert not (tmp_path / "out").exists()
