"""Tests that the report is one complete, escaped page that names what is missing."""

import base64
import json
import math
import re
from pathlib import Path
from typing import Any

import attrs
import pytest
import tomli_w
import torch
from helpers.html_page import Page
from helpers.tiny_runs import tiny

from auxar.draw.sheets import labeled, save_png, sheet
from auxar.errors import UserError
from auxar.evaluation.evaluation import Evaluation
from auxar.evaluation.facts import DataFacts, FactorFacts
from auxar.evaluation.stored import write_evaluation
from auxar.model import ImageSpec
from auxar.report import write_report
from auxar.runs.format import write_format
from auxar.runs.layout import RunFolder
from auxar_rules import Map

RECIPE = tomli_w.dumps(tiny(Path("emoji"), image={"height": 32, "width": 32}, stage__0__repeat=2))
TOGETHER = ", each sample together with its drawn views"
SPECS = [ImageSpec(height=side, width=side) for side in (32, 16, 8)]
NAMES = ["stage0", "stage1", "prior"]
METRICS = "factors/all/metrics.jsonl"


def read(folder):
    path = write_report(folder)
    assert path == folder / "report.html"
    return Page(path.read_text("utf-8"))


BITS, ERRORS = (2.111, 2.224, 3.333), (0.021, 0.022, 0.023)
"""Held-out bits/dim of the factors and their standard errors. Training images have 1 bit/dim less, and 0.01 less."""
COUNTS = {"heldout": 224, "training": 1000}


