"""Small models with fixed weights, and digests of what they compute in integers.

Weights and images come from Python's `random.Random.random`, whose numbers are the same on every machine and in every
version.
"""

import contextlib
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import tomli_w
import torch
from torch import Tensor, nn

import auxar
from auxar.data.sets import DataSets
from auxar.model import ImageSpec
from auxar.model.integers import nats
from auxar.runs.opening import open_run
from auxar.training.conversion import convert_run
from helpers.choices import chosen
from helpers.listed_images import Listed

IMAGES = 16
SIDE = 8
MIXTURE = {"name": "logistic_mixture", "components": 3, "centered": False}
CENTERED = {**MIXTURE, "centered": True}
NEIGHBORS = {**CENTERED, "components": 5, "neighbors": True}
PYRAMID = {"name": "pyramid", "factor": 2}


def _pixelcnn(filters: int, blocks: int = 1, head: Any = MIXTURE, **options: int) -> dict[str, Any]:
    return {"name": "pixelcnn", "filters": filters, "blocks": blocks, "head": head, **options}


def _stage(view: dict[str, Any], decoder: dict[str, Any], filters: int = 4, **options: str) -> dict[str, Any]:
    embedding = {"name": "resnet", "filters": filters, "blocks_per_group": 1}
    return {"view": view, "embedding": embedding, "decoder": decoder, **options}


MODELS: dict[str, dict[str, Any]] = {
    # Restricted decoders, embeddings that upsample, kernels of three rows, and mixtures.
    "pyramid": {"stage": [_stage(PYRAMID, _pixelcnn(6, kernel=3), 5, support="restricted")], "prior": _pixelcnn(9, 2)},
    # A network with three resolutions, a free decoder, and softmax.
    "grayscale": {
        "stage": [
            _stage(
                {"name": "grayscale", "levels": 16},
                {"name": "pixelcnn++", "filters": 5, "nr_resnet": 1, "head": MIXTURE},
            )
        ],
        "prior": _pixelcnn(6, head="softmax"),
    },
    # Centers in a restricted decoder of colors, in a free decoder of a gray image, and in a prior.
    "centered": {
        "stage": [
            _stage({"name": "grayscale", "levels": 64}, _pixelcnn(6, head=CENTERED), support="restricted"),
            _stage(PYRAMID, _pixelcnn(6, head=CENTERED)),
        ],
        "prior": _pixelcnn(6, head=CENTERED),
    },
    # Components around neighbors in a restricted decoder and in a prior.
    "neighbors": {
        "stage": [_stage(PYRAMID, _pixelcnn(6, head=NEIGHBORS), support="restricted")],
        "prior": _pixelcnn(6, head=NEIGHBORS),
    },
}
"""Stages and priors of the models by name."""


def golden_images() -> Tensor:
    """Returns smooth images with noise, int64 (IMAGES, 3, SIDE, SIDE)."""
    numbers = random.Random(7)

    def between(low: int, high: int) -> int:
        return low + int((high - low + 1) * numbers.random())

    found = np.zeros((IMAGES, 3, SIDE, SIDE), dtype=np.int64)
    for image in found:
        for channel in range(3):
            start, down, right = between(40, 159), between(-9, 9), between(-9, 9)
            for y in range(SIDE):
                for x in range(SIDE):
                    value = start + down * y + right * x + between(-6, 6)
                    image[channel, y, x] = min(max(value, 0), 255)
    return torch.from_numpy(found)


class GoldenImages(Listed):
    """The images in the form of a training set."""

    def __init__(self) -> None:
        super().__init__(ImageSpec(3, height=SIDE, width=SIDE), golden_images())

    def __len__(self) -> int:
        return IMAGES


def make_golden_run(folder: Path, name: str) -> dict[str, str]:
    """Writes a run with fixed weights, and its factors in integers, into a new folder.

    Returns the digests of the factors in integers. The images do not come from files, so that the result does not
    depend on the library that reads them.
    """
    table = {
        "data": {"path": "images"},
        "image": {"height": SIDE, "width": SIDE},
        "training": {"steps": 1},
        **MODELS[name],
    }
    recipe = folder.parent / f"{name}.toml"
    recipe.write_text(tomli_w.dumps(table))
    model = auxar.build(recipe)
    fill(*reversed(model.factors))
    model.save(folder)
    run, saved = open_run(folder)
    choice = chosen("arithmetic", "integer", weights=12, activations=16)
    images: Any = GoldenImages()
    return convert_run(run, saved, choice, lambda: DataSets(images, images, ()), 8)


@torch.no_grad()
def fill(*modules: nn.Module) -> None:
    """Sets all parameters of modules to fixed values."""
    numbers = random.Random(11)
    for name, parameter in (named for module in modules for named in sorted(module.named_parameters())):
        low, high = (0.5, 1.5) if name.endswith("gain") else (-0.1, 0.1) if name.endswith("bias") else (-1.0, 1.0)
        values = [low + (high - low) * numbers.random() for _ in range(parameter.numel())]
        parameter.copy_(torch.tensor(values, dtype=torch.float64).view_as(parameter))


def digest_of(*tensors: Tensor) -> str:
    """Returns the first 16 hexadecimal digits of the SHA-256 of tensors of integers."""
    found = hashlib.sha256()
    for tensor in tensors:
        assert torch.equal(tensor, tensor.round())
        found.update(np.ascontiguousarray(tensor.cpu().to(torch.int64).numpy()).tobytes())
    return found.hexdigest()[:16]


def frequencies(model: auxar.ImageModel, images: Tensor, batch_size: int) -> str:
    """Returns a digest of the frequency of every sub-pixel of images and of their views, in all factors."""
    by_batch = []
    for part in images.split(batch_size):
        with recorded_frequencies() as found:
            model.log_prob(part, batch_size=batch_size)
        by_batch.append(found)
    return digest_of(*(torch.cat(parts) for parts in zip(*by_batch, strict=True)))


@contextlib.contextmanager
def recorded_frequencies() -> Iterator[list[Tensor]]:
    """Yields a list, to which the frequencies of each factor are added, (b, h, w, c), when likelihoods are computed."""
    found: list[Tensor] = []

    def record(frequencies: Tensor) -> Tensor:
        found.append(frequencies.permute(0, 2, 3, 1).contiguous())
        return nats(frequencies)

    with mock.patch("auxar.model.distribution.nats", record):
        yield found
