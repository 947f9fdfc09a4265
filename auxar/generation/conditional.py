"""Conditional drawing: images given a view (colorization, super-resolution), or the rest of an image given a part."""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor

from auxar.data.pixels import pixels
from auxar.errors import UserError
from auxar.files import replacing
from auxar.generation.conditions import Conditions
from auxar.generation.sample_folder import begin, finish
from auxar.generation.samples import batches, drawn_how
from auxar.generation.sheets import SHEET_DRAWS, SHEET_ROWS, draws_sheet, save_png
from auxar.model import Chain, Known, Sampler, SampleRequest, device_of
from auxar.recipe import SamplingConfig
from auxar.recipe.schema import MOST_SAMPLES

logger = logging.getLogger("auxar")


@attrs.frozen(eq=False)
class Given:
    """The views or known pixels to draw from. The first dimension g of each tensor is the number of given images."""

    names: tuple[str, ...]
    """File names of the given images."""
    depth: int
    """Depth of `view`: images at all smaller depths are drawn. If `known` is set, all depths are drawn; this is then 1,
    the depth at which the agreement of a drawn image with its view is measured."""
    view: Tensor | None
    """The given views, integers (g, *model.specs[depth].shape); None if `known` is set."""
    image: Tensor | None
    """The given images, integers (g, *image.shape); None if the files show views."""
    known: Known | None = None
    """The known pixels of images to complete; None if a view is given."""

    @property
    def digest(self) -> str:
        """A hash of all values, equal in all processes that were given the same images."""
        found = hashlib.sha256(repr((self.names, self.depth)).encode())
        known = (None, None) if self.known is None else (self.known.values, self.known.mask)
        for tensor in (self.view, self.image, *known):
            found.update(b"none" if tensor is None else tensor.cpu().contiguous().numpy().tobytes())
        return found.hexdigest()


def check_stage(model: Chain, stage: int) -> None:
    """Raises `UserError` if the model does not have this stage."""
    stages = len(model.specs) - 1
    if not stages:
        raise UserError("given: this model has no views to draw from; use --keep to complete images")
    if not 0 <= stage < stages:
        raise UserError(f"stage: expected the number of a stage of this model, from 0 to {stages - 1}, got {stage}")


