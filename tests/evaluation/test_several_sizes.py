"""Tests of runs on random crops: whole images of several sizes are evaluated, and their bits/dim are a ratio."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.evaluations import figures_of, nats_of
from helpers.tiny_runs import metrics, run, same, tiny, weights, write_pictures
from PIL import Image

import auxar
from auxar.cli import main
from auxar.errors import UserError
from auxar.evaluation.comparison import compare_runs
from auxar.evaluation.figures import bits
from auxar.evaluation.stored import read_evaluation

SIZES = [(8, 8), (12, 20), (9, 13), (16, 16), (20, 12)]
CHANGES: dict[str, Any] = {"data__crop": "random", "sampling__images": 0, "evaluation__batch_size": 3}
FILE = "evaluation.safetensors"


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("photographs")
    values = np.random.default_rng(0)
    for number in range(30):
        height, width = SIZES[number % len(SIZES)]
        rows, columns = np.mgrid[:height, :width]
        pixels = 128 + 5 * rows[..., None] - 4 * columns[..., None] + values.normal(0, 6, (height, width, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number:02}.png")
    return folder


@pytest.fixture(scope="module")
def cropped(photographs, tmp_path_factory) -> Path:
    """A run with samples and figures, which tests must not change."""
    changes = {"data__split": {"train": 0.5, "validation": 0.3}, "training__evaluate_every": 2}
    changes |= {"sampling__images": 3, "sampling__figure_rows": 1}
    return run(tmp_path_factory.mktemp("cropped") / "run", tiny(photographs, **{**CHANGES, **changes}))


@pytest.mark.parametrize("images", ["heldout", "training"])
def test_nats_are_those_of_single_images_and_bits_per_dim_a_ratio(cropped, images):
    model = auxar.load(cropped)
    data = auxar.load_images(model)
    whole = [image for _, image in (data.heldout if images == "heldout" else data.train).every(1, 0, None)]
    assert len({image.shape for image in whole}) > 2
    expected = model.log_prob(whole)
    assert np.allclose(nats_of(cropped, images).sum(0), expected, rtol=1e-5)
    found = read_evaluation(cropped / FILE).bits_per_dim(images)
    dims = np.array([image.numel() for image in whole])
    values = -expected.numpy() / math.log(2)
    assert found.value == pytest.approx(values.sum() / dims.sum(), rel=1e-5)
    error = (values - found.value * dims).std(ddof=1) / math.sqrt(len(whole)) / dims.mean()
    assert found.error == pytest.approx(error, rel=1e-4)


def test_figures_of_factors_add_up(cropped):
    found = read_evaluation(cropped / FILE)
    shares: Any = [found.figures("heldout", factor.factor).share.value for factor in found.factors]
    assert sum(shares) == pytest.approx(found.bits_per_dim().value)
    stage = found.figures("heldout", "stage0")
    assert np.mean([channel.bits_per_dim.value for channel in stage.channels]) == pytest.approx(
        stage.bits_per_dim.value
    )
    # The views of 9 × 13 pixels have 5 × 7.
    pixels, of_view = (found.tensors[f"heldout.{name}.pixels"][0] for name in ("stage0", "prior"))
    halves = {height * width: -(-height // 2) * -(-width // 2) for height, width in SIZES}
    assert [halves[int(size)] for size in pixels] == of_view.tolist()
    assert {"heldout", "training"} == {row["set"] for row in found.rows()}


def test_the_error_of_a_ratio_is_its_deviation_over_samples_of_images():
    random = np.random.default_rng(1)
    dims = random.choice([100.0, 400.0, 1600.0], (4000, 30))
    nats = -dims * random.normal(2, 0.3, dims.shape) - random.normal(0, 40, dims.shape)
    found = [bits(*map(torch.from_numpy, pair)) for pair in zip(nats, dims, strict=True)]
    deviation = np.std(np.array([each.value for each in found], float))
    assert np.mean([each.error for each in found]) == pytest.approx(deviation, rel=0.05)
    constant = torch.full((30,), 100.0, dtype=torch.float64)
    ratio, mean = bits(torch.from_numpy(nats[0]), constant), bits(torch.from_numpy(nats[0]), 100)
    assert (ratio.value, ratio.error) == pytest.approx((mean.value, mean.error))


def test_chunks_and_processes_give_the_same_bits_as_one_process(cropped, tmp_path, monkeypatch):
    settings = ["evaluation.samples=5"]
    whole, parts = (Path(shutil.copytree(cropped, tmp_path / name)) for name in ("whole", "parts"))
    auxar.evaluate(whole, settings=settings)
    monkeypatch.setattr("auxar.evaluation.likelihoods.CHUNK", 4)
    auxar.evaluate(parts, settings=settings)
    one, other = (dict(read_evaluation(folder / FILE).tensors) for folder in (whole, parts))
    assert {"samples.stage0.in_chain", "samples.stage0.pixels"} < one.keys()
    assert same(one, other)
    assert read_evaluation(whole / FILE).data == read_evaluation(parts / FILE).data


def test_validation_images_are_evaluated_whole(cropped):
    model = auxar.load(cropped)
    for factor in model.chain.factors:  # The limits of parameters are chosen after the last validation.
        factor.limit({})
    images = auxar.load_images(model).validation
    assert images is not None
    # The average of the weights is evaluated, which the last step keeps.
    whole = [image for _, image in images.every(1, 0, None)]
    dims = sum(image.numel() for image in whole)
    total = 0.0
    for line in metrics(cropped):
        if line["step"] == 4 and "validation_bits_per_dim" in line:
            nats = [model.at(*image.shape[1:]).log_probs(image) for image in whole]
            own = [next(each for each in found if each.factor == line["factor"]) for found in nats]
            of_factor = sum(each.image.dims for each in own)
            expected = -sum(each.log_prob.sum().item() for each in own) / math.log(2) / of_factor
            assert line["validation_bits_per_dim"] == pytest.approx(expected, rel=1e-5)
            total += expected * of_factor
    assert total / dims == pytest.approx(-model.log_prob(whole).sum().item() / math.log(2) / dims, rel=1e-5)


def test_models_are_compared_image_by_image(cropped, photographs, tmp_path):
    """Training may have had other crops."""
    split = {"data__split": {"train": 0.5, "validation": 0.3}, "image": {"height": 4, "width": 6}}
    other = run(tmp_path / "other", tiny(photographs, **CHANGES, **split))
    margin = compare_runs([cropped, other]).runs[1].margin
    dims = np.array([image.numel() for _, image in auxar.load_images(auxar.load(other)).heldout.every(1, 0, None)])
    apart = (nats_of(cropped).sum(0) - nats_of(other).sum(0)) / math.log(2)
    assert margin is not None
    assert margin.bits_per_dim == pytest.approx(apart.sum() / dims.sum(), rel=1e-12)
    error = (apart - margin.bits_per_dim * dims).std(ddof=1) / math.sqrt(len(dims)) / dims.mean()
    assert margin.standard_error == pytest.approx(error, rel=1e-12)


def test_crops_of_images_of_their_size_change_nothing(tmp_path):
    pictures = write_pictures(tmp_path / "pictures")
    changes = {**CHANGES, "data__crop": {"random": False}}
    whole, crops = (
        run(tmp_path / "whole", tiny(pictures, **changes)),
        run(tmp_path / "crops", tiny(pictures, **CHANGES)),
    )
    assert same(weights(whole), weights(crops))
    one, other = (read_evaluation(folder / FILE) for folder in (whole, crops))
    assert same(dict(one.tensors), dict(other.tensors))
    assert one.data.heldout_digest == other.data.heldout_digest
    assert not any(name.endswith("pixels") for name in one.tensors)


def test_commands_take_and_draw_images_of_several_sizes(cropped, photographs, tmp_path, capsys):
    folder = Path(shutil.copytree(cropped, tmp_path / "run"))
    assert "Held-out images" in (folder / "report.html").read_text()
    assert Image.open(folder / "samples" / "heldout.png").size == Image.open(folder / "samples" / "samples.png").size
    assert main(["sample", str(folder), "-n", "1", "--size", "12x20"]) == 0
    [drawn] = (folder / "samples").glob("12x20*/images/*.png")
    assert Image.open(drawn).size == (20, 12)
    files = [str(photographs / f"{number:02}.png") for number in range(4)]
    assert len(auxar.load(folder).bits_per_dim(files)) == 4
    assert auxar.integers(folder, images=4).digests.keys() == {"stage0", "prior"}
    capsys.readouterr()
    assert main(["evaluate", str(folder), "--json", "--arithmetic", "integer"]) == 0
    assert json.loads(capsys.readouterr().out)
    assert figures_of(folder, "evaluation-integer")["bits_per_dim"]["heldout"] > 0
    with pytest.raises(UserError, match="images of several sizes are not written"):
        auxar.write_views(folder / "recipe.toml", 1, tmp_path / "views")
