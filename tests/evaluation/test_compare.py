"""Tests that runs are compared on the same images, and that a note explains where this is impossible."""

import json
import math
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from helpers.evaluations import figures_of, nats_of, with_facts
from helpers.html_page import HOSTILE, Page
from helpers.tiny_runs import run, said, tiny, write_pictures

import auxar
from auxar.cli import main
from auxar.commands.evaluate import evaluate
from auxar.evaluation.comparison import compare_runs
from auxar.evaluation.figures import Mean
from auxar.evaluation.stored import evaluation_of
from auxar.model import ImageSpec
from auxar.recipe import load_recipe
from auxar.recipe.cost import factor_costs
from auxar.report.charts import cost_charts
from auxar.report.comparison_tables import comparison_tables
from auxar.report.page import comparison_page
from auxar.report.summary import MeasuredRun, summary_lines
from auxar.runs.layout import RunFolder

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
    return said(compare_runs, paths)


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


def test_factors_of_other_views_are_not_compared(pictures, runs, tmp_path):
    """The priors of the two runs model images of the same shape, but of different views."""
    view = {"name": "pyramid", "factor": 4}
    folder = run(tmp_path / "other", tiny(pictures, stage__0__view=view, **CHANGES))
    _, other = compare_runs([runs / "pyramid", folder]).runs
    assert other.factors[1].facts.image == ImageSpec(height=2, width=2)
    assert [factor.margin for factor in other.factors] == [None, None]
    assert other.margin.images == 6


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


def test_equal_pixels_are_paired_whatever_their_fingerprints(own):
    """Fingerprints of the same images differ if they come with conditions in one of the runs."""
    with_facts(own / "again", data__heldout_fingerprint="other")
    assert compare_runs([own / "plain", own / "again"]).runs[1].margin.images is not None


def test_figures_that_are_given_a_condition_say_so(own, tmp_path):
    with_facts(own / "again", condition="label", factors__0__condition="label")
    found = compare_runs([own / "plain", own / "again"])
    told = "Bits/dim are given no condition (run 1) and each image's label (run 2)"
    assert [table.caption.endswith(f". {told}") for table in comparison_tables(found)] == [True] * 6
    assert Page(comparison_page(found)).text.count(told) == 7
    assert re.search(r"^Comparison\(.* \S+ ± \S+ bits/dim \(exact, p\(X\)\).* p\(X \| label\)", repr(found))
    assert [str(run.factors[0].facts).endswith(", label)") for run in found.runs] == [False, True]
    auxar.compare([own / "again"], tables=tmp_path)
    text = (tmp_path / "bits-dim-by-factor.tex").read_text()
    assert r"$p(X_{0} \mid X_{1}, \mathrm{label})$ stage0" in text
    assert "given each image's label.}" in text
    assert ", given their label)" in "\n".join(summary_lines(MeasuredRun(own / "again").summary))


def test_the_total_of_runs_without_views_is_not_repeated(runs):
    tables = comparison_tables(compare_runs([runs / "plain"] * 2))
    assert [table.title for table in tables] == ["Whole model", "By setting", "Compared with lossless codecs"]
    assert " and bits/dim of run 1 (exact: " in tables[2].caption


def test_other_images_are_not_subtracted(own, tmp_path):
    other = write_pictures(tmp_path / "other", 20)
    run(own / "other", tiny(other, stage=None, **CHANGES))
    _, found = compare_runs([own / "plain", own / "other"]).runs
    assert found.margin is None
    assert found.factors[0].margin is None
    [note] = found.notes
    assert note.startswith(f"no difference is given, because this run was evaluated on images of {other}, ")


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


@pytest.mark.parametrize("damage", [b"", {"factors__0__steps": "many"}, {"factors__0__kind": HOSTILE}], ids=str)
def test_a_damaged_evaluation_is_named(own, damage):
    """The file is no evaluation, or its facts are wrong."""
    file = own / "plain" / "evaluation.safetensors"
    if isinstance(damage, bytes):
        file.write_bytes(damage)
    else:
        with_facts(own / "plain", **damage)
    message = refusal(own / "again", own / "plain")
    assert message.startswith(f"{file} is damaged: ")
    assert message.endswith(f"; run `auxar evaluate {own / 'plain'}` to write a new evaluation")


def test_an_evaluation_of_other_weights_is_not_used(own):
    shutil.copy(own / "again" / "evaluation.safetensors", own / "pyramid")
    assert "is an evaluation of other weights than those in" in refusal(own / "pyramid")
    assert evaluation_of(RunFolder(own / "pyramid")) is None
    assert "is an evaluation of other weights" in said(lambda: MeasuredRun(own / "pyramid").bits_per_dim)


def test_a_recipe_that_is_not_the_runs(own):
    shutil.copy(own / "pyramid" / "recipe.toml", own / "plain" / "recipe.toml")
    assert "evaluation.safetensors does not belong to this run's recipe: " in refusal(own / "plain")
    (own / "plain" / "recipe.toml").write_text("[[")
    assert refusal(own / "plain").startswith(f"{own / 'plain' / 'recipe.toml'}: not valid TOML: ")


