"""Tests of FID, scores and classes of images with conditions: they are computed from the right images."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers.one_by_one import OneByOne
from PIL import Image
from torch import Tensor, nn

import auxar
from auxar.evaluation.codecs import codec_bits_per_dim
from auxar.model import Values
from auxar_metrics import fid
from auxar_rules import Map


class Seen(nn.Module):
    """A network whose features are the means of the channels. It keeps the images that it has seen."""

    def __init__(self) -> None:
        super().__init__()
        self.images: list[Tensor] = []

    def forward(self, images: Tensor) -> tuple[Tensor]:
        self.images.append(images)
        return (images.float().mean((2, 3)),)


@pytest.mark.parametrize(
    ("name", "reference", "count", "most"), [("masks", "training", 20, 1000), ("labels", "heldout", 5, 4)]
)
def test_fid_compares_images_that_are_drawn_with_conditions(
    random_run_of, tmp_path, monkeypatch, name, reference, count, most
):
    """There are more masks than a sheet of samples has, and fewer than images. Of more than `most` images of the data,
    evenly spaced ones are used."""
    monkeypatch.setattr("auxar_metrics.distances.MOST_REFERENCE", most)
    path = Path(shutil.copytree(random_run_of(name), tmp_path / "run"))
    seen, plain = Seen(), OneByOne(path)
    monkeypatch.setattr("auxar_metrics.inception.inception", lambda weights: seen)
    found = fid(path, images=count, reference=reference, rule="map", seed=3)
    data = auxar.load_images(auxar.load(path))
    heldout = next(data.heldout.in_order_examples(100))
    conditions: Tensor | None = {"masks": heldout.get("condition"), "labels": torch.arange(3).view(3, 1, 1, 1)}.get(
        name
    )
    assert name != "masks" or len(heldout) > 16
    drawn = []
    for number in range(count):
        condition = None if conditions is None else conditions[number % len(conditions)][None].long()
        drawn.append(plain.drawn(number, 3, Map(), condition)[0])
    real = heldout["image"] if reference == "heldout" else next(data.train.in_order_examples(100))["image"]
    if len(real) > most:
        real = real[[round(place * (len(real) - 1) / (most - 1)) for place in range(most)]]
    assert reference != "heldout" or len(real) == most
    images = torch.cat(seen.images)
    assert torch.equal(images[:count].long(), torch.cat(drawn))
    assert torch.equal(images[count:], real)
    assert (found.images, found.reference, found.reference_images) == (count, reference, len(real))
    assert (found.rule, found.seed) == ("map", 3)


def test_scores_and_classes_of_files_are_those_of_single_images(random_run_of, tmp_path):
    """The ranks are those among evenly spaced held-out images with their own labels."""
    path, other = random_run_of("labels"), random_run_of("plain")
    plain, model = OneByOne(path), auxar.load(path)
    heldout = next(auxar.load_images(model).heldout.in_order_examples(100))
    assert "condition" in heldout
    files = [tmp_path / f"{number}.png" for number in range(3)]
    images = heldout["image"][[8, 3, 5]]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(file)

    def bits(image: Tensor, label: int | None) -> float:
        condition = None if label is None else torch.full((1, 1, 1, 1), label)
        return sum(plain.nats_of(image, condition)) / (-math.log(2) * 48)

    numbers = np.linspace(0, len(heldout) - 1, 4).round().astype(int)
    others = [bits(heldout["image"][number], int(heldout["condition"][number])) for number in numbers]
    codec = [codec_bits_per_dim(heldout["image"][number]) for number in numbers]
    apart = [value - bits_of_codec for value, bits_of_codec in zip(others, codec, strict=True)]
    scores = auxar.score(path, files, condition=[2, 0, 1], heldout=4)
    assert scores.heldout_images == 4
    for image, label, score in zip(images, (2, 0, 1), scores.images, strict=True):
        value = bits(image, label)
        difference = value - codec_bits_per_dim(image)
        assert (score.bits_per_dim, score.difference) == pytest.approx((value, difference), rel=1e-5)
        assert score.rank == sum(other < value for other in others) / 4
        assert score.difference_rank == sum(other < difference for other in apart) / 4
    auxar.score(path, files, condition=[2, 0, 1], heldout=0, out=tmp_path / "scores.csv")
    with pytest.raises(auxar.UserError, match="exists"):
        auxar.score(path, files, condition=[0, 2, 1], heldout=0, out=tmp_path / "scores.csv", maps=tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
    # Without a condition, all images have the null condition.
    nulls = [bits(heldout["image"][number], None) for number in numbers]
    for image, score in zip(images, auxar.score(path, files, heldout=4).images, strict=True):
        assert score.bits_per_dim == pytest.approx(bits(image, None), rel=1e-5)
        # The image may be one of those that it is compared with.
        assert score.rank == sum(other < bits(image, None) for other in nulls) / 4
    compared = auxar.score(path, files, condition=[2, 0, 1], heldout=0, against=other, maps=tmp_path / "maps")
    local = auxar.load(other).pixel_bits(images)
    for number, (label, score) in enumerate(zip((2, 0, 1), compared.images, strict=True)):
        extra = model.pixel_bits(images[number, None], condition=label)[0] - local[number]
        assert score.difference == pytest.approx(float(extra.sum()) / 48, abs=1e-5)
        with Image.open(tmp_path / "maps" / f"{number:06d}-{number}.png") as picture:
            red, green, blue = np.asarray(picture).astype(int).transpose(2, 0, 1)
        assert compared.strongest is not None
        shares = (extra / compared.strongest).clamp(-1, 1).numpy()
        assert np.abs(red - blue - 255 * shares).max() <= 1
        assert np.abs(green - 255 * (1 - np.abs(shares))).max() <= 1
    with pytest.raises(auxar.UserError, match="maps exists"):
        auxar.score(path, files, heldout=0, maps=tmp_path / "maps")
    factor = plain.chain.condition_factor
    assert factor is not None
    classes = auxar.classify(path, files, top=3)
    assert (classes.kind, classes.modeled) == ("exact", True)
    for image, found in zip(images, classes.images, strict=True):
        with torch.no_grad():
            joint = [
                sum(plain.nats_of(image, label)) + float(factor(Values({"condition": label})))
                for label in (torch.full((1, 1, 1, 1), number) for number in range(3))
            ]
        order = sorted(range(3), key=lambda label: -joint[label])
        assert found.names == tuple(model.condition.names[label] for label in order)
        total = torch.tensor(joint, dtype=torch.float64).logsumexp(0)
        expected = [math.exp(joint[label] - float(total)) for label in order]
        assert found.probabilities == pytest.approx(expected, rel=1e-3, abs=1e-6)
