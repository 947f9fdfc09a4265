"""The command `integers`: converts the factors of a finished run to integers, once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from os import PathLike
from typing import Any

import attrs
import torch
from torch import Tensor

from auxar.arguments import as_integer, as_path
from auxar.commands.results import check_of
from auxar.data import DataSets, load_images
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.files import read_checksum
from auxar.interfaces import Arithmetic, Factor, Prior
from auxar.plugins import Registry
from auxar.recipe.options import check_settings
from auxar.recipe.structuring import structure
from auxar.runs.converted import Origin, path_of, read_origin, write_converted
from auxar.runs.layout import RunFolder
from auxar.runs.lock import holding_for_all
from auxar.runs.opening import open_run
from auxar.runs.weights import trained_model

logger = logging.getLogger("auxar")

NAME = "integer"
"""Name of the arithmetic."""
IMAGES = 256
"""Default number of training images from which the ranges of values are taken."""


def integers(
    path: str | PathLike[str],
    *,
    weights: int | None = None,
    activations: int | None = None,
    images: int = IMAGES,
    settings: Sequence[str] = (),
    trust_plugins: bool = False,
) -> RunFolder:
    """Converts the factors of a finished run to integers, and stores them beside the weights.

    Frequencies of values, and samples, are the same in integers, bit for bit, on every machine. `path` is the run's
    folder, or the name of a model that comes trained, whose integers are written into the folder ./NAME. `weights` and
    `activations` are the numbers of bits of each weight, and of each value between layers. The ranges of values
    are taken from `images` training images. `settings` are `key=value` strings that may set `data.path`, `data.options`
    and `data.workers`.

    Integers that were made before from the same weights and with the same numbers of bits are kept, because files and
    samples may depend on them. Integers of other weights are replaced. Returns the folder in which the integers are.

    Raises `UserError` if a factor is not trained, if a part of the model has no integer counterpart, or if there are
    integers of these weights with other numbers of bits.

    Examples:
        >>> import auxar
        >>> folder = auxar.integers("runs/quickstart", images=8)
        >>> model = auxar.load(folder, arithmetic="integer")
        >>> model.sample(1, seed=3).tensor.shape
        torch.Size([1, 3, 32, 32])
    """
    folder = as_path(path, "path")
    count = as_integer(images, "images")
    if count < 1:
        raise UserError(f"--images {count}: expected at least 1")
    check_settings(settings, "data.path", "data.options", "data.workers")
    with working_together() as processes:
        with processes.agreeing():
            if processes.count > 1:
                raise UserError("auxar integers: run this command in one process")
            run, recipe, registry = open_run(folder, settings, trust_plugins=trust_plugins)
            arithmetic, options = _arithmetic(registry, weights, activations)
            model = trained_model(run, recipe, registry).eval()
        with holding_for_all(run.output.path, processes, check_of(run)):
            todo = [factor for factor in model.factors if not _is_made(run, factor, options)]
            if todo:
                views = _views(model, load_images(recipe.data, recipe.image, registry), count)
                for factor in todo:
                    _make(run, factor, views, arithmetic, options)
    return run.output


def _arithmetic(registry: Registry, weights: int | None, activations: int | None) -> tuple[Arithmetic, dict[str, int]]:
    """The arithmetic, and its options."""
    component = registry.get("arithmetic", NAME, "auxar integers")
    given = {"weights": weights, "activations": activations}
    config: Any = structure(
        {name: value for name, value in given.items() if value is not None}, component.config, "auxar integers"
    )
    arithmetic: Arithmetic = component.build(config)
    return arithmetic, attrs.asdict(config)


def _is_made(run: RunFolder, factor: Factor, options: dict[str, int]) -> bool:
    """Whether a factor has integers of the run's weights. Raises `UserError` if they have other options."""
    path = path_of(run.output, factor.name, NAME)
    origin = read_origin(path)
    if origin is None:
        return False
    if origin.weights != read_checksum(run.weights(factor.name)):
        logger.warning("%s belongs to other weights and is replaced", path)
        return False
    if origin.options != options:
        raise UserError(
            f"{path} was made with other numbers of bits: expected {_text(options)}, found {_text(origin.options)}; "
            "delete it to make it again, but then files and samples that depend on it cannot be decoded or drawn again"
        )
    logger.info("%s is kept", path)
    return True


def _text(options: dict[str, int]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


@torch.no_grad()
def _views(model: Prior, data: DataSets, count: int) -> list[Tensor]:
    """Training images and all their views, evenly spaced in the set if its length is known."""
    step = max(1, len(data.train) // count) if hasattr(data.train, "__len__") else 1
    images = [image for _, image in data.train.every(step, 0, count)]
    return list(model.views(torch.stack(images).long()))


def _make(
    run: RunFolder, factor: Factor, views: Sequence[Tensor], arithmetic: Arithmetic, options: dict[str, int]
) -> None:
    view = views[factor.depth + 1] if factor.depth + 1 < len(views) else None
    converted = arithmetic.convert(factor, views[factor.depth], view)
    weights = read_checksum(run.weights(factor.name))
    assert weights is not None
    path = path_of(run.output, factor.name, NAME)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_converted(path, converted, Origin(weights, options))
    logger.info("%s: %s", factor.name, path)