# The command


def mean_of(nats_of_images: np.ndarray, dims: int, sign: str = "") -> str:
    """Returns the mean bits/dim of images with log-likelihoods in nats, (images,), and its standard error."""
    bits = nats_of_images / (-math.log(2) * dims)
    return f"{bits.mean():{sign}.4f} ± {bits.std(ddof=1) / math.sqrt(len(bits)):.4f}"


def test_the_tables_show_the_figures_of_the_files(runs, monkeypatch, capsys):
    """Computes each cell from the stored log-likelihoods, and compares it with the terminal."""
    names = ["pyramid", "again", "plain"]
    monkeypatch.chdir(runs)
    assert main(["compare", *names]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[:-1])) <= 100
    assert lines[:3] == ["1    pyramid", "2    again", "3    plain"]
    on_screen = [
        [re.split(" {2,}", line) for line in block.splitlines()[2:]] for block in "\n".join(lines[4:]).split("\n\n")
    ]
    totals, resolutions, factors = [], [], []
    first = nats_of(runs / "pyramid")
    for number, name in enumerate(names, 1):
        table, rows = figures_of(runs / name), nats_of(runs / name)
        weights = "last" if name == "again" else "EMA"
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
            factors.append([str(number), factor, kind, own, minus, share, term, "4"])

    on_screen.pop(1)  # The means over seeds.
    assert on_screen[:3] == [totals, resolutions, factors]


def test_bits_are_drawn_against_the_time_and_the_multiply_adds_of_training(own):
    """Reads the axes of both drawings back from their ticks."""
    folders = [own / name for name in ("pyramid", "again", "plain")]
    metrics = own / "again" / "factors" / "prior" / "metrics.jsonl"
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    metrics.write_text("".join(json.dumps(line | {"seconds": 40 * line["step"]}) + "\n" for line in lines))
    found = compare_runs(folders)
    costs = {cost.factor: cost.multiply_adds for cost in factor_costs(load_recipe(own / "plain" / "recipe.toml"))}
    config = load_recipe(own / "plain" / "recipe.toml").training
    assert found.runs[2].multiply_adds == 3 * costs["prior"] * config.batch_size * 4
    assert found.runs[0].multiply_adds != found.runs[2].multiply_adds
    assert found.runs[1].seconds == pytest.approx(160, rel=0.1)
    assert found.to_dict()["runs"][1]["seconds"] == found.runs[1].seconds
    charts = cost_charts(found)
    assert [title for title, _ in charts] == ["Training time", "Training compute"]
    expected = [[each.seconds / 60 for each in found.runs], [each.multiply_adds or 0.0 for each in found.runs]]
    for (_, chart), drawn in zip(charts, expected, strict=True):
        svg = ElementTree.fromstring(chart)
        labels = [node for node in svg.findall("text") if node.attrib.get("class") is None]
        points = [(float(node.attrib["cx"]), float(node.attrib["cy"])) for node in svg.findall("circle")]
        upright = [node for node in labels if node.attrib.get("text-anchor") == "middle"]
        level = [node for node in labels if node.attrib.get("text-anchor") == "end"]
        ticks = np.log10([float(node.text or "") for node in upright])
        across = np.polyfit([float(node.attrib["x"]) for node in upright], ticks, 1)
        values = [float(node.text or "") for node in level]
        down = np.polyfit([float(node.attrib["y"]) - 4 for node in level], values, 1)
        for (x, y), cost, each in zip(points, drawn, found.runs, strict=True):
            assert np.polyval(across, x) == pytest.approx(np.log10(cost), abs=0.05)
            assert np.polyval(down, y) == pytest.approx(each.bits_per_dim, abs=0.02)
    metrics.unlink()
    assert compare_runs(folders).runs[1].seconds is None
    assert "Training time" in Page(comparison_page(compare_runs(folders))).text
    assert [title for title, _ in cost_charts(compare_runs(folders[:2]))] == ["Training compute"]
    assert cost_charts(compare_runs(folders[:1])) == []


def test_notes_are_printed_with_their_run(own, monkeypatch, capsys):
    with_facts(own / "plain", data__heldout_digest="other")
    monkeypatch.chdir(own)
    assert main(["compare", "again", "plain", "--out", "page.html"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].removeprefix("2: ") in Page(Path("page.html").read_text("utf-8")).text
    assert lines[-2].startswith(
        "2: not compared image by image, because this run and again were evaluated on different"
    )
    assert lines[-1] == f"2: {kinds(Path('again'), 'total')}"
    assert any(line.startswith("2 ") and "unpaired" in line for line in lines)
    assert main(["compare", "again", "plain", "--tables", "tables"]) == 0
    assert f"\n% Run 2: {kinds(Path('again'), 'total')}.\n" in Path("tables/whole-model.tex").read_text()
