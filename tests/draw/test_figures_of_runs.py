"""Tests that figures and sheets of a run show the images that its model draws, and that reports show them."""

import base64
import json
import re
import shutil

import numpy as np
import pytest
import torch
from helpers.html_page import Page
from helpers.tiny_runs import PROJECT, calls_of, run, snapshot, stopping_at, tiny
from PIL import Image

import auxar
from auxar.cli import main
from auxar.data.loading import load_images
from auxar.draw.figures import Figures
from auxar.draw.sheets import labeled, sheet, sheet_columns
from auxar.evaluation.nearest import neighbors
from auxar.model import ImageSpec
from auxar.recipe import load_recipe
from auxar.report.updating import has_figures
from auxar_augmentations import Flip
from auxar_rules import Reduced

OF_VIEWS = ["views", "given", "growth"]
OF_EVERY_MODEL = ["reduction", "map", "memorization"]


def names(folder):
    """Returns the names of the figures that a run lists, after checking that their files exist."""
    entries = json.loads((folder / "figures" / "figures.json").read_text())
    assert all((folder / "figures" / entry["file"]).is_file() for entry in entries)
    return sorted(entry["file"].removesuffix(".png") for entry in entries)


@pytest.fixture(scope="module")
def table(pictures):
    """The recipe of a run with two stages and figures of two rows of images, trained on mirrored images, too.

    Its factors draw images at the end of their training."""
    options = {"training__augment": ["flip"], "training__sample_every": 4}
    return tiny(pictures, sampling__figure_rows=2, stage__0__repeat=2, **options)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, table):
    return run(tmp_path_factory.mktemp("figures") / "run", table)


@pytest.fixture(scope="module")
def images(drawn):
    """The held-out images and the training images of the run, int64 (b, c, h, w) each."""
    recipe = load_recipe(drawn / "recipe.toml")
    data = load_images(recipe.data, recipe.image, recipe.registry)
    return [torch.stack([image for _, image in part.every(1, 0, None)]).long() for part in (data.heldout, data.train)]


TITLES = {
    "views": ["view", *(f"draw {draw}" for draw in range(4))],
    "given": ["held out", "view", *(f"draw {draw}" for draw in range(4))],
    "reduction": ["0", "0.2", "0.4", "0.6", "0.8", "1", "map"],
    "map": [""] * 6,
    "growth": ["2 x 2", "4 x 4", "8 x 8"],
    "memorization": [each for name in ("sample", "held out") for each in (name, "nearest by pixel", "nearest by view")],
}


def test_figures_have_titles_and_captions_and_the_report_shows_them(drawn, tmp_path, monkeypatch, capsys):
    folder, titles, augmented = shutil.copytree(drawn, tmp_path / "run"), [], []

    def noted(columns, *options):
        titles.append([title for title, _, _ in columns])
        return labeled(columns, *options)

    def searched(model, images, training, augment):
        augmented.append(augment)
        return neighbors(model, images, training, augment)

    monkeypatch.setattr("auxar.draw.figures.labeled", noted)
    monkeypatch.setattr("auxar.draw.figures.neighbors", searched)
    settings = ["sampling.seed=5", "sampling.rule=reduced:reduction=1.5"]
    assert main(["figures", str(folder), "--rows", "3", "--set", *settings]) == 0
    assert capsys.readouterr().out == f"{folder / 'figures'}\n"
    entries = json.loads((folder / "figures" / "figures.json").read_text())
    assert [entry["file"] for entry in entries] == [f"{name}.png" for name in TITLES]
    assert titles == [*TITLES.values()]
    assert augmented == [(Flip(),)] * 2, "the model was trained on mirrored images, too"
    for entry in entries:
        assert "eed 5." in entry["caption"]
        if entry["file"] not in ("reduction.png", "map.png"):
            assert entry["caption"].endswith(f"Rule ‘reduced’ ({Reduced(1.5).meaning}), seed 5.")
    page = Page((folder / "report.html").read_text("utf-8"))
    # The images that each of three factors drew during its training follow after the figures.
    sources = [attributes["src"].partition(",")[2] for attributes in page.all("img")][-len(entries) - 3 : -3]
    contents = [(folder / "figures" / entry["file"]).read_bytes() for entry in entries]
    assert [base64.b64decode(source) for source in sources] == contents
    assert page.text.index("Figures") < page.text.index(entries[0]["caption"]) < page.text.index(entries[-1]["caption"])


