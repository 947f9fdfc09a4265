"""Tests of the number of images to draw: zero, negative and huge numbers, and pictures with long numbers."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.tiny_runs import run, snapshot, tiny

from auxar.cli import main
from auxar.commands.sample import sample
from auxar.draw.sample_folder import check_samples
from auxar.errors import UserError
from auxar.recipe.schema import MOST_SAMPLES


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (["-n", "0"], "sampling.images (-n) is 0: expected at least 1"),
        (["--set", "sampling.images=0", "--given", "000.png"], "sampling.images (-n) is 0: expected at least 1"),
        (["-n", "-1"], "--images: 'images' must be >= 0: -1"),
        (["-n", str(10**10)], f"--images: images must be at most {MOST_SAMPLES}, got {10**10}"),
        (["--set", f"sampling.images={2**62}"], f"sampling: images must be at most {MOST_SAMPLES}, got {2**62}"),
    ],
)
def test_numbers_of_images_that_cannot_be_drawn(finished, pictures, capsys, monkeypatch, number, message):
    monkeypatch.chdir(pictures)
    before = snapshot(finished)
    assert main(["sample", str(finished), *number, "--out", str(finished / "samples")]) == 2
    assert message in capsys.readouterr().err
    assert snapshot(finished) == before


def test_the_number_of_draws_is_limited_for_all_given_images_together(finished, pictures, tmp_path):
    with pytest.raises(
        UserError,
        match=r"draws times the number of given images: expected an integer from 0 to 1,000,000,000, got 24000000000",
    ):
        sample(finished, given=[pictures], images=MOST_SAMPLES, out=tmp_path / "out")


@pytest.mark.parametrize("name", ["123456789.png", "1000000-1000.png"])
def test_pictures_may_have_long_numbers(finished, tmp_path, name):
    out = Path(shutil.copytree(finished / "samples", tmp_path / "out"))
    (out / "images" / name).touch()
    sample(finished, images=1, seed=1, out=out, replace=True)
    assert [file.name for file in (out / "images").iterdir()] == ["000000.png"]


@pytest.mark.parametrize("name", ["00001.png", "0000001.png", "٠٠٠٠٠٠.png", "000000-01.png"])
def test_other_numbers_are_not_those_of_samples(finished, tmp_path, name):
    out = Path(shutil.copytree(finished / "samples", tmp_path / "out"))
    (out / "images" / name).touch()
    with pytest.raises(UserError, match=rf"{name} is not a sample"):
        check_samples(out)


def test_a_run_that_draws_nothing_keeps_earlier_samples_and_has_no_figures(pictures, finished, tmp_path):
    assert not (finished / "figures").exists(), "its recipe has no rows of figures"
    own = Path(shutil.copytree(finished, tmp_path / "run"))
    before = snapshot(own / "samples")
    run(own, tiny(pictures, sampling__images=0, sampling__figure_rows=2))
    assert (own / "report.html").exists()
    assert not (own / "figures").exists()
    assert snapshot(own / "samples") == before
