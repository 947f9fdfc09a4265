"""Images of other sizes than a model's: the model at their size, and likelihoods of images of several sizes."""

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from auxar.draw.conditions import check_named
from auxar.draw.forms import WrongForm
from auxar.draw.images import Images
from auxar.draw.inputs import as_batch, parts_of, sizes_of
from auxar.draw.likelihoods import factor_log_probs
from auxar.draw.plan import Given
from auxar.errors import UserError
from auxar.recipe import Crop

Model = Any
"""An `ImageModel`, whose module imports this one."""


def takes_any_size(model: Model, images: Any) -> bool:
    """Whether a model takes images of another size as they are; not pictures that its recipe crops or resizes."""
    data = None if model.recipe is None else model.recipe.data
    changes = data is not None and not data.crop.random and (data.resize != "none" or data.crop != Crop())
    parts = images if isinstance(images, list | tuple) else [images]
    arrays = all(isinstance(part, Images | Tensor | np.ndarray) for part in parts)
    return bool(model.chain.any_size) and (arrays or not changes)


def at_size_of(model: Model, images: Any, depth: int = 0, what: str = "images") -> Model:
    """The model at the size of given images or, if they are views at a depth, at the size that has such views.

    It is the same model if its networks do not work at any size, or if the recipe crops or resizes pictures. Raises
    `UserError`, beginning with `what`, if the images have several sizes, or if a file cannot be read.
    """
    spec = model.chain.specs[depth]
    if not takes_any_size(model, images):
        return model
    sizes = {size for size in sizes_of(images, spec, what) if size is not None}
    if sizes <= {(spec.height, spec.width)}:
        return model
    if len(sizes) > 1:
        found = ", ".join(f"{height}×{width}" for height, width in sorted(sizes))
        raise UserError(f"{what}: expected images of one size, got {found}; log_prob and bits_per_dim accept several")
    ((height, width),) = sizes
    for larger, smaller in itertools.pairwise(model.chain.specs[: depth + 1]):
        height, width = height * -(-larger.height // smaller.height), width * -(-larger.width // smaller.width)
    return model.at(height, width)


def check_default_device(model: Model) -> None:
    """Raises `UserError` if torch makes tensors on a device that is neither a CPU nor the model's, such as "meta"."""
    if (default := torch.get_default_device().type) not in ("cpu", model.device.type):
        found = f"torch makes new tensors on the device '{default}', but the model is on '{model.device}'"
        raise UserError(f"{found}; call it outside of `with torch.device` and without torch.set_default_device")


def fitting(model: Model, images: Any, what: str = "images") -> tuple[Model, Tensor]:
    """The model at the size of some images, and the images as one batch: integers, (n, *image.shape)."""
    check_default_device(model)
    model = at_size_of(model, images, what=what)
    try:
        return model, as_batch(images, model.image, model.preparation, what)
    except WrongForm as error:
        raise UserError(f"{error}; model.prepare(images, resize='cover') converts pictures") from None


def each_image(model: Model, images: Any) -> list[Tensor]:
    """The images one by one, (c, h, w): of their own sizes if the model takes any size, else of the model's size."""
    if takes_any_size(model, images):
        return [image for part in parts_of(images) for image in fitting(model, *part)[1]]
    return list(model.prepare(images))


def reading(model: Model, read: Callable[[Model], Given], images: Any, depth: int) -> tuple[Model, Given]:
    """The result of `read` for a model or, if it raises `WrongForm`, for the model at the size of the images."""
    check_default_device(model)
    try:
        return model, read(model)
    except WrongForm:
        if (other := at_size_of(model, images, depth)) is model:
            raise
        return other, read(other)


def log_prob_and_dims(model: Model, images: Any, condition: Any, batch_size: int | None) -> tuple[Tensor, Tensor]:
    """log p of images, which may have several sizes, and their numbers of sub-pixels: float64, (n,) each."""
    check_named(condition, model.condition)
    is_mixed = takes_any_size(model, images) and len(set(sizes_of(images, model.image))) > 1
    found = [fitting(model, *part) for part in (parts_of(images) if is_mixed else [(images, "images")])]
    counts = [len(batch) for _, batch in found]
    given = model.conditions(condition, sum(counts))
    places = torch.arange(sum(counts)).split(counts)
    nats, dims = torch.empty(2, sum(counts), dtype=torch.float64)
    for own in {each.image: each for each, _ in found}.values():
        chosen = [at for at, (each, _) in enumerate(found) if each.image == own.image]
        rows = torch.cat([places[at] for at in chosen])
        conditions = None if given is None else given[rows]
        factors = factor_log_probs(own.chain, torch.cat([found[at][1] for at in chosen]), batch_size, conditions)
        nats[rows] = torch.stack([factor.log_prob for factor in factors]).sum(0)
        dims[rows] = float(own.image.dims)
    return nats, dims