def test_files_of_a_run_are_those_in_the_documentation(drawn):
    table = (PROJECT / "docs" / "recipes.md").read_text("utf-8").split("\n## A run's folder\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    names = [re.sub(r"<\w+>", "*", name) for cell in cells for name in re.findall(r"`(.+?)`", cell)]
    files = [path.relative_to(drawn) for path in drawn.rglob("*") if path.is_file()]
    found = {(name, file) for name in names for file in files if file.match(f"{name}*" if name[-1] == "/" else name)}
    assert {file for _, file in found} == set(files)
    others = {"plugins/", ".lock.json", "factors/*/best-*.safetensors", "auxar-work/", "samples/auxar-work/", "older/*"}
    others |= {name for name in names if "integer" in name}
    assert {name for name, _ in found} == {*names} - others


def test_a_missing_figure_is_drawn_again(drawn, table):
    before = {file: file.read_bytes() for file in (drawn / "figures").iterdir() if file.name != ".lock"}
    for file, content in before.items():
        file.unlink()
        assert not has_figures(auxar.RunFolder(drawn)), file
        file.write_bytes(content)
    assert has_figures(auxar.RunFolder(drawn))
    assert len(before) == 7
    (drawn / "figures" / "map.png").unlink()
    run(drawn, table)
    assert {file: file.read_bytes() for file in before} == before


@pytest.mark.slow
def test_a_stopped_command_goes_on_with_the_figures_that_are_left(drawn, tmp_path):
    whole, parts = (auxar.RunFolder(shutil.copytree(drawn, tmp_path / name)) for name in ("whole", "parts"))
    own, other = (f"sampling.rule=reduced:reduction={value}" for value in (1.5, 1))
    auxar.figures(whole, rows=1, settings=[own])
    before = snapshot(parts.figures)
    with stopping_at(Figures, "compute", 3):
        auxar.figures(parts, rows=1, settings=[own])
    assert snapshot(parts.figures) == before
    with calls_of(Figures, "compute") as numbers:
        for settings in ([own, "sampling.seed=1"], [other]):
            auxar.figures(parts, rows=1, settings=settings)
        assert numbers == [*range(6)] * 2, "figures of another seed or rule are others"
        for _ in range(2):
            auxar.figures(parts, rows=1, settings=[own])
            assert numbers[12:] == [2, 3, 4, 5], "no figure is drawn twice"
    found, expected = (
        {name: content for name, (_, content) in snapshot(run.figures).items()} for run in (parts, whole)
    )
    assert found == expected
    assert not (parts.path / "auxar-work").exists()


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"stage": None}, OF_EVERY_MODEL),
        ({"data__streaming": True, "data__shuffle_buffer": 8}, [*OF_VIEWS, "reduction", "map"]),
    ],
)
def test_models_without_views_and_streamed_sets_have_fewer_figures(tmp_path, pictures, changes, expected):
    assert names(run(tmp_path / "run", tiny(pictures, sampling__figure_rows=1, **changes))) == sorted(expected)


def test_the_sheet_of_held_out_images_shows_evenly_spaced_ones(drawn, images):
    spec = ImageSpec(height=8, width=8)
    expected = sheet(images[0][[0, (len(images[0]) - 1) // 2, -1]], spec, sheet_columns(3, spec))
    shown, samples = (Image.open(drawn / "samples" / name) for name in ("heldout.png", "samples.png"))
    assert shown.size == samples.size
    assert np.array_equal(np.asarray(shown), np.asarray(expected))
