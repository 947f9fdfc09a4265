"""Tests of the commands `compress` and `decompress`: real runs, real pictures, damaged files."""

import contextlib
import json
import os
import re
import shutil
import zlib
from pathlib import Path
from random import Random
from typing import Any

import attrs
import numpy as np
import pytest
import torch
from helpers.damage import change_bytes
from helpers.golden_models import MODELS, golden_images, make_golden_run
from helpers.killing import REPETITIONS
from helpers.plain_decoder import decoded_images
from helpers.tiny_runs import snapshot
from PIL import Image

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.testing import check_command
from auxar_codec import codec, compress, decompress
from auxar_codec.archive import Archiver, header_of, model_of
from auxar_codec.container import packed_container, read_container
from auxar_codec.index import number_of_tiles
from auxar_codec.tiles import from_tiles, to_tiles

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


def test_both_commands_keep_the_contract_of_commands(run, images, tmp_path):
    out = tmp_path / "a.auxar"
    assert check_command(compress, run, images / "0.png", "-o", out)["images"] == 1
    found = check_command(decompress, out, "-o", tmp_path, "--run", run)
    assert found == {"files": [str(tmp_path / "0.png")], "damaged": []}
    assert auxar.decompress is decompress  # type: ignore[attr-defined]
    assert auxar.compress is compress  # type: ignore[attr-defined]
    assert decompress(out, list=True).container.entries == read_container(out).entries


@every_model
def test_a_decoder_in_plain_python_reads_the_same_images(run, images, packed):
    """The decoder follows the docstring of `container.py`. Only networks, frequencies and intervals come from auxar."""
    found = decoded_images(packed.read_bytes(), auxar.load(run, arithmetic="integer"), most=1)
    assert len(found) == 1
    for name, image in found.items():
        assert np.array_equal(image.transpose(1, 2, 0), pixels(images / name)[1])


def test_the_model_is_found_by_its_digests(run, packed, tmp_path, refused):
    shutil.copy(packed, tmp_path / "a.auxar")
    told = refused("decompress", "a.auxar", "-o", "out", "--only", "0.png")
    assert f"was made with the model '{run.name}', which is not among the models that come" in told
    shutil.copytree(run, tmp_path / "runs" / "of another name")
    assert main(["decompress", "a.auxar", "-o", "out", "--only", "0.png"]) == 0


def test_plugins_of_a_run_that_was_not_named_are_not_loaded(run, packed, refused):
    shutil.copy(packed, "a.auxar")
    recipe = shutil.copytree(run, "found") + "/recipe.toml"
    Path(recipe).write_text('plugins = ["plugins/marking.py"]\n' + Path(recipe).read_text())
    Path("found/plugins").mkdir()
    hook = "from auxar import hookimpl\n@hookimpl\ndef auxar_register_components(): return []\n"
    Path("found/plugins/marking.py").write_text(f"{hook}AUXAR_INTERFACE = 1\nopen('marked', 'w').close()\n")
    arguments = ["decompress", "a.auxar", "-o", "out"]
    assert "a.auxar was made with the model in found, which cannot be loaded: " in refused(*arguments)
    arguments.append("--trust-plugins")
    assert refused(*arguments) == "--trust-plugins: plugins are trusted only of a run named with --run"
    assert not Path("marked").exists()
    assert main([*arguments, "--run", "found"]) == 0
    assert Path("marked").exists()


