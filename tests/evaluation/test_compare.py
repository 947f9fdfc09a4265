"""Tests that runs are compared on the same images, and that a note explains where this is impossible."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.evaluations import figures_of, nats_of, with_facts
from helpers.html_page import HOSTILE, Page
from helpers.tiny_runs import run, tiny, write_pictures
from PIL import Image

from auxar.cli import main
from auxar.commands.evaluate import evaluate
from auxar.errors import UserError
from auxar.evaluation.comparison import compare_runs
from auxar.evaluation.figures import Mean
from auxar.files import read_tensors, write_tensors
from auxar.model import ImageSpec
from auxar.report.words import measured, resolution_names

CHANGES = {"sampling__images": 0, "evaluation__train_images": 0}
SEED = {"training__seed": 1, "training__ema": 0.0}


@pytest.fixture(scope="module")
def runs(pictures, tmp_path_factory) -> Path:
    """A folder of runs on the same images: `pyramid`, `again` with other weights, and `plain` without views."""
    folder = tmp_path_factory.mktemp("runs")
    run(folder / "pyramid", tiny(pictures, stage__0__repeat=2, **CHANGES))
    run(folder / "again", tiny(pictures, stage__0__repeat=2, **CHANGES, **SEED))
    run(folder / "plain", tiny(pictures, stage=None, **CHANGES))
    return folder


@pytest.fixture
def own(runs, tmp_path) -> Path:
    """A copy of `runs` that a test may change."""
    return Path(shutil.copytree(runs, tmp_path / "runs"))


def refusal(*paths: Path) -> str:
    with pytest.raises(UserError) as caught:
        compare_runs(paths)
    return str(caught.value)


# Differences


def test_a_difference_is_that_of_the_stored_values(runs):
    found = compare_runs([runs / "pyramid", runs / "again", runs / "plain"])
    first = nats_of(runs / "pyramid")
    for name, compared in zip(("again", "plain"), found.runs[1:], strict=True):
        apart = (nats_of(runs / name).sum(0) - first.sum(0)) / (-math.log(2) * 192)
        assert apart.std() > 0
        assert compared.margin.bits_per_dim == pytest.approx(apart.mean(), rel=1e-12)
        assert compared.margin.standard_error == pytest.approx(apart.std(ddof=1) / math.sqrt(6), rel=1e-12)
        assert compared.margin.images == 6
        assert compared.margin.bits_per_dim == pytest.approx(compared.bits_per_dim - found.runs[0].bits_per_dim)
    assert found.runs[0].margin is None
    assert [compared.notes for compared in found.runs] == [[], [], [kinds(runs / "pyramid", "total")]]


def kinds(bound: Path, names: str) -> str:
    """Returns the note about differences between an exact figure and a bound of the run `bound`."""
    beginning = f"the difference is between an exact figure and a bound ({names}): the true bits/dim of {bound}"
    return f"{beginning} may be lower than this bound"


@pytest.fixture(scope="module")
def mixed(pictures, runs) -> list[Path]:
    """Three runs with the same views: both decoders free, both restricted, and one of each."""
    found = [runs / "pyramid"]
    for name, supports in (("tight", ("restricted",) * 2), ("mixed", ("restricted", "free"))):
        table = tiny(pictures, **CHANGES)
        table["stage"] = [{**table["stage"][0], "support": support} for support in supports]
        found.append(run(runs / "of supports" / name, table))
    return found


def test_a_difference_of_an_exact_figure_and_a_bound_is_said(mixed):
    pyramid, tight, both = mixed
    first, second, third = compare_runs(mixed).runs
    assert tuple(each.evaluation.kind for each in (first, second, third)) == ("bound", "exact", "bound")
    assert [factor.facts.support for factor in third.factors] == ["restricted", "free", None]
    assert [factor.facts.kind for factor in third.factors] == ["exact", "bound", "exact"]
    assert [factor.cumulative_kind for factor in third.factors] == ["bound", "bound", "exact"]
    assert first.notes == []
    assert second.notes == [kinds(pyramid, "total, stage0, stage1")]
    assert third.notes == [kinds(pyramid, "stage0")]
    _, free, both_ways = compare_runs([tight, pyramid, both]).runs
    assert free.notes == [kinds(pyramid, "total, stage0, stage1")]
    assert both_ways.notes == [kinds(both, "total, stage1")]
    table = figures_of(pyramid)
    assert second.heldout.wasted == Mean(0.0, 0.0)
    assert first.heldout.wasted.value == table["wasted_bits_per_dim"]["heldout"] > 0
    assert first.heldout.wasted.error == table["wasted_standard_error"]["heldout"] > 0


def test_what_is_exact_a_bound_and_wasted_is_printed(mixed, capsys):
    assert main(["compare", *map(str, mixed)]) == 0
    blocks = [block.splitlines() for block in capsys.readouterr().out.split("\n\n")]
    _, totals, _, resolutions, factors, wasted, notes = blocks
    assert [line.split()[4] for line in totals[2:]] == ["bound", "exact", "bound"]
    assert [re.findall("bound|exact", line) for line in resolutions[2:]] == [
        ["exact", "bound", "bound"],
        ["exact", "exact", "exact"],
        ["exact", "bound", "bound"],
    ]
    found = [factor.facts.kind for each in compare_runs(mixed).runs for factor in each.factors]
    assert [re.findall("bound|exact", line) for line in factors[2:]] == [[kind] for kind in found]
    assert wasted[0].startswith("Wasted bits: held-out bits/dim that free decoders spend on images with other views.")
    assert [line.split()[:2] for line in wasted[3:]] == [
        ["1", "stage0"],
        ["1", "stage1"],
        ["1", "total"],
        ["3", "stage1"],
        ["3", "total"],
    ]
    first = compare_runs(mixed).runs[0]
    figures = first.factors[1].heldout
    assert wasted[4].endswith(f"{measured(figures.wasted)}  {measured(figures.wasted_share)}")
    assert wasted[5].endswith(f" {measured(first.heldout.wasted)}")
    assert len(notes) == 2


def test_the_page_says_what_is_exact_a_bound_and_wasted(mixed, tmp_path):
    page = page_of(*mixed, out=tmp_path / "page.html")
    first, second, third = compare_runs(mixed).runs
    assert second.notes[0] in page.text
    for compared, kind in ((first, "bound"), (second, "exact"), (third, "bound")):
        assert f"{compared.bits_per_dim:.4f} ± {compared.standard_error:.4f}{kind}" in page.text
        for factor in compared.factors:
            assert f"{factor.facts.factor}{factor.facts.kind}{measured(factor.heldout.bits_per_dim)}" in page.text
            assert f"{measured(factor.heldout.cumulative)} {factor.cumulative_kind}" in page.text
    _, wasted = page.text.split("Wasted bits")
    figures = third.factors[1].heldout
    row = f"3 mixedstage1{measured(figures.wasted)}{measured(figures.wasted_share)}"
    assert f"{row}total{measured(third.heldout.wasted)}" in wasted
    assert "2 tight" not in wasted
    assert "Held-out bits/dim that free decoders spend on images with other views" in wasted


def test_factors_are_compared_where_they_are_the_same(runs):
    _, again, plain = compare_runs([runs / "pyramid", runs / "again", runs / "plain"]).runs
    apart = nats_of(runs / "again") - nats_of(runs / "pyramid")
    for factor, row, dims in zip(again.factors, apart, (192, 48, 12), strict=True):
        bits = row / (-math.log(2) * dims)
        assert factor.margin.bits_per_dim == pytest.approx(bits.mean(), rel=1e-12)
        assert factor.margin.standard_error == pytest.approx(bits.std(ddof=1) / math.sqrt(6), rel=1e-12)
    # Both runs have a factor named `prior`, but these are distributions of different images.
    assert [factor.margin for factor in plain.factors] == [None]


def test_factors_of_other_views_are_not_compared(pictures, runs, tmp_path):
    """The priors of the two runs model images of the same shape, but of different views."""
    view = {"name": "pyramid", "factor": 4}
    folder = run(tmp_path / "other", tiny(pictures, stage__0__view=view, **CHANGES))
    _, other = compare_runs([runs / "pyramid", folder]).runs
    assert other.factors[1].facts.image == ImageSpec(height=2, width=2)
    assert [factor.margin for factor in other.factors] == [None, None]
    assert other.margin.images == 6


def test_a_run_and_itself_do_not_differ(runs):
    _, same = compare_runs([runs / "again", runs / "again"]).runs
    for margin in (same.margin, *(factor.margin for factor in same.factors)):
        assert (margin.bits_per_dim, margin.standard_error, margin.images) == (0.0, 0.0, 6)
        assert math.copysign(1, margin.bits_per_dim) == 1


def test_the_difference_turns_round_with_the_runs(runs):
    forth = compare_runs([runs / "again", runs / "plain"]).runs[1].margin
    back = compare_runs([runs / "plain", runs / "again"]).runs[1].margin
    assert forth.bits_per_dim == pytest.approx(-back.bits_per_dim)
    assert forth.standard_error == pytest.approx(back.standard_error)


def test_of_one_image_nothing_can_be_said(own):
    for name in ("again", "plain"):
        evaluate(own / name, settings=["evaluation.heldout_images=1"])
    margin = compare_runs([own / "again", own / "plain"]).runs[1].margin
    assert (margin.standard_error, margin.images) == (None, 1)


def test_what_a_comparison_holds(runs):
    found = compare_runs([runs / "pyramid", runs / "again", runs / "plain"])
    assert found.image == ImageSpec(height=8, width=8)
    assert resolution_names(found.resolutions) == ["2×2", "4×4", "8×8"]
    for name, compared in zip(("pyramid", "again", "plain"), found.runs, strict=True):
        table = figures_of(runs / name)
        assert compared.run == str(runs / name)
        assert compared.bits_per_dim == table["bits_per_dim"]["heldout"]
        assert compared.standard_error == table["standard_error"]["heldout"]
        assert compared.evaluation.weights == ("last" if name == "again" else "ema")
        assert compared.evaluation.kind == ("exact" if name == "plain" else "bound")
        assert compared.parameters == sum(entry["parameters"] for entry in table["factors"])
        assert compared.images == 6
        for factor, entry in zip(compared.factors, table["factors"], strict=True):
            assert factor.heldout.bits_per_dim.value == entry["heldout"]["bits_per_dim"]
            same = compared.factor_of(factor.facts.image)
            assert same.heldout.cumulative.value == entry["heldout"]["cumulative_bits_per_dim"]
            assert same.cumulative_kind == entry["cumulative_kind"]
            assert factor.facts.steps == 4
    assert found.runs[2].factor_of(found.resolutions[0]) is None


# Unpaired runs


def unpaired(runs: Path, name: str) -> str:
    """Asserts that the runs `again` and `name` are compared by means instead of image by image. Returns the note."""
    first, second = compare_runs([runs / "again", runs / name]).runs
    assert first.standard_error is not None
    assert second.standard_error is not None
    error = math.hypot(first.standard_error, second.standard_error)
    assert second.margin.images is None
    assert second.margin.bits_per_dim == pytest.approx(second.bits_per_dim - first.bits_per_dim)
    assert second.margin.standard_error == pytest.approx(error)
    note, kind = second.notes
    assert kind == kinds(runs / "again", "total")
    return note


def test_another_number_of_images(own):
    evaluate(own / "plain", settings=["evaluation.heldout_images=4"])
    assert unpaired(own, "plain") == (
        f"not compared image by image, because this run was evaluated on 4 held-out images, and {own / 'again'} on 6; "
        f"`auxar evaluate {own / 'plain'} --set evaluation.heldout_images=6` evaluates the same images"
    )
    evaluate(own / "plain", settings=["evaluation.heldout_images=6"])
    assert compare_runs([own / "again", own / "plain"]).runs[1].margin.images == 6


def test_another_division_into_training_and_held_out_images(own, pictures):
    run(own / "split", tiny(pictures, data__split={"train": 0.75, "seed": 1}, stage=None, **CHANGES))
    note = unpaired(own, "split")
    assert note.startswith(f"not compared image by image, because this run and {own / 'again'} were evaluated on ")
    assert f"different held-out images of {pictures}; " in note


def test_streams_with_other_content_are_not_paired(tmp_path):
    """Uncompressed files of equal names and sizes give streams with equal fingerprints."""
    folder = tmp_path / "pictures"
    folder.mkdir()

    def write_all(seed: int) -> None:
        for number, pixels in enumerate(np.random.default_rng(seed).integers(0, 256, (12, 8, 8, 3), np.uint8)):
            Image.fromarray(pixels).save(folder / f"{number:02}.ppm")

    write_all(0)
    table = tiny(folder, stage=None, data__streaming=True, training__steps=1, **CHANGES)
    first = run(tmp_path / "first", table)
    second = Path(shutil.copytree(first, tmp_path / "second"))
    evaluate(second)
    assert compare_runs([first, second]).runs[1].margin.images is not None
    write_all(1)
    evaluate(second)
    found = compare_runs([first, second]).runs[1]
    assert found.margin.images is None
    assert f"different held-out images of {folder}; " in found.notes[0]


def test_equal_pixels_are_paired_whatever_their_fingerprints(own):
    """Fingerprints of the same images differ if they come with conditions in one of the runs."""
    with_facts(own / "again", data__heldout_fingerprint="other")
    assert compare_runs([own / "plain", own / "again"]).runs[1].margin.images is not None


def test_other_images_are_not_subtracted(own, tmp_path):
    other = write_pictures(tmp_path / "other", 20)
    run(own / "other", tiny(other, stage=None, **CHANGES))
    _, found = compare_runs([own / "plain", own / "other"]).runs
    assert found.margin is None
    assert found.factors[0].margin is None
    [note] = found.notes
    assert note.startswith(f"no difference is given, because this run was evaluated on images of {other}, ")


def test_the_same_images_in_another_place_are_the_same(own, pictures, tmp_path):
    shutil.copytree(pictures, tmp_path / "moved")
    evaluate(own / "plain", settings=[f"data.path={tmp_path / 'moved'}"])
    assert figures_of(own / "plain")["data"]["path"] == str(tmp_path / "moved")
    _, found = compare_runs([own / "again", own / "plain"]).runs
    assert (found.margin.images, found.notes) == (6, [kinds(own / "again", "total")])


def test_a_run_that_is_trained_in_part(own, pictures):
    run(own / "part", tiny(pictures, stage__0__repeat=2, **CHANGES, **SEED), only=["prior"])
    _, found = compare_runs([own / "pyramid", own / "part"]).runs
    assert (found.bits_per_dim, found.margin) == (None, None)
    assert [factor.margin and factor.margin.images for factor in found.factors] == [None, None, 6]
    assert found.notes == ["no total, because these factors are not trained yet: stage0, stage1"]
    shutil.copytree(own / "again" / "factors" / "stage0", own / "part" / "factors" / "stage0")
    [note] = compare_runs([own / "pyramid", own / "part"]).runs[1].notes
    assert note == f"trained after the evaluation: stage0; `auxar evaluate {own / 'part'}` includes them"


def test_a_run_that_was_trained_on_other_images(own):
    with_facts(own / "plain", factors__0__trained_on="f00d")
    [note] = compare_runs([own / "plain"]).runs[0].notes
    assert note.endswith("the training set of the evaluation, perhaps on held-out images: prior")


# Mistakes


def test_a_folder_that_is_no_run(own):
    hint = "it does not exist; did you mean 'pyramid'? (known: again, plain, pyramid)"
    assert refusal(own / "pyramide", own / "again") == f"{own / 'pyramide'} is not a run's folder: {hint}"
    inside = "it has no recipe.toml; it contains the runs again, plain, pyramid"
    assert refusal(own / "again", own) == f"{own} is not a run's folder: {inside}"
    (own.parent / "alone").mkdir()
    shutil.rmtree(own)
    assert refusal(own.parent / "alone").endswith("it has no recipe.toml; `auxar run RECIPE` makes a run")


def test_a_run_that_is_not_evaluated(own):
    (own / "plain" / "evaluation.safetensors").unlink()
    said = f"{own / 'plain'} is not evaluated: it has no evaluation.safetensors"
    assert refusal(own / "again", own / "plain") == f"{said}; run `auxar evaluate {own / 'plain'}`"


def test_images_of_another_size(own, tmp_path):
    pictures = write_pictures(tmp_path / "small", side=4)
    run(own / "small", tiny(pictures, image={"height": 4, "width": 4}, stage=None, **CHANGES))
    assert refusal(own / "again", own / "small") == (
        f"{own / 'small'} models images of 4×4×3 with 256 levels, and {own / 'again'} models images of 8×8×3 with 256 "
        "levels, so their bits/dim cannot be compared; compare runs with the same [image]"
    )
    with_facts(own / "plain", factors__0__image__levels=16)
    assert "plain models images of 8×8×3 with 16 levels, and " in refusal(own / "again", own / "plain")


@pytest.mark.parametrize("content", [b"", b"x" * 100, b'{"kind": "bound"}'])
def test_a_file_that_is_not_an_evaluation(own, content):
    file = own / "plain" / "evaluation.safetensors"
    for found in (content, file.read_bytes()[:-1]):
        file.write_bytes(found)
        message = refusal(own / "again", own / "plain")
        assert message.startswith(f"{file} is damaged: ")
        assert message.endswith(f"; run `auxar evaluate {own / 'plain'}` to write a new evaluation")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"factors__0__steps": "many"}, "factors[0].steps: expected int, got 'many'"),
        ({"factors__0__image__height": 0}, "height"),
        ({"factors__0__kind": HOSTILE}, "factors[0].kind: expected one of exact, bound"),
        ({"factors": []}, "factors"),
    ],
)
def test_facts_with_wrong_entries(own, change, problem):
    with_facts(own / "plain", **change)
    message = refusal(own / "again", own / "plain")
    assert message.startswith(f"{own / 'plain' / 'evaluation.safetensors'} is damaged: its metadata entry 'facts' is ")
    assert problem in message


@pytest.mark.parametrize(
    "changes",
    [
        {"heldout.other.nats": torch.zeros(3, 6, dtype=torch.float64)},
        {"heldout.prior.nats": torch.zeros(2, 6, dtype=torch.float64)},
        {"heldout.prior.nats": torch.zeros(6, dtype=torch.float64)},
        {"heldout.prior.inside": torch.zeros(3, 5, dtype=torch.float64)},
        {"heldout.prior.nats": torch.zeros(3, 6)},
        {"nats": torch.zeros(3, 6, dtype=torch.float64)},
    ],
)
def test_log_likelihoods_that_do_not_fit_the_facts(own, changes):
    file = own / "plain" / "evaluation.safetensors"
    tensors, metadata = read_tensors(file)
    write_tensors(file, tensors | changes, metadata)
    assert refusal(own / "plain").startswith(f"{file} is damaged: ")


def test_a_recipe_that_is_not_the_runs(own):
    shutil.copy(own / "pyramid" / "recipe.toml", own / "plain" / "recipe.toml")
    assert "evaluation.safetensors does not belong to this run's recipe: " in refusal(own / "plain")
    (own / "plain" / "recipe.toml").write_text("[[")
    assert refusal(own / "plain").startswith(f"{own / 'plain' / 'recipe.toml'} is damaged: ")


# The command


def mean_of(nats_of_images: np.ndarray, dims: int, sign: str = "") -> str:
    """Returns the mean bits/dim of images with log-likelihoods in nats, (images,), and its standard error."""
    bits = nats_of_images / (-math.log(2) * dims)
    return f"{bits.mean():{sign}.4f} ± {bits.std(ddof=1) / math.sqrt(len(bits)):.4f}"


def test_the_tables_show_the_figures_of_the_files(runs, monkeypatch, capsys, tmp_path):
    """Computes each cell from the stored log-likelihoods, and compares it with the terminal and the page."""
    names = ["pyramid", "again", "plain"]
    monkeypatch.chdir(runs)
    assert main(["compare", *names, "--out", str(tmp_path / "page.html")]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 100
    assert lines[:3] == ["1    pyramid", "2    again", "3    plain"]
    on_screen = [
        [re.split(" {2,}", line) for line in block.splitlines()[2:]] for block in "\n".join(lines[4:]).split("\n\n")
    ]
    page = Page((tmp_path / "page.html").read_text("utf-8"))
    on_page = [[[" ".join(cell.split()) for cell in row] for row in table[1:]] for table in page.tables]

    totals, resolutions, factors = [], [], []
    first = nats_of(runs / "pyramid")
    for number, name in enumerate(names, 1):
        table, rows = figures_of(runs / name), nats_of(runs / name)
        weights = "last" if name == "again" else "EMA"
        parameters = [f"{entry['parameters']:,}" for entry in table["factors"]]
        together = f"{sum(entry['parameters'] for entry in table['factors']):,}"
        apart = ["–", "–"] if name == "pyramid" else [mean_of(rows.sum(0) - first.sum(0), 192, "+"), "6 images"]
        kind = "exact" if name == "plain" else "bound"
        totals.append([str(number), mean_of(rows.sum(0), 192), kind, *apart, "6", weights, together, "4"])
        if name == "plain":
            chain = [("prior", "exact", 192, "p(8×8×3)")]
            resolutions.append([str(number), "–", "–", f"{mean_of(rows[0], 192)} exact"])
        else:
            chain = [
                ("stage0", "bound", 192, "p(8×8×3 | 4×4×3)"),
                ("stage1", "bound", 48, "p(4×4×3 | 2×2×3)"),
                ("prior", "exact", 12, "p(2×2×3)"),
            ]
            sums = [f"{mean_of(rows[k:].sum(0), chain[k][2])} {chain[k][1]}" for k in (2, 1, 0)]
            resolutions.append([str(number), *sums])
        for k, (factor, kind, dims, term) in enumerate(chain):
            own, share = mean_of(rows[k], dims), mean_of(rows[k], 192)
            minus = mean_of(rows[k] - first[k], dims, "+") if name == "again" else "–"
            factors.append([str(number), factor, kind, own, minus, share, term, parameters[k], "4"])

    assert on_screen[0] == totals
    on_screen.pop(1)
    assert [row[0] for row in on_page.pop(1)] == ["1", "2", "3"]
    assert on_screen[1] == resolutions
    # The terminal does not show the parameters of factors.
    assert on_screen[2] == [[*row[:-2], row[-1]] for row in factors]
    numbered = [f"{number} {name}" for number, name in enumerate(names, 1)]
    assert on_page[0] == [[name, *row[1:]] for name, row in zip(numbered, totals, strict=True)]
    assert on_page[1] == [[name, *row[1:]] for name, row in zip(numbered, resolutions, strict=True)]
    groups = [[[name], *(row[1:] for row in factors if row[0] == name[0])] for name in numbered]
    assert on_page[2] == [row for group in groups for row in group]


def test_notes_are_printed_with_their_run(own, monkeypatch, capsys):
    with_facts(own / "plain", data__heldout_digest="other")
    monkeypatch.chdir(own)
    assert main(["compare", "again", "plain"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith(
        "2: not compared image by image, because this run and again were evaluated on different"
    )
    assert lines[-1] == f"2: {kinds(Path('again'), 'total')}"
    assert any(line.startswith("2 ") and "unpaired" in line for line in lines)


def test_views_of_one_resolution_are_told_apart(own, pictures):
    run(own / "gray", tiny(pictures, stage__0__view={"name": "grayscale"}, **CHANGES))
    found = compare_runs([own / "pyramid", own / "gray"])
    assert resolution_names(found.resolutions) == ["2×2", "4×4", "8×8×1 (16 levels)", "8×8×3 (256 levels)"]


def test_json(runs, capsys):
    paths = [str(runs / name) for name in ("pyramid", "plain")]
    assert main(["compare", *paths, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    expected = compare_runs([Path(path) for path in paths])
    assert found["image"] == {"channels": 3, "height": 8, "width": 8, "levels": 256}
    assert [each["run"] for each in found["runs"]] == paths
    assert found["runs"][1]["margin"]["standard_error"] == expected.runs[1].margin.standard_error
    assert found["runs"][0]["factors"][2]["heldout"]["nats"] == expected.runs[0].factors[2].heldout.nats.value
    assert main(["compare", paths[0], str(runs / "again"), "--json"]) == 0
    margins = [each["margin"]["bits_per_dim"] for each in json.loads(capsys.readouterr().out)["runs"][1]["factors"]]
    again = compare_runs([runs / "pyramid", runs / "again"]).runs[1]
    assert margins == [factor.margin.bits_per_dim for factor in again.factors]


def test_mistakes_are_told_and_nothing_is_written(own, capsys):
    page = own / "page.html"
    assert main(["compare", str(own / "again"), str(own / "plane"), "--out", str(page)]) == 2
    output = capsys.readouterr()
    assert output.out == ""
    assert "did you mean 'plain'?" in output.err
    assert not page.exists()
    assert main(["compare", str(own / "again"), str(own / "plain"), "--out", str(own)]) == 2
    output = capsys.readouterr()
    assert (output.out, "Traceback" in output.err) == ("", False)
    assert f"auxar: {own} cannot be written: " in output.err


# The page


def page_of(*paths: Path, out: Path | None = None) -> Page:
    out = out or paths[0].parent / "page.html"
    assert main(["compare", *map(str, paths), "--out", str(out)]) == 0
    return Page(out.read_text("utf-8"))


def test_the_page_is_whole_and_asks_for_nothing(own):
    page = page_of(own / "pyramid", own / "again", own / "plain")
    assert page.all("script") == []
    assert page.all("img") == []
    assert "default-src 'none'" in page.all("meta")[1]["content"]
    assert "width=device-width" in page.all("meta")[2]["content"]
    assert len(page.all("table")) == 5
    assert len([each for each in page.all("div") if each.get("class") == "scroll"]) == 5
    for _, attributes in page.elements:
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(key, "data:").startswith("data:")
    text = (own / "page.html").read_text("utf-8")
    assert not re.search(r"https?://|@import|url\(", text)
    assert "3 runs compared" in page.text
    for name in ("pyramid", "again", "plain"):
        assert str(own / name) in page.text


@pytest.mark.parametrize("hide", ["run", "path", "fingerprint", "weights"])
def test_text_from_files_never_becomes_markup(own, hide):
    expected = HOSTILE
    folder = own / "plain"
    # Other images cause a note that contains the run's name.
    with_facts(folder, data__heldout_digest="other")
    if hide == "run":
        # A file name cannot contain a slash.
        expected = HOSTILE.replace("/", "")
        folder = folder.rename(own / expected)
    else:
        key = {
            "path": "data__path",
            "fingerprint": "data__heldout_fingerprint",
            "weights": "factors__0__weights",
        }[hide]
        with_facts(folder, **{key: HOSTILE})
    page = page_of(own / "again", folder)
    assert page.all("script") == []
    assert page.all("img") == []
    assert not [attributes for _, attributes in page.elements if "onerror" in attributes]
    # The page describes the kind of weights in fixed words and does not show the text of the file.
    assert (expected in page.text) == (hide != "weights")


def test_the_page_says_what_is_not_paired(own):
    with_facts(own / "plain", data__heldout_digest="other")
    page = page_of(own / "again", own / "plain")
    assert "unpaired" in page.text
    assert "were evaluated on different held-out images" in page.text
