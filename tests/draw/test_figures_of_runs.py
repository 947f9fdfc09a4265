"""Tests that figures and sheets of a run show the images that its model draws, and that reports show them."""

import base64
import json
import re
import shutil
import time

import numpy as np
import pytest
import torch
from helpers.choices import chosen
from helpers.html_page import Page
from helpers.sheets import cells, enlarged
from helpers.tiny_runs import PROJECT, run, snapshot, tiny
from PIL import Image

import auxar
from auxar.cli import main
from auxar.data import load_images
from auxar.draw.figures import Figures, min_weight_of
from auxar.draw.sheets import labeled, sheet, sheet_columns
from auxar.errors import UserError
from auxar.files import read_json
from auxar.model import Ancestral, ImageSpec, SampleRequest
from auxar.recipe import SamplingConfig, load_recipe
from auxar.report.finished import has_figures
from auxar_rules import Map, Reduced
from auxar_samplers import AutoSampler

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
    options = {"training__flip": True, "training__sample_every": 4}
    return tiny(pictures, sampling__figure_rows=2, stage__0__repeat=2, **options)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory, table):
    return run(tmp_path_factory.mktemp("figures") / "run", table)


@pytest.fixture(scope="module")
def images(drawn):
    """The held-out images and the training images of the run, int64 (b, c, h, w) each."""
    recipe, registry = load_recipe(drawn / "recipe.toml")
    data = load_images(recipe.data, recipe.image, registry)
    return [torch.stack([image for _, image in part.every(1, 0, None)]).long() for part in (data.heldout, data.train)]


def nearest(wanted, candidates):
    """Returns the number and the distance of the candidate (c, h, w) nearest to each wanted image."""
    differences = (wanted[:, None] - candidates[None]).double()
    distances = differences.square().mean((2, 3, 4)).sqrt()
    return distances.argmin(1), distances.amin(1).tolist()


def expected_figures(folder, images, rows, seed, rule):
    """Returns the images of each figure by column, the titles of the columns and the names of the rows."""
    model, sampler = auxar.load(folder).chain, AutoSampler()
    heldout, training = images[0][:rows], images[1]

    def samples(count, rule=rule):
        return model.draw_views(SampleRequest(tuple(range(count)), seed, rule), sampler)

    def four_draws(view):
        """The draws of one row have four successive numbers, so that their noise differs."""
        numbers = torch.arange(4 * rows).view(rows, 4).T.tolist()
        return [model.draw_from(view, SampleRequest(tuple(draw), seed, rule), sampler)[0] for draw in numbers]

    image, view, coarsest = samples(rows)
    view_of_heldout = model.views(heldout)[1]
    reduced = [Ancestral(), *(Reduced(number) for number in (0.2, 0.4, 0.6, 0.8, 1))]
    centers = samples(6 * rows, Map())[0]
    candidates = torch.cat([training, training.flip(3)])
    shown = torch.cat([image, heldout])
    by_pixel, distances = nearest(shown, candidates)
    by_view, distances_of_views = nearest(model.views(shown)[2], model.views(candidates)[2])
    assert max(by_pixel.max(), by_view.max()) >= len(training), "no mirrored image is among the nearest ones"
    kinds = [f"{kind} {row}" for kind in ("sample", "held out") for row in range(rows)]
    names = [f"{kind}: {a:.2f}, {b:.2f}" for kind, a, b in zip(kinds, distances, distances_of_views, strict=True)]
    titles = [f"draw {draw}" for draw in range(4)]
    return {
        "views": ([view, *four_draws(view)], ["view", *titles], []),
        "given": ([heldout, view_of_heldout, *four_draws(view_of_heldout)], ["held out", "view", *titles], []),
        "reduction": (
            [samples(rows, rule)[0] for rule in [*reduced, Map()]],
            ["0", "0.2", "0.4", "0.6", "0.8", "1", "map"],
            [],
        ),
        "map": ([centers[column::6] for column in range(6)], [""] * 6, []),
        "growth": ([coarsest, view, image], ["2 x 2", "4 x 4", "8 x 8"], []),
        "memorization": (
            [shown, candidates[by_pixel], candidates[by_view]],
            ["image", "nearest by pixel", "nearest by view"],
            names,
        ),
    }


