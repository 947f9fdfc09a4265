"""Drawing images from a trained model and saving them as PNG files."""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from PIL import Image
from torch import Tensor

from auxar.data import ImageSet
from auxar.errors import UserError
from auxar.files import FILE, FOLDER, entries, kind, read_json, remove, unfinished, write_json
from auxar.generation.conditions import NONE, Conditions, first_examples
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
    to_uint8,
)
from auxar.interfaces import ImageSpec, Prior, Sampler, SampleRequest
from auxar.progress import progress_bar
from auxar.recipe import SamplingConfig
from auxar.runs.lock import HOLDER, LOCK

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
PICTURE = re.compile(r"([0-9]{6}|[1-9][0-9]{6,})(-([0-9]{3}|[1-9][0-9]{3,}))?\.png")
"""The names of single pictures: at least six digits and, for a draw of a given image, a hyphen and at least three."""
RECORD, MARK = "samples.json", ".samples.json"
"""Names of the record of finished samples, and of the file that marks a folder while samples are drawn."""
SHEETS = (RECORD, MARK, "samples.png", "heldout.png", "growth.png", "draws.npz")
"""Names of the files that are written beside `images`, the folder of single pictures."""


@torch.no_grad()
def draw_views(model: Prior, request: SampleRequest, sampler: Sampler) -> list[Tensor]:
    """Draws images. Returns them and the views they were drawn from, by depth: int64, (b, *spec.shape), on the CPU."""
    return [view.cpu() for view in model.draw_views(request, sampler)]


def drawn_bits_per_dim(
    model: Prior,
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


def sample_to_folder(
    model: Prior,
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
    specs, conditions = model.specs, conditions or Conditions()
    found: list[tuple[int, list[Tensor]]] = []
    started = time.perf_counter()

    def draw(indices: tuple[int, ...]) -> list[Tensor]:
        return draw_views(model, conditions.given_to(config.request(indices), accelerator.device), sampler)

    for indices, views in batches(draw, config, model.image, folder, accelerator):
        pictures = to_uint8(views[0], specs[0])
        for row, index in enumerate(indices):
            save_png(Image.fromarray(pictures[row]), folder / "images" / f"{index:06d}.png")
            if index < SHEET_IMAGES:
                found.append((index, [view[row] for view in views]))
    seconds = time.perf_counter() - started
    scored: list[tuple[int, list[Tensor], float]] = []
    if found:
        stacked = [torch.stack([views[k] for _, views in found]) for k in range(len(specs))]
        given = conditions.of([index for index, _ in found])
        bits = drawn_bits_per_dim(model, stacked, config.batch_size, accelerator.device, given)
        scored = [(index, views, score) for (index, views), score in zip(found, bits.tolist(), strict=True)]
    everyone = sorted(gather_object(scored), key=lambda entry: entry[0])
    if accelerator.is_main_process and everyone:
        stacked = [torch.stack([views[k] for _, views, _ in everyone]) for k in range(len(specs))]
        columns = sheet_columns(len(everyone), specs[0])
        if 1 < len(conditions.names) <= min(MOST_COLUMNS, len(everyone)):
            columns = len(conditions.names)
        shown = _beside_conditions(model, conditions, stacked[0])
        if shown is None and columns == len(conditions.names) and len(everyone) % columns == 0:
            shown = _below_names(stacked[0], specs[0], conditions.names)
        save_png(shown or sheet(stacked[0], specs[0], columns), folder / "samples.png")
        if heldout is not None:
            images = first_examples(heldout, len(everyone)).image.to(torch.int64)
            save_png(sheet(images, specs[0], columns), folder / "heldout.png")
        rows = [(view[:GROWTH_ROWS], spec) for view, spec in zip(stacked, specs, strict=True) if can_be_shown(spec)]
        if len(rows) > 1:
            save_png(growth(rows[::-1]), folder / "growth.png")
        finish(
            folder,
            {
                **drawn_how(model, config, config.images, seconds, conditions),
                # `columns` describes the sheet. `bits_per_dim` lists a value for each image of the sheet, in its order.
                "columns": columns,
                "bits_per_dim": [score for *_, score in everyone],
                "kind": "exact" if model.exact else "bound",
            },
        )
    accelerator.wait_for_everyone()


def _below_names(images: Tensor, spec: ImageSpec, names: Sequence[str]) -> Image.Image:
    """A sheet with a column for each of k conditions, below its name. Image number i has the condition i mod k."""
    titles = [name if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS - 1]}…" for name in names]
    return labeled([(images[number :: len(names)], spec) for number in range(len(names))], titles)


def _beside_conditions(model: Prior, conditions: Conditions, images: Tensor) -> Image.Image | None:
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
    model: Prior, config: SamplingConfig, count: int, seconds: float, conditions: Conditions
) -> dict[str, Any]:
    """The entries of `samples.json` with the settings and the duration of drawing `count` images.

    For a model with a condition, `conditions` lists the names of the conditions that the images were given in turn.
    """
    names = {} if model.condition is None else {"conditions": list(conditions.names) or [NONE]}
    return {
        **names,
        "rule": config.rule,
        "reduction": config.reduction,
        "temperature": config.temperature,
        "min_weight": config.min_weight,
        "seed": config.seed,
        "count": count,
        "sampler": config.sampler.name,
        "arithmetic": model.arithmetic,
        "seconds": seconds,
    }


