"""Tests of `auxar score`: bits/dim of images beside those of held-out images and of lossless files."""

import csv
import io
import json
import math
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest
import torch
from helpers.listed_images import Listed
from helpers.tiny_runs import calls_of, stopping_at
from PIL import Image

import auxar
from auxar.cli import main
from auxar.commands.score import _lines
from auxar.draw.scoring import ScoreTable, _scores
from auxar.errors import UserError
from auxar.evaluation import codecs
from auxar.evaluation.codecs import codec_bits_per_dim, codec_nats, codec_sizes
from auxar.evaluation.stored import read_evaluation
from auxar.model import ImageSpec
from auxar.report.text import evaluation_lines


@pytest.fixture
def images(finished, tmp_path, monkeypatch):
    """Three image files of the model's size, in an empty working directory: random, plain and of the data."""
    monkeypatch.chdir(tmp_path)
    model = auxar.load(finished)
    size = (model.image.width, model.image.height)
    noise = torch.randint(256, (size[1], size[0], 3), generator=torch.Generator().manual_seed(0)).byte()
    Image.fromarray(noise.numpy()).save("noise.png")
    Image.new("RGB", size, "gray").save("plain.png")
    own = auxar.load_images(model).heldout[0]
    Image.fromarray(own.permute(1, 2, 0).numpy()).save("own.png")
    return ["noise.png", "plain.png", "own.png"]


def test_other_held_out_images_than_those_of_the_evaluation_are_told(copied, images, caplog):
    auxar.score(copied, images)
    assert caplog.text == ""
    recipe = copied / "recipe.toml"
    recipe.write_text(recipe.read_text().replace("[data]", "[data]\nlimit = 20", 1))
    auxar.score(copied, images)
    assert f"ranks compare with other held-out images than the evaluation of {copied}" in caplog.text


def test_without_the_data_there_are_no_ranks(finished, images, tmp_path, caplog):
    alone = auxar.export(finished, "alone")
    scores = auxar.score(alone, images)
    assert [(image.rank, image.difference_rank) for image in scores.images] == [(None, None)] * 3
    assert scores.heldout_images == 0
    assert "images are not compared with held-out images: data.path: " in caplog.text
    caplog.clear()
    assert auxar.score(alone, images, heldout=0).images == scores.images
    assert caplog.text == ""


def test_ranks_are_shares_of_smaller_values():
    columns = {"bits_per_dim": torch.tensor([2.0, 1.0, 2.0, 3.0, 4.0])}  # The last four are of held-out images.
    model: Any = SimpleNamespace(exact=True)
    scores = _scores(model, [Path("a.png")], columns)
    assert [image.rank for image in scores.images] == [0.25]
    assert [*_lines(scores)][-1].startswith("–: lossless files store only 1 or 3 channels of 256 levels; --against")


def test_the_command_prints_a_table_and_writes_csv(finished, images, capsys, refused):
    command = ["score", str(finished), *images, "--heldout", "5", "-q"]
    assert main([*command, "-o", "scores.csv"]) == 0
    assert [line.rpartition("  ")[2] for line in capsys.readouterr().out.splitlines()[2:]] == images
    scores = auxar.score(finished, images, heldout=5)
    rows = list(csv.DictReader(io.StringIO(Path("scores.csv").read_text("utf-8"))))
    assert [row["file"] for row in rows] == images
    assert [float(row["rank"]) for row in rows] == [image.rank for image in scores.images]
    assert "scores.csv exists; files are replaced" in refused(*command[:-3], "-q", "-o", "scores.csv")
    text = Path("scores.csv").read_text("utf-8")
    for figure in ("1.5", "nan", ""):
        Path("scores.csv").write_text(text.replace(str(scores.images[0].bits_per_dim), figure), "utf-8")
        assert "scores.csv exists; files are replaced" in refused(*command, "-o", "scores.csv")
    assert main([*command[:2], shutil.copy("own.png", "\udcff.png"), "--heldout", "0", "-o", "bad.csv"]) == 0
    assert [row["file"] for row in csv.DictReader(io.StringIO(Path("bad.csv").read_text()))] == ["\\udcff.png"]
    Path("other.csv").write_bytes(b"a\rb")
    assert "other.csv exists" in refused(*command[:-3], "-q", "-o", "other.csv")
    assert f"out: {images[0]} is one of the images" in refused(*command[:-3], "-q", "-o", images[0], "--replace")
    assert main([*command[:-3], "-q", "-o", "scores.csv", "--replace", "--json"]) == 0
    assert [image["file"] for image in json.loads(capsys.readouterr().out)["images"]] == images


