"""Tests that the report explains its main figure in plain words, shows each picture once, and is written whole."""

import json

import attrs
import pytest
from helpers.html_page import Page
from report.test_report import evaluation, evaluation_of, read, run

from auxar.evaluation.stored import write_evaluation
from auxar.runs.layout import RunFolder

__all__ = ["run"]


@pytest.mark.parametrize(
    ("supports", "words"), [(("free", "restricted"), "in at most 2.875 bits"), (("restricted",) * 2, "in 2.875 bits")]
)
def test_the_figure_is_explained_before_any_symbol(run, supports, words):
    write_evaluation(RunFolder(run), evaluation_of(*supports))
    text = read(run).text
    assert f"On average, this model encodes each sub-pixel of a held-out image {words}." in text
    assert "An image has 3,072 sub-pixels (32 × 32 pixels with 3 channels)." in text
    assert text.index(words) < text.index("2.875 ± 0.022 bits/dim") < text.index("p(X0, …, X2)")
    assert ("at most" in text) == ("free" in supports)


def test_an_uncompressed_sub_pixel_takes_the_bits_of_its_levels(run):
    table = evaluation()
    factors = [attrs.evolve(factor, image=attrs.evolve(factor.image, levels=16)) for factor in table.factors]
    write_evaluation(RunFolder(run), attrs.evolve(table, factors=factors))
    assert "Uncompressed, a sub-pixel takes 4 bits." in read(run).text


def test_held_out_images_are_shown_beside_the_samples(run):
    assert len(read(run).all("img")) == 2
    (run / "samples" / "heldout.png").write_bytes((run / "samples" / "samples.png").read_bytes())
    page = read(run)
    assert [attributes for attributes in page.all("div") if attributes.get("class") == "pair"]
    assert [attributes["alt"].split(".")[0] for attributes in page.all("img")][:2] == [
        "Sheet of sampled images",
        "Sheet of held-out images",
    ]


def test_the_way_from_coarse_to_fine_is_shown_once(run):
    (run / "figures").mkdir()
    (run / "figures" / "growth.png").write_bytes((run / "samples" / "growth.png").read_bytes())
    entry = {"file": "growth.png", "title": "From coarse to fine", "caption": "A row is one image."}
    (run / "figures" / "figures.json").write_text(json.dumps([entry]))
    write_evaluation(RunFolder(run), evaluation())
    page: Page = read(run)
    assert page.text.count("From coarse to fine") == 1
    assert not [attributes for attributes in page.all("p") if attributes.get("class") == "missing"]
