"""Tests that a run draws the paper's figures and a sheet of held-out images for its report."""

import html
import json
import re

import numpy as np
import pytest
import torch
from helpers.tiny_runs import PROJECT, run, snapshot, tiny
from PIL import Image

from auxar.data import load_images
from auxar.errors import UserError
from auxar.generation.sheets import sheet, sheet_columns
from auxar.interfaces import ImageSpec
from auxar.recipe.loading import parse_recipe

OF_VIEWS = ["views", "given", "growth"]
OF_EVERY_MODEL = ["reduction", "map", "memorization"]


def names(folder):
    """Returns the names of the figures that a run lists, after checking that their files exist."""
    entries = json.loads((folder / "figures" / "figures.json").read_text())
    assert all((folder / "figures" / entry["file"]).is_file() for entry in entries)
    return sorted(entry["file"].removesuffix(".png") for entry in entries)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, pictures):
    """A run with figures of two rows of images."""
    return run(tmp_path_factory.mktemp("figures") / "run", tiny(pictures, sampling__figure_rows=2))


def test_a_run_draws_all_figures_and_shows_them(drawn):
    assert names(drawn) == sorted(OF_VIEWS + OF_EVERY_MODEL)
    page = (drawn / "report.html").read_text()
    for entry in json.loads((drawn / "figures" / "figures.json").read_text()):
        assert html.escape(entry["title"]) in page


def test_files_of_a_run_are_those_in_the_documentation(drawn):
    table = (PROJECT / "docs" / "recipes.md").read_text("utf-8").split("\n## A run's folder\n")[1].split("\n## ")[0]
    cells = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    names = [re.sub(r"<\w+>", "*", name) for cell in cells for name in re.findall(r"`(.+?)`", cell)]
    files = [path.relative_to(drawn) for path in drawn.rglob("*") if path.is_file()]
    found = {(name, file) for name in names for file in files if file.match(f"{name}*" if name[-1] == "/" else name)}
    assert {file for _, file in found} == set(files)
    assert {name for name, _ in found} == {*names} - {"plugins/", ".lock.json"}


def test_a_finished_run_does_nothing_more(drawn, pictures):
    before = snapshot(drawn)
    run(drawn, tiny(pictures, sampling__figure_rows=2))
    assert snapshot(drawn) == before


def test_a_missing_figure_is_drawn_again(drawn, pictures):
    before = (drawn / "figures" / "map.png").read_bytes()
    (drawn / "figures" / "map.png").unlink()
    run(drawn, tiny(pictures, sampling__figure_rows=2))
    assert (drawn / "figures" / "map.png").read_bytes() == before


def test_a_model_without_views_has_the_figures_that_need_none(tmp_path, pictures):
    table = tiny(pictures, sampling__figure_rows=1, stage=None)
    assert names(run(tmp_path / "run", table)) == sorted(OF_EVERY_MODEL)


def test_a_streamed_set_is_not_searched_for_the_nearest_images(tmp_path, pictures):
    table = tiny(pictures, sampling__figure_rows=1, data__streaming=True, data__shuffle_buffer=8)
    folder = run(tmp_path / "run", table)
    assert names(folder) == sorted([*OF_VIEWS, "reduction", "map"])
    before = snapshot(folder)
    run(folder, table)
    assert snapshot(folder) == before


@pytest.mark.parametrize("changes", [{"sampling__figure_rows": 0}, {"sampling__figure_rows": 2, "sampling__images": 0}])
def test_no_figures_without_rows_or_images(tmp_path, pictures, changes):
    assert not (run(tmp_path / "run", tiny(pictures, **changes)) / "figures").exists()


def test_a_negative_number_of_rows_is_refused(tmp_path, pictures):
    with pytest.raises(UserError, match="'figure_rows' must be >= 0"):
        run(tmp_path / "run", tiny(pictures, sampling__figure_rows=-1))
    assert not (tmp_path / "run").exists()


def test_the_sheet_of_held_out_images_shows_the_first_of_them(drawn):
    recipe, registry = parse_recipe((drawn / "recipe.toml").read_text(), drawn)
    heldout = load_images(recipe.data, ImageSpec(height=8, width=8), registry.dataset_paths()).heldout
    images = torch.stack([image for _, image in heldout.every(1, 0, 3)])
    expected = sheet(images, ImageSpec(height=8, width=8), sheet_columns(3, ImageSpec(height=8, width=8)))
    shown, samples = (Image.open(drawn / "samples" / name) for name in ("heldout.png", "samples.png"))
    assert shown.size == samples.size
    assert np.array_equal(np.asarray(shown), np.asarray(expected))