@torch.no_grad()
def draw_given(model: Chain, given: Given, draws: int, request: SampleRequest, sampler: Sampler) -> list[Tensor]:
    """Draws images from given views or known pixels, `draws` for each given image.

    The image with number i · draws + j is draw j of given image i. Returns the drawn images and views by depth and, if
    a view was given, that view as the last entry: int64, (len(request.numbers), *spec.shape), on the model's device.
    """
    device = device_of(model)
    rows = torch.tensor([number // draws for number in request.numbers])
    if given.view is not None:
        return model.draw_from(given.view[rows].to(device), request, sampler, from_depth=given.depth)
    assert given.known is not None
    known = Known(given.known.values[rows].to(device), given.known.mask[rows].to(device))
    return model.draw_views(attrs.evolve(request, known=known), sampler)


@torch.no_grad()
def draw_given_to_folder(
    model: Chain,
    given: Given,
    config: SamplingConfig,
    sampler: Sampler,
    folder: Path,
    accelerator: Accelerator,
    conditions: Conditions | None = None,
) -> None:
    """Draws `config.images` images for each given image.

    Writes single pictures, a labeled sheet, `samples.json`, and `draws.npz` with all arrays. The picture
    `000002-001.png` is draw 1 of given image 2, both counted from 0. All draws of a given image have the same
    condition, those of `conditions` in turn. Raises `UserError` if the folder holds files that are not samples, or if
    there are more than `MOST_SAMPLES` draws together."""
    each, most = config.images, MOST_SAMPLES // len(given.names)
    if each > most:
        raise UserError(
            f"sampling.images (-n) is {each:,}: expected at most {most:,} draws for each of {len(given.names)} images"
        )
    total = attrs.evolve(config, images=each * len(given.names))
    spec, conditions = model.image, conditions or Conditions()
    found: list[tuple[int, dict[str, np.ndarray]]] = []
    started = time.perf_counter()

    def draw(indices: tuple[int, ...]) -> list[Tensor]:
        request = conditions.given_to(config.request(indices), device_of(model), each)
        return draw_given(model, given, each, request, sampler)

    numbers, start = range(total.images), partial(begin, folder, total, accelerator)
    for indices, views in batches(draw, config.batch_size, numbers, spec, folder, accelerator, start):
        condition = conditions.given_to(config.request(indices), device_of(model), each).condition
        facts = _facts(model, given, views, condition)
        pictures = pixels(views[0], spec, model.picture_values)
        for row, index in enumerate(indices):
            name = f"{index // each:06d}-{index % each:03d}.png"
            save_png(Image.fromarray(pictures[row]), folder / "images" / name)
            found.append((index, {key: values[row].cpu().numpy() for key, values in facts.items()}))
    seconds = time.perf_counter() - started
    everyone = sorted(gather_object(found), key=lambda entry: entry[0])
    if accelerator.is_main_process and everyone:
        arrays = {
            key: np.stack([facts[key] for _, facts in everyone]).reshape(len(given.names), each, *shape)
            for key, shape in ((key, values.shape) for key, values in everyone[0][1].items())
        }
        agreements = arrays.get("view_agreement")
        agreement = None if agreements is None else float(agreements.mean())
        save_png(_sheet(model, given, arrays["images"], conditions), folder / "samples.png")
        _save(folder / "draws.npz", given, arrays)
        finish(
            folder,
            {
                **drawn_how(model, config, total.images, seconds, conditions),
                "given": list(given.names),
                "drawn_from": f"depth {given.depth}" if given.known is None else "known pixels",
                "draws_each": each,
                "view_agreement": agreement,
            },
        )
        if agreement is not None:
            whose = "the views that they were drawn from" if given.view is None else "the given views"
            logger.info("the views of the drawn images equal %s at %.2f %% of the pixels", whose, 100 * agreement)
    accelerator.wait_for_everyone()


def _facts(model: Chain, given: Given, views: Sequence[Tensor], condition: Tensor | None) -> dict[str, Tensor]:
    """Values by their names in `draws.npz`: drawn images and views, log-likelihoods of the factors in nats, agreement.

    `view_agreement` is the fraction of the view's pixels in which the view of a drawn image equals the view that
    it was drawn from.
    """
    drawn = views if given.view is None else views[:-1]
    facts = {"images" if depth == 0 else f"view{depth}": view for depth, view in enumerate(drawn)}
    for factor in model.factors[: len(drawn)]:
        facts[f"nats_{factor.name}"] = factor(*factor.inputs(views, condition)).double()
    if given.depth < len(views):
        own = model.views(views[0], given.depth)[given.depth]
        facts["view_agreement"] = (own == views[given.depth]).all(1).double().flatten(1).mean(1)
    return facts


def _save(path: Path, given: Given, arrays: dict[str, np.ndarray]) -> None:
    """Writes the given images, view and known pixels, and the drawn arrays, to an npz file."""
    extra = {"given": given.image, "view": given.view}
    if given.known is not None:
        extra["known"] = given.known.mask
    everything: dict[str, Any] = {key: value.cpu().numpy() for key, value in extra.items() if value is not None}
    everything |= arrays
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **everything)


def _sheet(model: Chain, given: Given, images: np.ndarray, conditions: Conditions) -> Image.Image:
    """The sheet of the first given images and of the first draws of each."""
    specs, condition = model.specs, None
    if model.condition is not None and not model.condition.is_vector and conditions.values is not None:
        shown = conditions.of(range(min(SHEET_ROWS, len(images))))
        assert shown is not None
        condition = (shown, model.condition.spec)
    return draws_sheet(
        torch.from_numpy(images[:SHEET_ROWS, :SHEET_DRAWS]),
        specs[0],
        given=None if given.image is None else (given.image[:SHEET_ROWS].cpu(), specs[0]),
        view=None if given.view is None else (given.view[:SHEET_ROWS].cpu(), specs[given.depth]),
        known=None if given.known is None else given.known.mask[:SHEET_ROWS].cpu(),
        condition=condition,
    )