def test_damaged_images_are_named_and_the_others_decoded(run, images, packed, tmp_path, capsys):
    content = bytearray(packed.read_bytes())
    sizes = [entry.size for entry in read_container(packed).entries]
    content[len(content) - sum(sizes) + sizes[0] + 3] ^= 16
    (tmp_path / "a.auxar").write_bytes(content[:-20])
    arguments = ["decompress", str(tmp_path / "a.auxar"), "-o", str(tmp_path / "out"), "--run", str(run), "--json"]
    assert main(arguments) == 2
    told = capsys.readouterr()
    names = [entry.name for entry in read_container(packed).entries]
    assert json.loads(told.out)["damaged"] == [names[1], names[-1]]
    assert f"these images are damaged or missing: {names[1]}, {names[-1]}" in told.err
    written = sorted((tmp_path / "out").iterdir())
    before = snapshot(tmp_path)
    assert main(["decompress", str(tmp_path / "a.auxar"), "--check", "--run", str(run)]) == 2
    told = capsys.readouterr()
    assert told.out == f"{tmp_path / 'a.auxar'}: {len(names) - 2} of {len(names)} images were decoded\n"
    assert f"these images are damaged or missing: {names[1]}, {names[-1]}" in told.err
    assert decompress(packed, check=True, only=names[:2], run=run).checked == 2
    assert snapshot(tmp_path) == before
    assert len(written) == len(names) - 2
    assert all(same(path, images / path.name) for path in written)
    views = decompress(tmp_path / "a.auxar", tmp_path / "views", depth=1, run=run)
    assert views.damaged == (names[1],), "the view of the last image is there, although the file is cut"
    whole = decompress(packed, tmp_path / "whole", depth=1, run=run)
    assert all(same(path, tmp_path / "whole" / path.name) for path in views.paths)
    assert len(views.paths) == len(whole.paths) - 1


@every_model
def test_damage_never_gives_wrong_pixels(run, packed, tmp_path):
    """If bytes anywhere are changed, images are decoded as they were, or named, or the file is refused."""
    model = auxar.load(run, "cpu", arithmetic="integer")

    def decoded(path, depth):
        container = read_container(path)
        model_of(container, model)
        found = Archiver(model, container.header).decode(container, container.entries, depth)
        return {entry.name: picture.pixels for entry, picture in found if picture is not None}

    right = [decoded(packed, depth) for depth in (0, 1)]
    for number in range(10 * REPETITIONS):
        content, random = bytearray(packed.read_bytes()), Random(number)
        for _ in range(random.randint(1, 4)):
            change_bytes(random, content)
        (tmp_path / "a.auxar").write_bytes(content)
        with contextlib.suppress(UserError):
            for name, found in decoded(tmp_path / "a.auxar", number % 2).items():
                assert np.array_equal(found, right[number % 2][name]), (number, name)