def test_a_stopped_command_goes_on_with_the_images_that_are_left(finished, images, monkeypatch):
    expected = auxar.score(finished, images, heldout=5)
    monkeypatch.setattr("auxar.draw.scoring.CHUNK", 3)
    with stopping_at(ScoreTable, "compute", 2):
        auxar.score(finished, images, heldout=5, out="scores.csv")
    assert not Path("scores.csv").exists()
    for left in ([1, 2], []):  # The second call reads the table.
        with calls_of(ScoreTable, "compute") as numbers:
            found = auxar.score(finished, images, heldout=5, out="scores.csv")
        assert numbers == left, "no chunk is computed twice"
        for image, other in zip(found.images, expected.images, strict=True):
            values, others = attrs.astuple(image), attrs.astuple(other)
            assert values[0] == others[0]
            assert values[1:] == pytest.approx(others[1:], rel=1e-5)
        assert (found.kind, found.heldout_images) == (expected.kind, expected.heldout_images)
    assert sorted(path.name for path in Path().iterdir()) == ["noise.png", "own.png", "plain.png", "scores.csv"]
    with pytest.raises(UserError, match=r"^scores\.csv exists; files are replaced only with --replace$"):
        auxar.score(finished, images, heldout=4, out="scores.csv")


def test_the_smaller_file_of_two_codecs_counts():
    """Noise takes less space as PNG, and a smooth image as WebP."""
    noise = torch.randint(256, (3, 8, 8), generator=torch.Generator().manual_seed(0))
    smooth = torch.arange(64).view(1, 8, 8).expand(3, 8, 8) + torch.tensor([0, 50, 100])[:, None, None]
    smaller = []
    for image in (noise, smooth):
        sizes = {}
        for kind, options in (("PNG", {"optimize": True}), ("WEBP", {"lossless": True})):
            file = io.BytesIO()
            Image.fromarray(image.permute(1, 2, 0).byte().numpy()).save(file, kind, **options)
            sizes[kind] = len(file.getvalue())
        assert {
            name.partition(" ")[0].upper(): size for name, size in codec_sizes(image).items()
        }.items() >= sizes.items()
        assert codec_bits_per_dim(image) == 8 * min(sizes.values()) / 192
        smaller.append(min(sizes, key=sizes.__getitem__))
    assert smaller == ["PNG", "WEBP"]


def test_images_that_codecs_cannot_store_are_refused():
    for image, message in (
        (torch.zeros(2, 8, 8, dtype=torch.uint8), r"with 1 or 3 channels, got shape \(2, 8, 8\)"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), r"expected a tensor of shape \(c, h, w\)"),
        (torch.zeros(3, 8, 8).numpy(), "got an object of type ndarray"),
        (torch.zeros(3, 8, 8), r"expected integers in \[0, 256\)"),
        (torch.full((3, 8, 8), 256), r"expected integers in \[0, 256\), got 256 … 256"),
    ):
        wrong: Any = image
        with pytest.raises(UserError, match=message):
            codec_sizes(wrong)


def test_an_evaluation_has_the_sizes_of_the_first_held_out_images_in_files(copied, monkeypatch):
    monkeypatch.setattr(codecs, "MOST_IMAGES", 3)
    run = auxar.evaluate(copied, settings=["evaluation.heldout_images=5", "evaluation.batch_size=2"])
    evaluation = read_evaluation(run.evaluation)
    images = [image for _, image in auxar.load_images(auxar.load(copied)).heldout.every(1, 0, 3)]
    sizes = [codec_sizes(image) for image in images]
    nats = evaluation.nats("heldout", evaluation.factors)
    assert nats is not None
    model = nats[:3] / (-math.log(2) * images[0].numel())
    assert evaluation.codecs().keys() == sizes[0].keys() >= {"PNG"}
    for name, (mean, difference) in evaluation.codecs().items():
        values = torch.tensor([8 * size[name] / images[0].numel() for size in sizes], dtype=torch.float64)
        for found, expected in ((mean, values), (difference, model - values)):
            assert found.value == pytest.approx(expected.mean().item(), rel=1e-9)
            assert found.error == pytest.approx(expected.std().item() / 3**0.5, rel=1e-9)
        assert evaluation.to_dict()["codecs"][name]["difference"] == difference.value
    title = "Compared with lossless codecs: bits/dim of 3 held-out images"
    told = [*evaluation_lines(evaluation)]
    assert any(line.startswith(title) for line in told)
    assert ("pillow-jxl-plugin" in "".join(told)) == (codecs.JPEG_XL not in sizes[0])
    assert "Compared with lossless codecs" in run.report.read_text("utf-8")
    assert codec_nats(Listed(ImageSpec(height=8, width=8, levels=4), images[0][None] // 64), None) == {}
