"""Writes the drawn images of a plan: single pictures, sheets, arrays of conditional draws, and `samples.json`."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor

from auxar.data import ImageSet
from auxar.data.pixels import pixels
from auxar.draw.conditions import NONE, first_examples
from auxar.draw.drawing import Drawn, batches
from auxar.draw.plan import Given, Plan
from auxar.draw.sample_folder import PICTURE, begin, finish
from auxar.draw.sheets import (
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
from auxar.errors import UserError
from auxar.files import entries, replacing
from auxar.model import Chain, ImageSpec
from auxar.recipe import SamplingConfig
from auxar.recipe.schema import MOST_SAMPLES

logger = logging.getLogger("auxar")

Facts = dict[str, np.ndarray]
"""Values of drawn images by name, with a first dimension of images: their `numbers`, the `images` and the views `view1`
… that they were drawn from, the log-likelihoods `nats_FACTOR` of the drawn factors, and for conditional draws
`view_agreement`, the fraction of the view's pixels in which the view of a drawn image equals the view that it was drawn
from."""
MOST_COLUMNS = 20
"""Maximum number of conditions that have a column each on the sheet of drawn images."""
MOST_CHARACTERS = 12
"""Maximum number of characters of the title of such a column."""
SHEET_IMAGES = 256
"""Maximum number of images on the sheet. Every image is also saved as a single picture."""
GROWTH_ROWS = 4
"""The number of images in `growth.png`, which shows them from their coarsest view to the image."""


def write_samples(
    model: Chain,
    plan: Plan,
    config: SamplingConfig,
    folder: Path,
    accelerator: Accelerator,
    heldout: ImageSet | None = None,
) -> None:
    """Draws the images of a plan; writes single pictures, sheets and `samples.json`, with the rule's name in `config`.

    With `heldout`, a second sheet of the same layout shows as many held-out images, or all if there are fewer. A model
    with a condition draws images with the plan's conditions in turn; a column of the sheet shows those with the same
    condition. If conditions are masks or images, a row shows one of them beside its draws. Draws from given images are
    also written as arrays, to `draws.npz`, and a sheet has a row for each given image.

    The images are divided among the processes. Except for rounding, an image does not depend on their number. Pictures
    are saved after each batch, so that an early stop keeps those of finished batches; sheets and `samples.json` are
    written at the end. When the first batch is drawn, samples of an earlier call in the same folder are removed. Raises
    `UserError` if the folder holds files that are not samples, or if there are more than `MOST_SAMPLES` draws together.
    """
    started = time.perf_counter()
    start = partial(begin, folder, mark_of(plan, config), accelerator)
    facts = draw_pictures(model, plan, folder, accelerator, plan.numbers, start)
    if accelerator.is_main_process and facts:
        write_sheets(model, plan, config, folder, facts, time.perf_counter() - started, heldout)
    accelerator.wait_for_everyone()


def check_count(given: int, draws: int) -> None:
    """Raises `UserError` if `draws` images for each of `given` images are more than `MOST_SAMPLES`."""
    if draws * given > MOST_SAMPLES:
        raise UserError(
            f"sampling.images (-n) is {draws:,}: expected at most {MOST_SAMPLES // given:,} draws for each of {given} "
            "images"
        )


def mark_of(plan: Plan, config: SamplingConfig) -> dict[str, Any]:
    """Facts by which the folder of unfinished samples is recognized."""
    return {"rule": config.rule.table, "seed": plan.seed, "count": len(plan.numbers)}


@torch.no_grad()
def draw_pictures(
    model: Chain, plan: Plan, folder: Path, accelerator: Accelerator, numbers: range, start: Callable[[], None]
) -> Facts:
    """Draws the images with some of a plan's numbers, and saves each as a picture.

    Returns the facts of the images that the sheets show, in the order of their numbers; empty if these are none of
    them. All processes together draw the images, and each gets the same result. When the first batch is drawn, calls
    `start`, so that earlier samples are kept if the sampler cannot draw. If drawing stops early, a warning says how
    many pictures are finished.
    """
    found: list[tuple[int, dict[str, np.ndarray]]] = []
    mine = numbers[accelerator.process_index :: accelerator.num_processes]
    begun = False
    try:
        for batch in batches(model, plan, mine, progress=accelerator.is_main_process, delay=0):
            if not begun:
                start()
                begun = True
            shown = pixels(batch.views[0], model.image, model.picture_values)
            for number, picture in zip(batch.numbers, shown, strict=True):
                save_png(Image.fromarray(picture), picture_path(folder, plan, number))
            found += _facts(model, plan, batch)
        if not begun:  # There are more processes than images, and all processes must call `start`.
            start()
    except BaseException:
        if begun:
            # The files are counted, because a part of the current batch may already be saved.
            names = {path.name for path in entries(folder / "images") if PICTURE.fullmatch(path.name)}
            finished = sum(picture_path(folder, plan, number).name in names for number in numbers)
            logger.warning(
                "stopped after %d of %d images; the finished ones are in %s", finished, len(numbers), folder / "images"
            )
        raise
    everyone = sorted(gather_object(found), key=lambda entry: entry[0])
    return {key: np.stack([own[key] for _, own in everyone]) for key in (everyone[0][1] if everyone else ())}


def picture_path(folder: Path, plan: Plan, number: int) -> Path:
    """The file of the picture of an image. `000002-001.png` is draw 1 of given image 2, both counted from 0."""
    if plan.given is None:
        return folder / "images" / f"{number:06d}.png"
    return folder / "images" / f"{number // plan.draws:06d}-{number % plan.draws:03d}.png"


def _facts(model: Chain, plan: Plan, batch: Drawn) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
    """Yields the number and the facts of each image of a batch that the sheets show; all images if images are given."""
    from_view = plan.given is not None and plan.given.view is not None
    views = batch.views[:-1] if from_view else batch.views
    count = len(batch.numbers) if plan.given else sum(number < SHEET_IMAGES for number in batch.numbers)
    if not count:
        return
    rows = [view[:count] for view in batch.views]
    condition = None if batch.condition is None else batch.condition[:count]
    facts = {"images" if depth == 0 else f"view{depth}": view for depth, view in enumerate(rows[: len(views)])}
    for factor in model.factors[: len(views)]:
        facts[f"nats_{factor.name}"] = factor(*factor.inputs(rows, condition)).double()
    if plan.given is not None and plan.given.depth < len(rows):
        own = model.views(rows[0], plan.given.depth)[plan.given.depth]
        facts["view_agreement"] = (own == rows[plan.given.depth]).all(1).double().flatten(1).mean(1)
    facts["numbers"] = torch.tensor(batch.numbers[:count])
    arrays = {key: value.cpu().numpy() for key, value in facts.items()}
    for row, number in enumerate(batch.numbers[:count]):
        yield number, {key: value[row] for key, value in arrays.items()}


def write_sheets(
    model: Chain,
    plan: Plan,
    config: SamplingConfig,
    folder: Path,
    facts: Facts,
    seconds: float,
    heldout: ImageSet | None = None,
) -> None:
    """Writes sheets, arrays and `samples.json`, when all pictures are saved.

    `facts` are those of the first images of all, at least one, and of all images if images are given. `seconds` is the
    time that drawing all images took.
    """
    # For a model with a condition, the record names the conditions that the images were given in turn.
    names = {} if model.condition is None else {"conditions": list(plan.conditions.names) or [NONE]}
    record = {
        **names,
        "rule": config.rule.table,
        "meaning": plan.rule.meaning,
        "seed": plan.seed,
        "count": len(plan.numbers),
        "sampler": config.sampler.name,
        "arithmetic": model.arithmetic,
        "seconds": seconds,
    }
    if plan.given is None:
        own = _write_whole(model, plan, folder, facts, heldout)
    else:
        own = _write_conditional(model, plan, plan.given, folder, facts)
    finish(folder, record | own)


def _write_whole(model: Chain, plan: Plan, folder: Path, facts: Facts, heldout: ImageSet | None) -> dict[str, Any]:
    """Writes the sheets of whole images, and returns entries of `samples.json`."""
    views = [torch.from_numpy(facts["images" if depth == 0 else f"view{depth}"]) for depth in range(len(model.specs))]
    images, specs, conditions = views[0], model.specs, plan.conditions
    columns = sheet_columns(len(images), specs[0])
    if 1 < len(conditions.names) <= min(MOST_COLUMNS, len(images)):
        columns = len(conditions.names)
    shown = _beside_conditions(model, plan, images)
    if shown is None and columns == len(conditions.names) and len(images) % columns == 0:
        shown = _below_names(images, specs[0], conditions.names)
    save_png(shown or sheet(images, specs[0], columns), folder / "samples.png")
    if heldout is not None:
        held_out = first_examples(heldout, len(images)).image.to(torch.int64)
        save_png(sheet(held_out, specs[0], columns), folder / "heldout.png")
    rows = [(view[:GROWTH_ROWS], spec) for view, spec in zip(views, specs, strict=True) if can_be_shown(spec)]
    if len(rows) > 1:
        save_png(growth(rows[::-1]), folder / "growth.png")
    nats = np.sum([facts[f"nats_{factor.name}"] for factor in model.factors], 0)
    # `columns` describes the sheet. `bits_per_dim` lists a value for each image of the sheet, in its order: the joint
    # bits/dim of the image and the views that it was drawn from, which may differ from the views of the image.
    bits = (nats / (-math.log(2) * model.image.dims)).tolist()
    return {"columns": columns, "bits_per_dim": bits, "kind": "exact" if model.exact else "bound"}


def _below_names(images: Tensor, spec: ImageSpec, names: Sequence[str]) -> Image.Image:
    """A sheet with a column for each of k conditions, below its name. Image number i has the condition i mod k."""
    titles = [name if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS - 1]}…" for name in names]
    return labeled([(images[number :: len(names)], spec) for number in range(len(names))], titles)


def _beside_conditions(model: Chain, plan: Plan, images: Tensor) -> Image.Image | None:
    """A sheet with a row for each of the first conditions, which are masks or images: the condition and its draws.

    None if the model has no such conditions. Image number i has the condition i mod k.
    """
    condition, values = model.condition, plan.conditions.values
    if condition is None or condition.is_vector or values is None:
        return None
    count = len(values)
    rows, draws = min(count, len(images), SHEET_ROWS), min(max(1, len(images) // count), SHEET_DRAWS)
    drawn = torch.stack([images[row : row + count * draws : count][:draws] for row in range(rows)])
    return draws_sheet(drawn, model.image, given=None, view=None, condition=(values[:rows], condition.spec))


def _write_conditional(model: Chain, plan: Plan, given: Given, folder: Path, facts: Facts) -> dict[str, Any]:
    """Writes the sheet and the arrays of draws from given images, and returns entries of `samples.json`."""
    arrays = {
        key: values.reshape(len(given), plan.draws, *values.shape[1:])
        for key, values in facts.items()
        if key != "numbers"
    }
    agreement = float(arrays["view_agreement"].mean()) if "view_agreement" in arrays else None
    save_png(_draws_sheet(model, plan, given, arrays["images"]), folder / "samples.png")
    tensors = {"given": given.image, "view": given.view, "known": None if given.known is None else given.known.mask}
    inputs = {key: value.cpu().numpy() for key, value in tensors.items() if value is not None}
    with replacing(folder / "draws.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **(inputs | arrays))  # type: ignore[arg-type]
    if agreement is not None:
        whose = "the views that they were drawn from" if given.view is None else "the given views"
        logger.info("the views of the drawn images equal %s at %.2f %% of the pixels", whose, 100 * agreement)
    return {
        "given": list(given.names),
        "drawn_from": f"depth {given.depth}" if given.known is None else "known pixels",
        "draws_each": plan.draws,
        "view_agreement": agreement,
    }


def _draws_sheet(model: Chain, plan: Plan, given: Given, images: np.ndarray) -> Image.Image:
    """The sheet of the first given images and of the first draws of each."""
    specs, condition = model.specs, None
    if model.condition is not None and not model.condition.is_vector and plan.conditions.values is not None:
        shown = plan.conditions.of(range(min(SHEET_ROWS, len(images))))
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