def test_a_file_is_described(run, packed, capsys):
    assert main(["decompress", str(packed), "--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith(f"model {run.name}, images without tiles, digest ")
    assert main(["decompress", str(packed), "--list", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["lags"]) == 1 + len(MODELS[run.name]["stage"])
    assert record["images"][0]["shape"] == [3, 8, 8]


def test_wrong_arguments_are_named(run, images, packed, tmp_path):
    picture, out, own = shutil.copy(images / "0.png", tmp_path), tmp_path / "new.auxar", codec(run)
    wrong: Any = 1.0
    (titled := Image.open(picture)).info["icc_profile"] = "sRGB"
    os.mkfifo(tmp_path / "1.png")
    (tmp_path / "link").symlink_to(picture)
    for call, message in (
        (lambda: compress(run, torch.tensor(2), out), "paths: expected "),
        (lambda: compress(run, [images, picture], out), "would be decompressed to the same file 0.png; rename one"),
        (lambda: compress(run, [picture, picture], out), "decompressed to the same file 0.png; give it once"),
        (lambda: compress(run, tmp_path, out), "1.png cannot be compressed: it is not a regular file"),
        (lambda: compress(run, images, wrong), "out: expected a path (a string or a pathlib.Path), got 1.0 (float)"),
        (lambda: compress(run, images, packed, replace=wrong), "replace: expected True or False, got 1.0 (float)"),
        (lambda: compress(run, images, out, tile="0x8"), "tile: expected HEIGHTxWIDTH, such as 96x64, got '0x8'"),
        (lambda: decompress(wrong, list=True), "path: expected a path (a string or a pathlib.Path), got 1.0 (float)"),
        (lambda: decompress(packed, list=wrong), "list: expected True or False, got 1.0 (float)"),
        (lambda: decompress(packed, list=True, only=["0.png"]), "or --list of all pictures, without one"),
        (lambda: decompress(packed, tmp_path, depth=wrong), "depth: expected an integer from 0 to 1, got 1.0 (float)"),
        (lambda: decompress(packed, tmp_path, only=["1.png"], run=run), "1.png exists; regular files are replaced"),
        (lambda: own.encode(titled), "its color profile is not bytes, but of the type str"),
        (lambda: own.decode(packed, only=wrong), "only: expected a list of names of images, got 1.0 (float)"),
        (lambda: own.encode(images, names=wrong), "names: expected a list of names of images, got 1.0 (float)"),
        (lambda: compress(run, tmp_path / "none", out), "there is no file or folder"),
        (lambda: compress(run, "/dev/zero", out), "paths: /dev/zero cannot be read: it is not a regular file"),
        (lambda: header_of(own.model, 4096, 4097, tiles=True), "tile: got 4096×4097 pixels; expected at most 16,"),
        (lambda: compress(run, picture, picture, replace=True), "is one of the pictures; choose another name with -o"),
        (lambda: compress(run, images / "1.png", tmp_path / "link", replace=True), "found a link"),
        (lambda: decompress(packed, tmp_path, depth=3), "depth: expected an integer from 0 to "),
        (lambda: decompress(packed, tmp_path, only=["77.png"], run=run), "has no image '77.png'; did you mean"),
        (lambda: decompress(images / "0.png", tmp_path), "was not made by `auxar compress`"),
        (lambda: decompress(images, list=True), "not a regular file"),
        (lambda: decompress(packed), "out: expected a folder for the pictures, or --check, or --list of all pictures"),
        (lambda: compress(run, golden_images(), out), "paths[0]: picture 0: expected the path of an image"),
        (lambda: codec(auxar.load(run)), "run: expected a model in integers on the CPU, got a model in float"),
        (lambda: own.encode([1]), "images[0] cannot be compressed: expected a picture, an array, a path or an open"),
        (lambda: own.encode(images, names=["a"]), "names: expected a name for each of"),
        (lambda: own.encode(golden_images()[:2], names=["a", "A"]), "would be decompressed to the same file A.png"),
        (lambda: own.decode(5), "file: expected bytes, a path or an open file, got int"),  # type: ignore[arg-type]
        (lambda: own.decode(packed.read_bytes() * 2), "bytes after its end; if files were joined, `head -c "),
        (lambda: own.decode(packed.read_bytes()[:-13]), "file: these images are damaged or missing: "),
    ):
        with pytest.raises(UserError, match=re.escape(message)):
            call()
    assert not out.exists()
    assert same(picture, images / "0.png")


@pytest.mark.parametrize(
    "changes",
    [{"lags": (4,)}, {"lags": (4, 4, 4)}, {"lags": (1, 1)}, {"channels": 1}, {"height": 1, "width": 1}],
    ids=str,
)
def test_a_file_whose_header_does_not_fit_the_model_is_refused_in_one_sentence(run, images, changes):
    own = codec(run)
    found = read_container(own.encode(images / "0.png"))
    ((entry, record),) = found.records(found.entries)
    assert record is not None
    header = attrs.evolve(found.header, **changes)
    tiles = number_of_tiles(entry, header.image)
    lengths = ((len(record), *(0,) * (tiles - 1)), *((0,) * tiles,) * (len(header.lags) - 1))
    entry = attrs.evolve(entry, lengths=lengths)
    entry = attrs.evolve(entry, coarse_checksum=zlib.crc32(record[: entry.coarse_size]))
    forged = b"".join(packed_container(header, [entry], [record], ()))
    with pytest.raises(UserError, match=r"^file[: ]") as caught:
        own.decode(forged)
    assert "\n" not in str(caught.value)


def test_a_few_of_many_damaged_images_are_named(run, images, tmp_path, capsys):
    own, file, names = codec(run), tmp_path / "a.auxar", [f"{number:02}" for number in range(30)]
    content = own.encode([images / "15.png"] * 30, names=names)
    file.write_bytes(content[: read_container(content).start])
    expected = f"a.auxar: these images are damaged or missing: {', '.join(names[:10])} and 20 more"
    assert main(["decompress", str(file), "--check", "--run", str(run)]) == 2
    assert f"{expected}\n" in capsys.readouterr().err
    with pytest.raises(UserError, match=f"{expected}; decode the others"):
        own.decode(file)


def drawn_pictures(run, folder):
    """Pictures of several sizes that a model draws, a gray one, and noise. Returns their values by name."""
    model, found = auxar.load(run, arithmetic="integer"), {}
    for number, size in enumerate([(26, 35), (26, 35), (5, 21), (1, 1)]):
        found[f"{number}.png"] = np.asarray(model.at(*size).sample(1, first=number).to_pil()[0])
    found["4.png"] = found["0.png"][:18, :, 0]
    found["5.png"] = np.random.default_rng(0).integers(0, 256, (3, 70, 3), dtype=np.uint8)
    folder.mkdir()
    for name, values in found.items():
        Image.fromarray(values).save(folder / name)
    return found


LONG = [*((name, None) for name in MODELS if name != "pyramid"), ("pyramid", "26x12"), ("grayscale", "8x8")]


@pytest.mark.parametrize(
    ("run", "tile"),
    [("pyramid", None), ("pyramid", "8x8"), *(pytest.param(*each, marks=pytest.mark.slow) for each in LONG)],
    indirect=["run"],
)
def test_pictures_of_any_size_and_their_views(run, tile, tmp_path):
    """A file has the bits of the model at the size of the pictures or of tiles, however many are coded at once."""
    originals = drawn_pictures(run, tmp_path / "in")
    made = compress(run, [tmp_path / "in"], tmp_path / "at-once.auxar", tile=tile)
    assert made.sub_pixels == sum(values.size for values in originals.values())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("auxar_codec.archive.ENCODED_DIMS", 9 * 192)
        patch.setattr("auxar_codec.archive.DECODED_DIMS", 7 * 192)
        compress(run, [tmp_path / "in"], tmp_path / "a.auxar", tile=tile)
        found = decompress(tmp_path / "a.auxar", tmp_path / "out", run=run)
        views = decompress(tmp_path / "a.auxar", tmp_path / "views", run=run, depth=1)
    assert (tmp_path / "at-once.auxar").read_bytes() == (tmp_path / "a.auxar").read_bytes()
    model = auxar.load(run, arithmetic="integer")
    stored = [entry.name for entry in found.container.entries if entry.raw]
    assert "5.png" in stored
    assert tile is not None or not {"0.png", "1.png", "2.png"} & set(stored)
    for entry, path, view in zip(found.container.entries, found.paths, views.paths, strict=True):
        original = originals[entry.name]
        assert np.array_equal(pixels(path)[1], original)
        colors = original if original.ndim == 3 else np.repeat(original[..., None], 3, 2)
        own = model.at(*map(int, tile.split("x"))) if tile else model.at(*original.shape[:2])
        tiles = torch.from_numpy(to_tiles(colors.transpose(2, 0, 1), own.image).astype(np.int64))
        shown = auxar.Images(own.chain.values(tiles)["view1"], own.chain.specs[1]).to_pil()
        scale = 2 if run.name in ("pyramid", "neighbors") else 1
        size = tuple(-(-side // scale) for side in original.shape[:2])
        by_tile = np.stack([np.asarray(each.convert("RGB")) for each in shown])
        joined = from_tiles(by_tile.transpose(0, 3, 1, 2), *size).transpose(1, 2, 0)
        gray = original.ndim == 2 or own.chain.specs[1].channels == 1
        assert np.array_equal(pixels(view)[1], joined[..., 0] if gray else joined)
        if entry.raw:
            assert entry.size == original.size
        else:
            bytes_ = float(own.bits_per_dim(tiles).sum()) * own.image.dims / 8
            assert entry.size == pytest.approx(bytes_, rel=0.001, abs=3 * sum(map(len, entry.lengths)))
    assert decoded_images((tmp_path / "a.auxar").read_bytes(), model, most=0) == {}


def test_no_file_of_a_picture_is_larger_than_its_values_plus_110_bytes(run, images, tmp_path):
    """With a name of usual length. The model never draws such a picture."""
    for number, (height, width) in enumerate([(1, 1), (40, 50)]):
        values = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(values).save(path := tmp_path / f"kodim0{number}.png")
        made = compress(run, [path], tmp_path / f"{number}.auxar")
        assert made.bytes <= values.size + 110


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
    most = 4 + sum(len(path.name) + 1 for path in images.iterdir()) + count * 4 * (9 + stages)
    monkeypatch.setattr("auxar_codec.index.MOST_INDEX", most)
    compress(run, [images], tmp_path / "b.auxar")
    monkeypatch.setattr("auxar_codec.compression.Compression.compute", None)
    monkeypatch.setattr("auxar_codec.index.MOST_INDEX", most - 1)
    with pytest.raises(UserError, match=f"whose index would have {most} bytes, and at most {most - 1} are allowed"):
        compress(run, images, tmp_path / "c.auxar")
    shutil.copytree(images, tmp_path / "in")
    Image.new("RGBA", (8, 8)).save(tmp_path / "in" / "z.png")
    with pytest.raises(UserError, match=r"z\.png cannot be compressed: it has transparency.*; --skip leaves"):
        compress(run, tmp_path / "in", tmp_path / "a.auxar")


def test_pictures_that_cannot_be_kept_are_left_out_on_request(run, images, tmp_path, caplog):
    shutil.copytree(images, tmp_path / "in")
    Image.new("RGBA", (8, 8)).save(tmp_path / "in" / "z.png")
    (tmp_path / "in" / "deeper").mkdir()
    for file, folder in (("a", images), ("b", tmp_path / "in")):
        compress(run, folder, tmp_path / f"{file}.auxar", skip=True)
    assert (tmp_path / "a.auxar").read_bytes() == (tmp_path / "b.auxar").read_bytes()
    assert [line for line in caplog.messages if "left out" in line] == [
        f"{tmp_path / 'in'}: its subfolders (deeper) are left out; name them, too",
        f"{tmp_path / 'in' / 'z.png'} cannot be compressed: it has transparency, which is not kept; blend it onto a "
        "background first; it is left out",
    ]
    skipping = ["compress", str(run), str(tmp_path / "in"), "-o", str(tmp_path / "b.auxar"), "--skip"]
    assert main(skipping) == 0, "the status that the help of --skip promises"
    with pytest.raises(UserError, match="none of the pictures can be compressed"):
        compress(run, tmp_path / "in" / "z.png", tmp_path / "c.auxar", skip=True)


def test_a_file_has_the_digests_of_the_integers_that_were_used(run, images, packed, tmp_path):
    """A record of digests may be missing. The digests of the model itself are compared all the same."""
    copy = shutil.copytree(run, tmp_path / "run")
    (copy / "integer.json").unlink()
    compress(copy, [images / "0.png"], tmp_path / "a.auxar")
    assert read_container(tmp_path / "a.auxar").header.digest == read_container(packed).header.digest
    other = next(name for name in MODELS if name != run.name)
    make_golden_run(tmp_path / other, other)
    (tmp_path / other / "integer.json").unlink()
    with pytest.raises(UserError, match=r"a\.auxar was made with another model: "):
        decompress(packed, tmp_path / "out", depth=1, run=tmp_path / other)
    assert not (tmp_path / "out").exists()
