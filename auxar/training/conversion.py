"""Converts the trained factors of a run to another arithmetic, once, and stores them beside the weights."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.data import DataSets
from auxar.errors import UserError
from auxar.files import read_checksum, write_json
from auxar.interfaces import Arithmetic, Factor, Prior
from auxar.plugins import Registry
from auxar.recipe import ComponentChoice, Recipe
from auxar.recipe.building import build_arithmetic
from auxar.runs.converted import (
    Origin,
    Recorded,
    digest,
    options_text,
    path_of,
    read_converted,
    read_digests,
    read_origin,
    record_path,
    write_converted,
)
from auxar.runs.layout import RunFolder
from auxar.runs.weights import trained_model

logger = logging.getLogger("auxar")

IMAGES = 256
"""Default number of training images from which the ranges of values are taken."""


def convert_run(
    run: RunFolder,
    recipe: Recipe,
    registry: Registry,
    choice: ComponentChoice,
    data: Callable[[], DataSets],
    images: int = IMAGES,
) -> dict[str, str]:
    """Converts the trained factors of a run to an arithmetic, and returns the digest of each by name.

    Factors that were converted before from the same weights with the same options are kept, because files and samples
    may depend on them. Those of other weights are replaced. The ranges of values are taken from `images` training
    images; `data` is called if a factor has to be converted. One process calls this while it holds the run's lock.

    Raises `UserError` if a factor is not trained, if a part of it has no counterpart in the arithmetic, if there are
    converted factors of these weights with other options, or if this machine makes other numbers than those whose
    digest the run records.
    """
    arithmetic = build_arithmetic(choice, registry, choice.name)
    model = trained_model(run, recipe, registry).eval()
    views: list[Tensor] = []
    found: dict[str, str] = {}
    for factor in model.factors:
        if not _is_made(run, factor, choice):
            views = views or _views(model, data(), images)
            _make(run, factor, views, arithmetic, choice)
        path = path_of(run.output, factor.name, choice.name)
        found[factor.name] = digest(read_converted(path, run.weights(factor.name)))
    return found


def _is_made(run: RunFolder, factor: Factor, choice: ComponentChoice) -> bool:
    """Whether a factor was converted from the run's weights. Raises `UserError` if its options were others."""
    path = path_of(run.output, factor.name, choice.name)
    origin = read_origin(path)
    if origin is None:
        return False
    if origin.weights != read_checksum(run.weights(factor.name)):
        logger.warning("%s belongs to other weights and is replaced", path)
        return False
    if origin.options != choice.options:
        raise UserError(
            f"{path} was made with other numbers of bits: expected {_text(choice.options)}, found "
            f"{_text(origin.options)}; delete it to make it again, but then files and samples that depend on it cannot "
            "be decoded or drawn again"
        )
    logger.info("%s is kept", path)
    return True


def _text(options: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


@torch.no_grad()
def _views(model: Prior, data: DataSets, count: int) -> list[Tensor]:
    """Training images and all their views, evenly spaced in the set if its length is known."""
    step = max(1, len(data.train) // count) if hasattr(data.train, "__len__") else 1
    images = [image for _, image in data.train.every(step, 0, count)]
    return list(model.views(torch.stack(images).long()))


def _make(
    run: RunFolder, factor: Factor, views: Sequence[Tensor], arithmetic: Arithmetic, choice: ComponentChoice
) -> None:
    view = views[factor.depth + 1] if factor.depth + 1 < len(views) else None
    converted = arithmetic.convert(factor, views[factor.depth], view)
    weights = read_checksum(run.weights(factor.name))
    assert weights is not None
    made = Recorded(weights, options_text(choice.options), digest(converted))
    for recorded in (read_digests(each, choice.name).factors.get(factor.name) for each in (run, run.output)):
        if recorded is not None and attrs.evolve(recorded, digest=made.digest) == made != recorded:
            raise UserError(
                f"factor {factor.name} of {run.name}, converted on this machine, has the digest {made.digest}, but it "
                f"was converted before with the digest {recorded.digest}; files and samples of one cannot be decoded "
                f"or drawn with the other, so nothing is written; copy {choice.name}.safetensors from the other machine"
            )
    path = path_of(run.output, factor.name, choice.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_converted(path, converted, Origin(weights, dict(choice.options)))
    record = read_digests(run.output, choice.name)
    record.factors[factor.name] = made
    write_json(record_path(run.output, choice.name), attrs.asdict(record))
    logger.info("%s: %s", factor.name, path)