COMMAND = ["--rows", "3", "--set", "sampling.seed=5", "sampling.rule=reduced:reduction=1.5"]


@pytest.mark.parametrize(
    ("arguments", "rows", "seed", "rule"),
    [
        (None, 2, 0, Ancestral()),
        ([*COMMAND, "sampling.batch_size=2"], 3, 5, Reduced(1.5)),
    ],
    ids=["run", "command"],
)
def test_figures_show_what_was_drawn_and_the_report_shows_them(
    drawn, images, tmp_path, capsys, arguments, rows, seed, rule
):
    folder = shutil.copytree(drawn, tmp_path / "run")
    if arguments is not None:
        assert main(["figures", str(folder), *arguments]) == 0
        assert capsys.readouterr().out == f"{folder / 'figures'}\n"
    with torch.no_grad():
        expected = expected_figures(folder, images, rows, seed, rule)
    entries = json.loads((folder / "figures" / "figures.json").read_text())
    assert [entry["file"] for entry in entries] == [f"{name}.png" for name in expected]
    for entry, (columns, titles, rows_names) in zip(entries, expected.values(), strict=True):
        with Image.open(folder / "figures" / entry["file"]) as picture:
            by_row = zip(*(column.permute(0, 2, 3, 1).byte().numpy() for column in columns), strict=True)
            wanted = np.stack([[enlarged(image, 128, 128) for image in row] for row in by_row])
            assert np.array_equal(cells(picture, *wanted.shape[:4]), wanted), entry["file"]
            specs = [ImageSpec(height=column.shape[2], width=column.shape[3]) for column in columns]
            sheet_of_all = labeled(list(zip(titles, columns, specs, strict=True)), rows_names)
            assert np.array_equal(np.asarray(picture), np.asarray(sheet_of_all)), f"the names in {entry['file']}"
        if entry["file"] not in ("reduction.png", "map.png"):
            assert entry["caption"].endswith(f"Rule ‘{rule.name}’ ({rule.meaning}), seed {seed}.")
        assert f"eed {seed}." in entry["caption"]
    page = Page((folder / "report.html").read_text("utf-8"))
    # The images that each of three factors drew during its training follow after the figures.
    sources = [attributes["src"].partition(",")[2] for attributes in page.all("img")][-len(expected) - 3 : -3]
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
    others = {"plugins/", ".lock.json", "factors/*/best-*.safetensors", "work/", "samples/work/"}
    others |= {name for name in names if "integer" in name}
    assert {name for name, _ in found} == {*names} - others


def test_a_finished_run_does_nothing_more(drawn, table):
    before = snapshot(drawn)
    run(drawn, table)
    assert snapshot(drawn) == before


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


class Stopped(BaseException):
    """The end of a process that was killed."""


def test_a_stopped_command_goes_on_with_the_figures_that_are_left(drawn, tmp_path, monkeypatch):
    whole, parts = (auxar.RunFolder(shutil.copytree(drawn, tmp_path / name)) for name in ("whole", "parts"))
    auxar.figures(whole, rows=1)
    before, compute, computed = snapshot(parts.figures), Figures.compute, list[int]()

    def stopping(self, number):
        if len(computed) == 2:
            computed.append(-1)
            raise Stopped
        computed.append(number)
        return compute(self, number)

    monkeypatch.setattr(Figures, "compute", stopping)
    with pytest.raises(Stopped):
        auxar.figures(parts, rows=1)
    assert snapshot(parts.figures) == before
    auxar.figures(parts, rows=1, settings=["sampling.seed=1"])
    assert computed == [0, 1, -1, *range(6)], "figures of another seed are others"
    auxar.figures(parts, rows=1)
    assert computed[9:] == [2, 3, 4, 5], "no figure is drawn twice"
    assert {name: content for name, (_, content) in snapshot(parts.figures).items()} == {
        name: content for name, (_, content) in snapshot(whole.figures).items()
    }
    assert not (parts.path / "work").exists()
    auxar.figures(parts, rows=1)
    assert len(computed) == 13, "the figures are there already"


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
    folder = run(tmp_path / "run", tiny(pictures, **changes))
    assert not (folder / "figures").exists()
    before = snapshot(folder)
    run(folder, tiny(pictures, **changes))
    assert snapshot(folder) == before


