"""Values that auxar computes in batches and chunks, computed again image by image and in the plainest way.

The code follows the documentation: it shares the networks with auxar, but neither its data sets nor its loops.
"""

from __future__ import annotations

import hashlib
import math
import random
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.model import Chain, Factor
from helpers.matrix import NAMES
from helpers.values import values_of, views_of


@attrs.frozen(eq=False)
class Pictures:
    """Images, uint8 (n, c, h, w), and their conditions, int64 (n, c, h, w), or None."""

    images: Tensor
    conditions: Any

    def of(self, rows: list[int]) -> Pictures:
        """The images in these rows."""
        return Pictures(self.images[rows], None if self.conditions is None else self.conditions[rows])

    def __len__(self) -> int:
        return len(self.images)


def read(folder: Path, names: list[str] | None, *, masks: bool = False) -> Pictures:
    """Reads the PNG files of a folder in the order of their names, with labels or masks beside them."""
    files = sorted(file for file in folder.glob("*.png") if ".mask" not in file.name)
    images = [np.asarray(Image.open(file)).transpose(2, 0, 1) for file in files]
    conditions: Any = None
    if names is not None:
        conditions = [[[[names.index(file.with_suffix(".txt").read_text())]]] for file in files]
    elif masks:
        conditions = [np.asarray(Image.open(file.with_suffix(".mask.png")))[None].astype(int) for file in files]
    return Pictures(
        torch.from_numpy(np.stack(images)), None if conditions is None else torch.tensor(np.array(conditions))
    )


def permutation(count: int, *key: object) -> list[int]:
    """The random order of `count` numbers that a key determines."""
    return np.argsort(np.random.PCG64(_number(key)).random_raw(count), kind="stable").tolist()


def chance(*key: object) -> float:
    """The random number in [0, 1) that a key determines."""
    return random.Random(_number(key)).random()


def _number(key: tuple[object, ...]) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, key)).encode()).digest()[:16], "big")


def divided(pictures: Pictures, train: float, validation: float) -> dict[str, Pictures]:
    """The training, validation and held-out images of a random division with the seed 0."""
    order = permutation(len(pictures), "split", 0)
    count = round(train * len(order))
    rest, heldout = order[:count], order[count:]
    chosen = permutation(count, "validation", 0)[: round(validation * count)]
    kept = [row for place, row in enumerate(rest) if place not in chosen]
    parts = {"train": kept, "validation": [rest[place] for place in chosen], "heldout": heldout}
    return {name: pictures.of(rows) for name, rows in parts.items()}


def data_of(name: str, folder: Path) -> dict[str, Pictures]:
    """The images of a run of `MATRIX` in `folder`, divided as its recipe says."""
    return divided(read(folder, NAMES if name == "labels" else None, masks=name == "masks"), 0.6, 0.3)


def augmented(values: Tensor, seed: int, place: int) -> Tensor:
    """Values (c, h, w) at a place of the training sequence, mirrored and shifted as the runs of `MATRIX` do."""
    values = values.flip(-1) if chance("flip", seed, place) < 0.5 else values
    down, right = ((0, 1, -1)[step] for step in divmod(8 - int(chance("shift", seed, place) * 9), 3))
    height, width = values.shape[1:]
    rows = [min(max(row - down, 0), height - 1) for row in range(height)]
    columns = [min(max(column - right, 0), width - 1) for column in range(width)]
    return values[:, rows][:, :, columns]


def training_batch(pictures: Pictures, places: range, seed: int, *, drop: float) -> Pictures:
    """The images at some positions of the training sequence: shuffled, augmented, and some without their conditions."""
    images, conditions = [], []
    for place in places:
        epoch, position = divmod(place, len(pictures))
        row = permutation(len(pictures), "epoch", seed, epoch)[position]
        images.append(augmented(pictures.images[row], seed, place))
        if pictures.conditions is not None:
            condition = augmented(pictures.conditions[row], seed, place)
            dropped = drop and chance("drop", seed, place) < drop
            conditions.append(torch.full_like(condition, -1) if dropped else condition)
    return Pictures(torch.stack(images), torch.stack(conditions) if conditions else None)


def nats(chain: Chain, factor: Factor, image: Tensor, condition: Tensor | None) -> Tensor:
    """The log-likelihoods of images under a factor, by a plain call of its networks: (b,)."""
    if factor.name == "condition":
        assert condition is not None
        return factor.distribution.log_prob(condition)
    views = [image]
    for stage in chain.factors[:-1]:
        assert stage.view is not None
        views.append(stage.view(views[-1].long()))
    view = None if factor.view is None else views[factor.depth + 1]
    return factor(values_of(factor, views[factor.depth], view, condition))