def batches(
    draw: Callable[[tuple[int, ...]], T],
    config: SamplingConfig,
    image: ImageSpec,
    folder: Path,
    accelerator: Accelerator,
) -> Iterator[tuple[tuple[int, ...], T]]:
    """Draws the images of this process, `config.batch_size` at a time, with a progress bar.

    Yields the numbers of the images of each batch and the result of `draw` for them. When the first batch is drawn,
    calls `begin`, so that earlier samples are kept if the sampler cannot draw.

    If drawing stops early, a warning says how many pictures are finished.
    """
    mine = range(config.images)[accelerator.process_index :: accelerator.num_processes]
    started = time.perf_counter()
    done = 0
    begun = False
    try:
        with progress_bar(
            total=len(mine), desc="sampling", unit="image", disable=not accelerator.is_main_process
        ) as progress:
            for start in range(0, len(mine), config.batch_size):
                indices = tuple(mine[start : start + config.batch_size])
                drawn = draw(indices)
                if not begun:
                    begin(folder, config, accelerator)
                    begun = True
                yield indices, drawn
                done += len(indices)
                pixels = done * image.height * image.width
                progress.set_postfix_str(f"{pixels / (time.perf_counter() - started):,.0f} pixel/s", refresh=False)
                progress.update(len(indices))
        if not begun:  # There are more processes than images, and all processes must call `begin`.
            begin(folder, config, accelerator)
    except BaseException:
        if begun:
            # The files are counted, because a part of the current batch may already be saved.
            finished = sum(1 for _ in (folder / "images").glob("*.png"))
            logger.warning(
                "stopped after %d of %d images; the finished ones are in %s", finished, config.images, folder / "images"
            )
        raise


def begin(folder: Path, config: SamplingConfig, accelerator: Accelerator) -> None:
    """Marks the folder and removes earlier samples. `config.images` is the number of pictures that will be drawn.

    Raises `UserError`, and changes nothing, if the folder holds other files.
    """
    if accelerator.is_main_process:
        earlier = _files(folder)
        # The mark is written first, so that pictures of a call that was stopped are always recognized.
        write_json(folder / MARK, {"rule": config.rule, "seed": config.seed, "count": config.images})
        # samples.json is removed next, because it marks the samples as complete.
        for path in sorted(earlier, key=lambda path: path.name != RECORD):
            if path != folder / MARK:
                remove(path)
    # The other processes wait, so that none writes before the earlier samples are removed.
    accelerator.wait_for_everyone()


def finish(folder: Path, record: dict[str, Any]) -> None:
    """Writes `samples.json`, which marks the samples as complete, and removes the mark of `begin`."""
    write_json(folder / RECORD, record)
    remove(folder / MARK)


def check_samples(folder: Path) -> None:
    """Raises `UserError` if `folder` exists and holds files that are not samples."""
    _files(folder)


def _files(folder: Path) -> list[Path]:
    """The files of earlier samples in `folder`. Raises `UserError` if it holds other files; lock files are ignored.

    Files with the names of samples, and temporary files of any name, count as samples only if auxar has drawn samples
    in this folder.
    """
    images = folder / "images"
    if (found := kind(images)) not in (None, FOLDER):
        raise UserError(f"{images} cannot be written: expected a folder, found a {found}")
    is_of_samples = _is_of_samples(folder)
    left = {*unfinished(folder), *unfinished(images)} if is_of_samples else {*unfinished(folder, (MARK, HOLDER))}
    samples = []
    for path in (*entries(folder), *entries(images)):
        is_picture = path.parent == images and PICTURE.fullmatch(path.name)
        is_named = is_picture or (path.parent == folder and path.name in SHEETS)
        if is_named and kind(path) == FILE:
            samples.append(path)
        # Other folders are allowed: they hold samples of other rules and seeds.
        elif path not in left and path.name not in (LOCK, HOLDER) and (is_named or not path.is_dir()):
            raise UserError(f"{path} is not a sample of an earlier call; choose an empty folder with --out")
    if samples and not is_of_samples:
        raise UserError(
            f"{samples[0]} is not a sample of an earlier call: the folder has neither a {RECORD} nor a {MARK} of "
            "auxar; choose an empty folder with --out"
        )
    return [*left, *samples]


def _is_of_samples(folder: Path) -> bool:
    """Whether auxar has drawn samples in this folder, or has begun to draw them.

    The lock of the folder says nothing about this, because other programs use files of its name, too.
    """
    return any(_is_record(folder / name) for name in (RECORD, MARK))


def _is_record(path: Path) -> bool:
    try:
        record = read_json(path)
    except UserError:
        return False
    return isinstance(record, dict) and record.keys() >= {"rule", "seed", "count"}