def test_a_negative_number_of_rows_is_refused(tmp_path, pictures):
    with pytest.raises(UserError, match="'figure_rows' must be >= 0"):
        run(tmp_path / "run", tiny(pictures, sampling__figure_rows=-1))
    assert not (tmp_path / "run").exists()


def test_the_pictures_of_samples_show_the_drawn_images(drawn, tmp_path, monkeypatch):
    """The sheets show the first images in their order, and the growth of four of them from the coarsest view."""
    monkeypatch.setattr("auxar.draw.samples.SHEET_IMAGES", 5)
    rule = Reduced(0.5)
    options = ["--rule", "reduced:reduction=0.5", "--seed", "4", "--batch-size", "4"]
    started = time.perf_counter()
    assert main(["sample", str(drawn), "-n", "6", *options, "--out", str(tmp_path)]) == 0
    passed = time.perf_counter() - started
    with torch.no_grad():
        views = auxar.load(drawn).chain.draw_views(SampleRequest(tuple(range(6)), 4, rule), AutoSampler())
    colors = [view.permute(0, 2, 3, 1).byte().numpy() for view in views]
    assert sorted(file.name for file in (tmp_path / "images").iterdir()) == [
        f"00000{number}.png" for number in range(6)
    ]
    for number, image in enumerate(colors[0]):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "images" / f"00000{number}.png")), image)
    shown = cells(Image.open(tmp_path / "samples.png"), 2, 3, 128, 128).reshape(6, 128, 128, 3)
    assert np.array_equal(shown[:5], [enlarged(image, 128, 128) for image in colors[0][:5]])
    assert not shown[5].any()
    growth = cells(Image.open(tmp_path / "growth.png"), 4, 3, 128, 128)
    for column, images in enumerate(reversed(colors)):
        assert np.array_equal(growth[:, column], [enlarged(image, 128, 128) for image in images[:4]])
    facts = read_json(tmp_path / "samples.json")
    assert len(facts.pop("bits_per_dim")) == 5
    assert len(facts.pop("key")) == 32
    assert 0 < facts.pop("seconds") < passed
    assert facts == {
        "rule": {"name": "reduced", "reduction": 0.5, "min_weight": 0.05},
        **{"meaning": rule.meaning, "seed": 4, "count": 6},
        **{"sampler": "auto", "arithmetic": "float", "columns": 3, "kind": "bound"},
    }


def test_the_sheet_of_held_out_images_shows_the_first_of_them(drawn, images):
    spec = ImageSpec(height=8, width=8)
    expected = sheet(images[0][:3], spec, sheet_columns(3, spec))
    shown, samples = (Image.open(drawn / "samples" / name) for name in ("heldout.png", "samples.png"))
    assert shown.size == samples.size
    assert np.array_equal(np.asarray(shown), np.asarray(expected))


@pytest.mark.parametrize(
    ("rule", "used"),
    [
        (chosen("rule", "ancestral"), 0.05),
        (chosen("rule", "reduced", reduction=0.0, min_weight=0.0), 0.05),
        (chosen("rule", "reduced", reduction=0.0, min_weight=0.25), 0.25),
        (chosen("rule", "tempered"), 0.05),
        (chosen("rule", "map", min_weight=0.0), 0),
        (chosen("rule", "reduced", min_weight=0.25), 0.25),
    ],
)
def test_figures_of_rules_use_the_min_weight_of_the_recipe_unless_it_draws_exact_samples(rule, used):
    assert min_weight_of(SamplingConfig(rule=rule).draw_rule()) == used