@torch.no_grad()
def nats_one_by_one(chain: Chain, factor: Factor, pictures: Pictures, *, null: bool = False) -> np.ndarray:
    """The log-likelihood of each image under a factor: float64, (n,). With `null`, no image has its condition."""
    found = []
    for row in range(len(pictures)):
        one = pictures.of([row])
        condition = None if one.conditions is None or null else one.conditions
        found.append(nats(chain, factor, one.images, condition).double().item())
    return np.array(found)


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """The mean of values, and its standard error."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:8], "big") >> 1


def trained(
    chain: Chain, factor: Factor, data: dict[str, Pictures], settings: dict[str, Any], drop: float
) -> tuple[list[dict[str, Any]], int]:
    """Trains a factor as the settings in [training] say, and leaves the kept weights in it.

    Returns the lines of metrics, which are dicts with the step, and loss and norm of the gradient, or bits/dim of
    validation images; and the step of the kept weights.
    """
    order, rate, averages = _seed(0, "data", factor.name), settings["optimizer"]["learning_rate"], None
    size, bits = settings["batch_size"], math.log(2) * factor.image.dims
    parameters = list(factor.parameters())
    drop = 0.0 if factor.name == "condition" else drop
    torch.manual_seed(_seed(0, "initialization", factor.name))
    first = training_batch(data["train"], range(settings["initialization_images"]), order, drop=drop)
    factor.train()
    with torch.no_grad():
        factor.initialize(values_of(factor, *_inputs(chain, factor, first)))
    optimizer = torch.optim.Adam(parameters, fused=True)
    lines: list[dict[str, Any]] = []
    best: tuple[float, int, dict[str, Tensor]] = (math.inf, 0, {})
    since = 0
    for step in range(settings["steps"]):
        batch = training_batch(data["train"], range(step * size, (step + 1) * size), order, drop=drop)
        torch.manual_seed(_seed(0, factor.name, step, 0))
        optimizer.zero_grad()
        loss, rows = 0.0, math.ceil(size / settings["accumulate"])
        for start in range(0, size, rows):
            part = batch.of(list(range(start, min(start + rows, size))))
            own = -nats(chain, factor, part.images, part.conditions).sum() / (bits * size)
            own.backward()
            loss += own.item()
        norm = math.sqrt(sum(float(each.grad.double().square().sum()) for each in parameters if each.grad is not None))
        for each in parameters:
            if each.grad is not None and norm > settings["clip"]:
                each.grad.mul_(settings["clip"] / norm)
        for group in optimizer.param_groups:
            group["lr"] = rate * settings["schedule"]["decay"] ** step
        optimizer.step()
        lines.append({"step": step + 1, "bits_per_dim": loss, "gradient_norm": norm})
        with torch.no_grad():
            share = max(1 - settings["ema"], 10 / (step + 10))
            averages = averages or [torch.zeros_like(each) for each in parameters]
            averages = [old + share * (new - old) for old, new in zip(averages, parameters, strict=True)]
        if (step + 1) % settings["evaluate_every"] and step + 1 < settings["steps"]:
            continue
        kept = [each.detach().clone() for each in parameters]
        _set(parameters, averages)
        factor.eval()
        found = (
            -nats_one_by_one(chain, factor, data["validation"].of(list(range(settings["validation_images"])))).mean()
            / bits
        )
        lines.append({"step": step + 1, "validation_bits_per_dim": found})
        since = 0 if found < best[0] else since + 1
        if found < best[0]:
            best = found, step + 1, {name: tensor.clone() for name, tensor in factor.state_dict().items()}
        _set(parameters, kept)
        factor.train()
        if since == settings["patience"]:
            break
    factor.load_state_dict(best[2])
    factor.eval()
    return lines, best[1]


def _inputs(chain: Chain, factor: Factor, pictures: Pictures) -> tuple[Tensor, ...]:
    if factor.name == "condition":
        assert pictures.conditions is not None
        return (pictures.conditions,)
    views = views_of(chain, pictures.images)[factor.depth :]
    given = () if pictures.conditions is None else (pictures.conditions,)
    return (views[0], None if factor.view is None else views[1], *given)


def _set(parameters: list[torch.nn.Parameter], values: list[Tensor]) -> None:
    with torch.no_grad():
        for parameter, value in zip(parameters, values, strict=True):
            parameter.copy_(value)
