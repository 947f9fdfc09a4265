"""Drawing images from a trained model and saving them as PNG files."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import attrs
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor

from auxar.data import ImageSet
from auxar.data.pixels import pixels
from auxar.files import entries
from auxar.generation.conditions import NONE, Conditions, first_examples
from auxar.generation.sample_folder import PICTURE, begin, finish
from auxar.generation.sheets import (
    SHEET_DRAWS,
    SHEET_ROWS,
    can_be_shown,
    draws_sheet,
    growth,
    labeled,
    save_png,
    sheet,
    sheet_columns,
)
from auxar.model import Chain, ImageSpec, Sampler, SampleRequest
from auxar.progress import progress_bar
from auxar.recipe import SamplingConfig

logger = logging.getLogger("auxar")
T = TypeVar("T")

MOST_COLUMNS = 20
"""Maximum number of conditions that have a column each on the sheet of drawn images."""
MOST_CHARACTERS = 12
"""Maximum number of characters of the title of such a column."""
SHEET_IMAGES = 256
"""Maximum number of images on the sheet. Every image is also saved as a single picture."""
GROWTH_ROWS = 4
"""The number of images in `growth.png`, which shows them from their coarsest view to the image."""


@torch.no_grad()
def draw_views(model: Chain, request: SampleRequest, sampler: Sampler) -> list[Tensor]:
    """Draws images. Returns them and the views they were drawn from, by depth: int64, (b, *spec.shape), on the CPU."""
    return [view.cpu() for view in model.draw_views(request, sampler)]


def drawn_bits_per_dim(
    model: Chain,
    views: Sequence[Tensor],
    batch_size: int,
    device: torch.device,
    condition: Tensor | None = None,
) -> Tensor:
    """The joint bits/dim of drawn images and the views that they were drawn from: float64, (b,).

    These are -log₂ p(X, X̂) divided by the number of sub-pixels of the image. `views` is the list that `draw_views`
    returns, and `condition` has the condition of each image. The result differs from `model.bits_per_dim` if the view
    of a drawn image, ψ(X), differs from the view that it was drawn from."""
    scores = []
    for start in range(0, len(views[0]), batch_size):
        part = [view[start : start + batch_size].to(device) for view in views]
        given = None if condition is None else condition[start : start + batch_size].to(device)
        nats = [factor(*factor.inputs(part, given)).double() for factor in model.factors]
        scores.append(torch.stack(nats).sum(0).cpu() / (-math.log(2) * model.image.dims))
    return torch.cat(scores)


@attrs.frozen(eq=False)
class FirstImages:
    """The drawn images that the sheet shows."""

    numbers: list[int]
    """The numbers of the images."""
    views: list[Tensor]
    """The images and the views that they were drawn from, by depth: int64, (images, *spec.shape)."""
    bits_per_dim: list[float]
    """The value of `drawn_bits_per_dim` for each image."""


def sample_to_folder(
    model: Chain,
    config: SamplingConfig,
    sampler: Sampler,
    folder: Path,
    accelerator: Accelerator,
    heldout: ImageSet | None = None,
    conditions: Conditions | None = None,
) -> None:
    """Draws `config.images` images; writes single pictures, a sheet, a sheet from coarse to fine, and `samples.json`.

    With `heldout`, a second sheet of the same layout shows as many held-out images, or all if there are fewer. A model
    with a condition draws images with `conditions` in turn; a column of the sheet shows those with the same condition.
    If conditions are masks or images, a row shows one of them beside its draws.

    The images are divided among the processes. Except for rounding, an image does not depend on their number. Pictures
    are saved after each batch, so that an early stop keeps those of finished batches; sheets and `samples.json` are
    written at the end. When the first batch is drawn, samples of an earlier call in the same folder are removed. Raises
    `UserError` if the folder holds files that are not samples.
    """
    conditions, started = conditions or Conditions(), time.perf_counter()
    start = partial(begin, folder, config, accelerator)
    first = draw_to_folder(model, config, sampler, folder, accelerator, conditions, range(config.images), start)
    if accelerator.is_main_process and first.numbers:
        write_sheets(model, config, folder, first, time.perf_counter() - started, conditions, heldout)
    accelerator.wait_for_everyone()


@torch.no_grad()
def draw_to_folder(
    model: Chain,
    config: SamplingConfig,
    sampler: Sampler,
    folder: Path,
    accelerator: Accelerator,
    conditions: Conditions,
    numbers: range,
    start: Callable[[], None],
) -> FirstImages:
    """Draws the images with some numbers, and saves each as a picture. Returns those of them that the sheet shows.

    All processes together draw the images, and each gets the same result. `start` is called as by `batches`.
    """
    found: list[tuple[int, list[Tensor]]] = []

    def draw(indices: tuple[int, ...]) -> list[Tensor]:
        return draw_views(model, conditions.given_to(config.request(indices), accelerator.device), sampler)

    for indices, views in batches(draw, config.batch_size, numbers, model.image, folder, accelerator, start):
        pictures = pixels(views[0], model.image, model.picture_values)
        for row, index in enumerate(indices):
            save_png(Image.fromarray(pictures[row]), picture_path(folder, index))
            if index < SHEET_IMAGES:
                found.append((index, [view[row] for view in views]))
    scored: list[tuple[int, list[Tensor], float]] = []
    if found:
        stacked = [torch.stack([views[k] for _, views in found]) for k in range(len(model.specs))]
        given = conditions.of([index for index, _ in found])
        bits = drawn_bits_per_dim(model, stacked, config.batch_size, accelerator.device, given)
        scored = [(index, views, score) for (index, views), score in zip(found, bits.tolist(), strict=True)]
    everyone = sorted(gather_object(scored), key=lambda entry: entry[0])
    return FirstImages(
        [index for index, *_ in everyone],
        [
            torch.stack([views[k] for _, views, _ in everyone])
            if everyone
            else torch.zeros((0, *spec.shape), dtype=torch.int64)
            for k, spec in enumerate(model.specs)
        ],
        [score for *_, score in everyone],
    )


def picture_path(folder: Path, number: int) -> Path:
    """The file of the picture of an image."""
    return folder / "images" / f"{number:06d}.png"


def write_sheets(
    model: Chain,
    config: SamplingConfig,
    folder: Path,
    first: FirstImages,
    seconds: float,
    conditions: Conditions,
    heldout: ImageSet | None = None,
) -> None:
    """Writes the sheets of `sample_to_folder` and `samples.json`, when all pictures are saved.

    `first` are the first images of all, at least one, and `seconds` is the time that drawing all images took.
    """
    images, specs = first.views[0], model.specs
    columns = sheet_columns(len(images), specs[0])
    if 1 < len(conditions.names) <= min(MOST_COLUMNS, len(images)):
        columns = len(conditions.names)
    shown = _beside_conditions(model, conditions, images)
    if shown is None and columns == len(conditions.names) and len(images) % columns == 0:
        shown = _below_names(images, specs[0], conditions.names)
    save_png(shown or sheet(images, specs[0], columns), folder / "samples.png")
    if heldout is not None:
        held_out = first_examples(heldout, len(images)).image.to(torch.int64)
        save_png(sheet(held_out, specs[0], columns), folder / "heldout.png")
    rows = [(view[:GROWTH_ROWS], spec) for view, spec in zip(first.views, specs, strict=True) if can_be_shown(spec)]
    if len(rows) > 1:
        save_png(growth(rows[::-1]), folder / "growth.png")
    finish(
        folder,
        {
            **drawn_how(model, config, config.images, seconds, conditions),
            # `columns` describes the sheet. `bits_per_dim` lists a value for each image of the sheet, in its order.
            "columns": columns,
            "bits_per_dim": first.bits_per_dim,
            "kind": "exact" if model.exact else "bound",
        },
    )


def _below_names(images: Tensor, spec: ImageSpec, names: Sequence[str]) -> Image.Image:
    """A sheet with a column for each of k conditions, below its name. Image number i has the condition i mod k."""
    titles = [name if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS - 1]}…" for name in names]
    return labeled([(images[number :: len(names)], spec) for number in range(len(names))], titles)


def _beside_conditions(model: Chain, conditions: Conditions, images: Tensor) -> Image.Image | None:
    """A sheet with a row for each of the first conditions, which are masks or images: the condition and its draws.

    None if the model has no such conditions. Image number i has the condition i mod k.
    """
    condition = model.condition
    if condition is None or condition.is_vector or conditions.values is None:
        return None
    count = len(conditions.values)
    rows, draws = min(count, len(images), SHEET_ROWS), min(max(1, len(images) // count), SHEET_DRAWS)
    drawn = torch.stack([images[row : row + count * draws : count][:draws] for row in range(rows)])
    given = (conditions.values[:rows], condition.spec)
    return draws_sheet(drawn, model.image, given=None, view=None, condition=given)


def drawn_how(
    model: Chain, config: SamplingConfig, count: int, seconds: float, conditions: Conditions
) -> dict[str, Any]:
    """The entries of `samples.json` with the settings and the duration of drawing `count` images.

    For a model with a condition, `conditions` lists the names of the conditions that the images were given in turn.
    """
    names = {} if model.condition is None else {"conditions": list(conditions.names) or [NONE]}
    return {
        **names,
        "rule": config.rule.table,
        "meaning": config.draw_rule().meaning,
        "seed": config.seed,
        "count": count,
        "sampler": config.sampler.name,
        "arithmetic": model.arithmetic,
        "seconds": seconds,
    }


def batches(
    draw: Callable[[tuple[int, ...]], T],
    batch_size: int,
    numbers: range,
    image: ImageSpec,
    folder: Path,
    accelerator: Accelerator,
    start: Callable[[], None],
) -> Iterator[tuple[tuple[int, ...], T]]:
    """Draws this process's share of the images with some numbers, `batch_size` at a time, with a progress bar.

    Yields the numbers of the images of each batch and the result of `draw` for them. When the first batch is drawn,
    calls `start`, so that earlier samples are kept if the sampler cannot draw.

    If drawing stops early, a warning says how many pictures are finished.
    """
    mine = numbers[accelerator.process_index :: accelerator.num_processes]
    started = time.perf_counter()
    done = 0
    begun = False
    try:
        with progress_bar(
            total=len(mine), desc="sampling", unit="image", disable=not accelerator.is_main_process
        ) as progress:
            for first in range(0, len(mine), batch_size):
                indices = tuple(mine[first : first + batch_size])
                drawn = draw(indices)
                if not begun:
                    start()
                    begun = True
                yield indices, drawn
                done += len(indices)
                speed = done * image.height * image.width / (time.perf_counter() - started)
                progress.set_postfix_str(f"{speed:,.0f} pixel/s", refresh=False)
                progress.update(len(indices))
        if not begun:  # There are more processes than images, and all processes must call `start`.
            start()
    except BaseException:
        if begun:
            # The files are counted, because a part of the current batch may already be saved.
            names = map(PICTURE.fullmatch, (path.name for path in entries(folder / "images")))
            finished = sum(1 for name in names if name is not None and int(name[1]) in numbers)
            logger.warning(
                "stopped after %d of %d images; the finished ones are in %s", finished, len(numbers), folder / "images"
            )
        raise
