"""A slow test on real images: files have the bits of the likelihoods, for every view, free and restricted."""

from __future__ import annotations

import math
from typing import Any

import pytest
import tomli_w
from PIL import Image

import auxar
from auxar.data import load_images
from auxar_codec import compress, decompress
from auxar_codec.container import read_container

IMAGES = 500
VIEWS: dict[str, Any] = {
    "plain": None,
    "pyramid": {"name": "pyramid", "factor": 2},
    "grayscale": {"name": "grayscale", "levels": 16},
    "subsample": {"name": "subsample", "factor": 2},
    "bitplanes": {"name": "bitplanes", "drop": 4},
}
NETWORK = {"filters": 8, "blocks": 1, "head": {"name": "logistic_mixture", "components": 3}}


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with the first training images of the data set `emoji`."""
    folder = tmp_path_factory.mktemp("emoji")
    recipe, registry = auxar.load_recipe("emoji32")
    images = load_images(recipe.data, recipe.image, registry).train
    for number, image in images.every(1, 0, IMAGES):
        Image.fromarray(image.permute(1, 2, 0).numpy()).save(folder / f"{number:03d}.png")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("support", ["free", "restricted"])
@pytest.mark.parametrize("view", VIEWS)
def test_files_have_the_bits_of_the_likelihoods(pictures, tmp_path, view, support):
    if view == "plain" and support == "restricted":
        pytest.skip("a model without views has nothing to restrict")
    stage = {
        "view": VIEWS[view],
        "embedding": {"name": "resnet", "filters": 8, "blocks_per_group": 1},
        "decoder": {"name": "pixelcnn", **NETWORK},
        "support": support,
    }
    table = {
        "data": {"path": str(pictures), "split": {"train": 0.9}},
        "image": {"height": 32, "width": 32},
        "stage": [] if view == "plain" else [stage],
        "prior": {"name": "pixelcnn", **NETWORK},
        "training": {"steps": 40, "optimizer": {"learning_rate": 0.003}},
        "sampling": {"images": 0},
        "evaluation": {"heldout_images": 1, "train_images": 0},
    }
    (tmp_path / "recipe.toml").write_text(tomli_w.dumps(table))
    run = tmp_path / "run"
    auxar.run(tmp_path / "recipe.toml", out=run)
    auxar.integers(run, images=16)
    made = compress(run, [pictures], tmp_path / "a.auxar")
    assert made.images == IMAGES
    model = auxar.load(run, arithmetic="integer")
    bits = float(-model.log_prob([pictures]).sum() / math.log(2))
    entries = read_container(tmp_path / "a.auxar").entries
    coded = 8 * sum(entry.size for entry in entries)
    streams = IMAGES * len(model.factors)
    assert coded <= bits * 1.001 + 8 * 4 * streams
    names = sum(len(entry.name) for entry in entries)
    assert made.bytes - coded / 8 - names <= 16 * IMAGES + 1000, "index and checksums"
    print(f"{view}, {support}: {bits / IMAGES / 3072:.4f} bits/dim, coded {coded / bits - 1:+.4%} more,", end=" ")
    print(f"{(coded - bits) / 8 / streams:.2f} bytes for a stream")
    found = decompress(tmp_path / "a.auxar", tmp_path / "out", run=run)
    assert not found.damaged
    for path in found.paths:
        assert Image.open(path).tobytes() == Image.open(pictures / path.name).tobytes()