def nats_of(bits, error, dims, place, count):
    """Log-likelihoods of images, (1, count), whose bits for each of `dims` have this mean and standard error.

    Those of different places do not correlate.
    """
    signs = torch.tensor([1.0, -1.0], dtype=torch.float64).repeat_interleave(2**place).repeat(count // 2 ** (place + 1))
    return -(bits + error * math.sqrt(count - 1) * signs[None]) * math.log(2) * dims


def evaluation():
    """Returns an evaluation of free decoders that cannot split their likelihoods, with made-up numbers."""
    kinds: list[Any] = [(SPECS[1], "free", "bound"), (SPECS[2], "free", "bound"), (None, None, "exact")]
    factors = [
        FactorFacts(name, SPECS[k], view, support, kind, parameters=1234000 + k, steps=900 + k, weights="ema")
        for k, (name, (view, support, kind)) in enumerate(zip(NAMES, kinds, strict=True))
    ]
    tensors = {
        f"{images}.{name}.nats": nats_of(bits - less, error - less / 100, spec.dims, place, COUNTS[images])
        for images, less in (("heldout", 0), ("training", 1))
        for place, (name, bits, error, spec) in enumerate(zip(NAMES, BITS, ERRORS, SPECS, strict=True))
    }
    return Evaluation(factors, DataFacts("some/images", "f00dfeed", "f00d", 7, "feed"), tensors=tensors)


def evaluation_of(*supports):
    """Returns an evaluation of a chain with these supports and channels, in which free decoders waste bits."""
    found = evaluation()
    tensors = {key: nats.repeat(3, 1) / 3 for key, nats in found.tensors.items()}
    for place, support in enumerate(supports):
        found = with_factor(found, place, support=support, kind="bound" if support == "free" else "exact")
        if support == "free":
            lost = [nats_of(0.125 + k, 0.011, SPECS[place].dims / 3, place, COUNTS["heldout"]) for k in range(3)]
            tensors[f"heldout.{NAMES[place]}.inside"] = torch.cat(lost)
    return attrs.evolve(found, tensors=tensors)


def with_factor(found, place, **changes):
    """Returns an evaluation with changes of the facts of a factor."""
    factors = list(found.factors)
    factors[place] = attrs.evolve(factors[place], **changes)
    return attrs.evolve(found, factors=factors)


def without(found, *parts):
    """Returns an evaluation without the log-likelihoods whose keys begin with `parts`."""
    tensors = {key: nats for key, nats in found.tensors.items() if not key.startswith(parts)}
    return attrs.evolve(found, tensors=tensors)


def from_depth(found, depth):
    """Returns an evaluation of the factors from a depth on."""
    parts = [f"{images}.{factor.factor}." for images in COUNTS for factor in found.factors[:depth]]
    return attrs.evolve(without(found, *parts), factors=found.factors[depth:])


def line(name, step, bits, **more):
    return {"factor": name, "step": step, "total_steps": 1200, "bits_per_dim": bits, "seconds": step / 2, **more}


def metrics(name, count=60):
    return [line(name, step, 3 + 5 / (1 + step), learning_rate=0.001) for step in range(20, 20 * count + 1, 20)]


def write_metrics(folder, lines, end=""):
    (folder / "factors" / "all").mkdir(parents=True, exist_ok=True)
    (folder / METRICS).write_text("".join(json.dumps(line) + "\n" for line in lines) + end)


def write_samples(folder, **facts):
    """Writes the record of samples."""
    usual = {"rule": {"name": "map"}, "meaning": Map(0).meaning, "seed": 5, "count": 16}
    usual |= {"sampler": "wavefront", "arithmetic": "float", "seconds": 3.2}
    (folder / "samples/samples.json").write_text(json.dumps(usual | facts))


@pytest.fixture
def run(tmp_path):
    """A finished run's folder, with made-up numbers."""
    folder = tmp_path / "pyramid_emoji32"
    samples = folder / "samples"
    samples.mkdir(parents=True)
    write_format(folder)
    (folder / "recipe.toml").write_text(RECIPE)
    write_evaluation(RunFolder(folder), evaluation())
    write_metrics(folder, [line for name in NAMES for line in metrics(name)])
    views = [("", torch.randint(256, (4, *spec.shape)), spec) for spec in SPECS]
    save_png(sheet(*views[0][1:]), samples / "samples.png")
    save_png(labeled(views[::-1]), samples / "growth.png")
    write_samples(folder)
    return folder


def test_a_finished_run_tells_everything(run):
    page = read(run)
    assert page.all("html") == [{"lang": "en"}]
    assert "pyramid_emoji32" in page.text
    assert "p(X0, …, X2) = p(X0 | X1) p(X1 | X2) p(X2)" in page.text
    assert "X0 32×32×3, X1 16×16×3, X2 8×8×3, 256 levels" in page.text
    assert "2.875 ± 0.022 bits/dim" in page.text
    assert "an upper bound: the images' exact bits/dim are lower or equal" in page.text
    assert "Training images1.563± 0.011 bits/dim, an upper bound" in page.text
    assert "224held-out images" in page.text
    assert "EMA" in page.text
    assert "3.7 Min 3 factors" in page.text
    assert f"16 samples, drawing rule ‘map’ ({Map(0).meaning}), seed 5" in page.text
    assert "sampler ‘wavefront’, drawn in 3.2 s" in page.text
    row = "p(X1 | X2) stage1bound2.224 ± 0.0220.5561.224 ± 0.0120.30616×16×31,234,001901"
    assert row in page.text
    assert "totalbound2.875 ± 0.0221.563 ± 0.011" in page.text
    assert "resolution8×816×1632×32bits/dim3.3333.0572.875kindexactboundbound" in page.text
    # The evaluation has no figures of wasted bits, so the page does not mention them.
    assert "asted" not in page.text
    assert "some/images" in page.text
    assert "f00dfeed" in page.text
    assert "224 held-out and 1,000 training" in page.text
    assert "7 (unreadable)" in page.text
    assert re.sub(r"\s+", " ", RECIPE) in page.text
    assert page.all("details") == [{"open": None}]
    assert not [attributes for attributes in page.all("p") if attributes.get("class") == "missing"]


def test_validation_images_have_a_curve_and_the_kept_weights_a_mark(run):
    """Two factors have validation images. One kept its best weights, and the other stopped early and kept its last."""
    assert "validation" not in read(run).text
    table = evaluation()
    table = with_factor(table, 1, steps=600, kept="best", trained_steps=1200)
    table = with_factor(table, 2, steps=900, kept="last", trained_steps=900, stopped_early=True)
    write_evaluation(RunFolder(run), table)
    for name in NAMES[1:]:
        lines = [line(name, step, None, validation_bits_per_dim=3.0) for step in (300, 600, 900)]
        with (run / METRICS).open("a") as file:
            file.writelines(json.dumps(each) + "\n" for each in lines)
    page = read(run)
    assert [
        len([node for node in page.all(kind) if node.get("class") == "validation"]) for kind in ("polyline", "line")
    ] == [2, 1]
    labels = [chart["aria-label"] for chart in page.all("svg") if chart.get("class") == "chart"]
    assert "validation" not in labels[0]
    assert labels[1].endswith(", validation 3.000, weights of step 600 kept")
    assert labels[2].endswith(", validation 3.000, weights of step 900 kept")
    assert "1,200 steps; weights of step 600, the best by validation images; " in page.text
    assert "1,200 steps; stopped early" in page.text
    assert "validation images, evaluated during training" in page.text
    assert "the best by validation images: stage1 at step 600" in " ".join(page.text.split())


def test_pictures_travel_inside_the_page(run):
    sources = [attributes["src"] for attributes in read(run).all("img")]
    for source, name in zip(sources, ["samples.png", "growth.png"], strict=True):
        kind, content = source.split(",")
        assert kind == "data:image/png;base64"
        assert base64.b64decode(content) == (run / "samples" / name).read_bytes()
    # Images are 128 pixels high on the sheets, with margins of 2 pixels. The sheets have two and four rows.
    sizes = [(attributes["width"], attributes["height"]) for attributes in read(run).all("img")]
    assert sizes == [("262", "262"), ("392", "522")]


def test_images_drawn_during_training_are_shown_by_factor_and_step(run):
    for name, count in (("prior", 20), ("stage0", 1), ("stage7", 1)):
        (run / "factors" / name).mkdir(exist_ok=True, parents=True)
        for step in range(1, count + 1):
            images = torch.full((8, *SPECS[2].shape), step)
            save_png(sheet(images, SPECS[2], columns=8), run / "factors" / name / f"samples-{step:09d}.png")
    page = read(run)
    shown = [image for image in page.all("img") if image["alt"].startswith("Images drawn by")]
    steps = [("stage0", 1), *(("prior", step) for step in (1, 4, 6, 9, 12, 15, 17, 20))]
    assert [image["alt"] for image in shown] == [f"Images drawn by {name} after step {step}" for name, step in steps]
    content = base64.b64decode(shown[-1]["src"].split(",")[1])
    assert content == (run / "factors" / "prior" / "samples-000000020.png").read_bytes()
    (run / "factors" / "prior" / "samples-000000020.png").write_text("no picture")
    with pytest.raises(UserError, match=r"samples-000000020\.png is damaged: not a PNG image"):
        read(run)


@pytest.mark.parametrize(
    ("kind", "stages", "condition", "told", "term"),
    [
        ("bound", 2, None, f"{TOGETHER} (an upper bound: the images' exact bits/dim are lower or equal)", "p(X0 | X1)"),
        ("exact", 0, None, " (exact: the bits/dim of the images themselves)", "p(X)"),
        ("exact", 0, "label", " (exact: the bits/dim of the images themselves, given their label)", "p(X | label)"),
    ],
)
def test_how_likely_samples_are_is_said_to_be_exact_or_a_bound(run, kind, stages, condition, told, term):
    """It is stored with the samples, because the model may be restricted later."""
    write_samples(run, columns=2, bits_per_dim=[2.0, 4.25, float("inf"), 1.23456], kind=kind)
    table = evaluation_of("restricted", "restricted")
    table = attrs.evolve(from_depth(table, 2 - stages), condition=condition)
    write_evaluation(RunFolder(run), with_factor(table, 0, condition=condition, weights="last"))
    page = read(run)
    assert f"steps{'own sizeshare' * 2}{term} {NAMES[2 - stages]}" in page.text
    assert ("By resolution" in page.text) == bool(stages)
    assert ("weights of the last step" in page.text) == (stages == 0), "not the weights of all factors"
    for words in ("bits, given the image’s label.", "Bits/dim are given each image's label."):
        assert (words in page.text) == bool(condition)
    assert f"Their bits/dim range from 1.235 to 4.250{told}." in page.text
    assert json.loads(page.all("img")[0]["data-tiles"])[2] == f"bits/dim, {kind}"


def test_channels_have_a_table_where_a_factor_tells_them_apart(run):
    assert "By channel" not in read(run).text
    table = evaluation()
    channels = torch.cat([nats_of(bits, 0.125, 16 * 16, 1, COUNTS["heldout"]) for bits in (1.5, 2.5, 3.25)])
    write_evaluation(RunFolder(run), attrs.evolve(table, tensors=table.tensors | {"heldout.stage1.nats": channels}))
    text = read(run).text
    assert "By channelfactorkindchannel 0channel 1channel 2" in text
    assert "p(X1 | X2) stage1bound1.500 ± 0.1252.500 ± 0.1253.250 ± 0.125p(X2) priorexact–––" in text


@pytest.mark.parametrize(("support", "what"), [("free", "two bounds"), ("restricted", "two exact figures")])
def test_the_difference_of_heldout_and_training_images_is_said(run, support, what):
    write_evaluation(RunFolder(run), evaluation_of(support, support))
    # 1 + 1/4 + 1/16, the difference of each factor's share
    assert re.search(
        rf"Held-out minus training images: 1.31[23] ± 0.025 bits/dim, a difference of {what}\.", read(run).text
    )


def test_every_figure_of_a_mixed_chain_is_said_to_be_exact_or_a_bound(run):
    write_evaluation(RunFolder(run), evaluation_of("free", "restricted"))
    text = read(run).text
    bound = "an upper bound: the images' exact bits/dim are lower or equal"
    assert f"{bound}; 1.125 bits/dim fall on images with other views" in text
    for factor, kind in (("p(X0 | X1) stage0", "bound"), ("p(X1 | X2) stage1", "exact"), ("p(X2) prior", "exact")):
        # The kind is shown in the tables by factor and by channel, and at the chart of the loss.
        assert text.count(f"{factor}{kind}") == 2
        assert f"{factor}, {kind}" in text
    assert "totalbound2.875 ± 0.022" in text
    assert "bits/dim3.3333.0572.875kindexactexactbound" in text
    assert "the bits/dim of the image itself are at most this total. All other figures are exact." in text


def test_what_free_decoders_waste_is_shown_by_factor_and_channel(run):
    write_evaluation(RunFolder(run), evaluation_of("free", "free"))
    text = read(run).text
    channels = "0.125 ± 0.0111.125 ± 0.0112.125 ± 0.011"
    assert (
        "Wasted bitsfactorown sizesharechannel 0channel 1channel 2"
        f"p(X0 | X1) stage01.125 ± 0.0111.125 ± 0.011{channels}p(X1 | X2) stage11.125 ± 0.0110.281 ± 0.003{channels}"
        "total1.406 ± 0.011Held-out bits/dim that free decoders spend on images with other views."
    ) in text
    # This chain has a free decoder that cannot report wasted bits.
    table = evaluation_of("free", "free")
    tensors = table.tensors | {"heldout.stage1.nats": evaluation().tensors["heldout.stage1.nats"]}
    del tensors["heldout.stage1.inside"]
    write_evaluation(RunFolder(run), attrs.evolve(table, tensors=tensors))
    text = read(run).text
    assert "p(X1 | X2) stage1–––––total–Held-out bits/dim that free decoders spend" in text
    assert "bits/dim fall on images" not in text


def test_nothing_is_asked_for_from_outside(run):
    page = read(run)
    assert not re.search(r"https?://|@import|url\(", (run / "report.html").read_text("utf-8"))
    for _, attributes in page.elements:
        for key in ("src", "href", "srcset", "data", "action", "poster"):
            assert attributes.get(key, "data:").startswith("data:")
    assert "default-src 'none'" in page.all("meta")[1]["content"]


def test_names_that_are_not_text_do_not_stop_the_page(run):
    facts = evaluation()
    write_evaluation(RunFolder(run), attrs.evolve(facts, data=attrs.evolve(facts.data, path="images\ud800")))
    assert "images?" in read(run).text


def test_an_empty_run_says_what_is_missing(tmp_path):
    write_format(tmp_path)
    page = read(tmp_path)
    for sentence in (
        "This run has not been evaluated yet",
        "No samples have been drawn yet.",
        "There are no training metrics yet.",
        "The data set is recorded when the run is evaluated.",
        "The run's folder contains no recipe.",
    ):
        assert sentence in page.text
    assert not page.all("img")
    assert not page.all("table")


def test_without_training_images_there_is_nothing_to_compare(run):
    write_evaluation(RunFolder(run), without(evaluation(), "training."))
    page = read(run)
    assert "Training images were not evaluated" in page.text
    assert "factorkindheld-outsizeparametersstepsown sizesharep(X0" in page.text


def test_missing_pictures_and_facts_of_samples_are_said(run):
    (run / "samples/growth.png").unlink()
    (run / "samples/samples.json").unlink()
    page = read(run)
    assert "The picture of these samples from coarse to fine is missing." in page.text
    assert "The run does not record how these samples were drawn." in page.text


def test_views_of_one_size_are_told_apart(run):
    facts = with_factor(from_depth(evaluation(), 1), 1, image=ImageSpec(1, height=16, width=16, levels=16))
    write_evaluation(RunFolder(run), facts)
    page = read(run)
    assert "X0 16×16×3 (256 levels), X1 16×16×1 (16 levels)" in page.text
    assert "resolution16×16×1 (16 levels)16×16×3 (256 levels)" in page.text


def test_the_last_line_for_a_step_counts_and_half_lines_do_not(tmp_path):
    write_format(tmp_path)
    lines = [line("prior", step, bits) for step, bits in ((1, 9), (3, 4), (2, 9), (2, 5))]
    write_metrics(tmp_path, lines, end='{"factor": "prior", "step": 4, "bits')
    (chart,) = [attributes for attributes in read(tmp_path).all("svg") if attributes.get("class") == "chart"]
    assert [point[2:4] for point in json.loads(chart["data-points"])] == [[1, 9.0], [2, 5.0], [3, 4.0]]


def test_values_that_are_not_drawn_are_counted(tmp_path):
    bits = [90.0, 40.0, float("nan"), float("inf"), 1e30, *[3 + 1 / step for step in range(1, 60)]]
    write_format(tmp_path)
    write_metrics(tmp_path, [line("prior", step, value) for step, value in enumerate(bits)])
    assert (
        "63 steps; 31.5 s of training; 3 early values above the top of the chart; "
        "3 values not drawn (not finite, or outside ±1,000 bits/dim)."
    ) in read(tmp_path).text
    assert not re.search(r'points="[^"]*(nan|inf)', (tmp_path / "report.html").read_text("utf-8"))


def test_a_run_under_way_knows_its_factors_from_the_recipe(tmp_path):
    write_format(tmp_path)
    (tmp_path / "recipe.toml").write_text(f'{RECIPE}\n[condition]\nkind = "label"\ncolumn = "y"\nnames = ["a", "b"]')
    write_metrics(tmp_path, metrics("prior"))
    page = read(tmp_path)
    assert "p(X0, …, X2 | label) = p(X0 | X1, label) p(X1 | X2, label) p(X2 | label)" in page.text
    assert "There are no training metrics yet for these factors: stage0, stage1." in page.text
    assert "held-out images, evaluated at the end" not in page.text
