"""Writes the drawn images of a plan: single pictures, sheets, arrays of conditional draws, and `samples.json`."""

from __future__ import annotations

import hashlib
import logging
import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.data import ImageSet
from auxar.data.pixels import pixels
from auxar.draw.conditions import NONE, first_examples
from auxar.draw.drawing import Drawn, batches
from auxar.draw.plan import Given, Plan
from auxar.draw.sample_folder import KEY, PICTURE, RECORD, begin, finish, key_of
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
from auxar.files import entries, is_file, read_bytes, remove, replacing, unfinished
from auxar.model import Chain, ImageSpec
from auxar.plugins import Registry
from auxar.recipe import Recipe, SamplingConfig
from auxar.recipe.schema import MOST_SAMPLES
from auxar.runs.layout import RunFolder
from auxar.runs.opening import run_facts
from auxar.work.chunks import Tensors, Work

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
CHUNK = 64
"""Number of images in a chunk, as far as there are no more than `MOST_CHUNKS` chunks."""
MOST_CHUNKS = 256
"""Maximum number of chunks."""
DIGESTS, SECONDS = "digests", "seconds"
"""Names in the result of a chunk: the SHA-256 of each picture, uint8 (images, 32), and the time of drawing, (1,)."""
SHEET_IMAGES = 256
"""Maximum number of images on the sheet. Every image is also saved as a single picture."""
GROWTH_ROWS = 4
"""The number of images in `growth.png`, which shows them from their coarsest view to the image."""


class Samples(Work):
    """The work of drawing the images of a plan: single pictures, sheets and `samples.json` in a folder.

    With `heldout`, a second sheet of the same layout shows as many held-out images, or all if there are fewer. A model
    with a condition draws images with the plan's conditions in turn; a column of the sheet shows those with the same
    condition. If conditions are masks or images, a row shows one of them beside its draws. Draws from given images are
    also written as arrays, to `draws.npz`, and a sheet has a row for each given image.

    `facts` are further values by name that decide which images are drawn, and `config` names the rule in the record.
    Pictures are saved after each batch, so that an early stop keeps those of finished batches; sheets and
    `samples.json` are written at the end. When the first batch is drawn, other samples in the folder are removed if
    `replace`.
    """

    def __init__(
        self,
        model: Chain,
        plan: Plan,
        config: SamplingConfig,
        folder: Path,
        facts: Mapping[str, Any],
        *,
        heldout: ImageSet | None = None,
        replace: bool = False,
    ) -> None:
        self.parts = chunks_of(len(plan.numbers))
        options = {"rule": config.rule.table, "seed": plan.seed, "count": len(plan.numbers), "draws": plan.draws}
        given = {"conditions": plan.conditions.digest, "given": None if plan.given is None else plan.given.digest}
        super().__init__(folder, {**facts, **options, **given}, len(self.parts))
        self.model, self.plan, self.config, self.heldout, self.replace = model, plan, config, heldout, replace
        self.begun = False

    def draw(self, *, progress: bool = True) -> None:
        """Draws the images, together with all processes that draw the same images into the same folder.

        Nothing is drawn if the folder has them already. Raises `UserError` as `check_samples` does.
        """
        try:
            self.do("sampling" if progress else None)
        except BaseException:
            if self.begun:
                self._warn_of_stop()
            raise

    def is_concluded(self) -> bool:
        """Whether the folder has the record of these images."""
        return key_of(self.output / RECORD) == self.key

    @torch.no_grad()
    def compute(self, number: int) -> Tensors:
        """Draws the images of a chunk, and saves each as a picture.

        Returns the digests of the pictures, the seconds, and the facts of the images that the sheets show.
        """
        started, found = time.perf_counter(), list[Facts]()
        for batch in batches(self.model, self.plan, self.parts[number], progress=self.count == 1, delay=0):
            if not self.begun:  # Earlier samples are kept if the sampler cannot draw.
                mark = {"rule": self.config.rule.table, "seed": self.plan.seed, "count": len(self.plan.numbers)}
                begin(self.output, {**mark, KEY: self.key}, self.replace)
                self.begun = True
            pictures = pixels(batch.views[0], self.model.image, self.model.picture_values)
            for own, picture in zip(batch.numbers, pictures, strict=True):
                save_png(Image.fromarray(picture), picture_path(self.output, self.plan, own))
            if facts := _facts(self.model, self.plan, batch):
                found.append(facts)
        result = {key: torch.from_numpy(np.concatenate([own[key] for own in found])) for key in (*found[:1], {})[0]}
        digests = [digest_of(picture_path(self.output, self.plan, own)) for own in self.parts[number]]
        result[DIGESTS] = torch.tensor(digests).to(torch.uint8)
        return {**result, SECONDS: torch.tensor([time.perf_counter() - started], dtype=torch.float64)}

    def check(self, number: int, found: Tensors) -> None:
        """Raises `UserError` unless the pictures of a chunk are there as they were drawn."""
        for own, digest in zip(self.parts[number], found[DIGESTS].tolist(), strict=True):
            path = picture_path(self.output, self.plan, own)
            if not is_file(path) or digest_of(path) != digest:
                raise UserError(f"{path} is missing, damaged, or another picture than the one that was drawn")

    def conclude(self, found: list[Tensors]) -> None:
        """Writes sheets, arrays and the record."""
        shown = [own for own in found if "numbers" in own]
        names = shown[0].keys() - {DIGESTS, SECONDS}
        facts = {name: torch.cat([own[name] for own in shown]).numpy() for name in names}
        seconds = float(torch.cat([own[SECONDS] for own in found]).sum())
        if self.count > 1:  # No process writes pictures any more, so the files are of processes that were killed.
            for left in (*unfinished(self.output), *unfinished(self.output / "images")):
                remove(left)
        write_sheets(self.model, self.plan, self.config, self.output, facts, seconds, self.key, self.heldout)

    def _warn_of_stop(self) -> None:
        # The files are counted, because a part of the current batch may already be saved.
        names = {path.name for path in entries(self.output / "images") if PICTURE.fullmatch(path.name)}
        numbers = self.plan.numbers
        finished = sum(picture_path(self.output, self.plan, number).name in names for number in numbers)
        logger.warning(
            "stopped after %d of %d images; the finished ones are in %s", finished, len(numbers), self.output / "images"
        )


OTHER_FACTS = ("the run", "data.", "evaluation.", "sampling.", "training.")
"""Beginnings of the names of facts about a run that do not decide which images its model draws."""


def facts_of_model(run: RunFolder, recipe: Recipe, registry: Registry, model: Chain) -> dict[str, Any]:
    """The facts about a run's model that decide which images it draws: its weights, networks, plugins and integers."""
    facts = {**run_facts(run, recipe, registry), "arithmetic": model.arithmetic, "digests": model.digests}
    return {name: value for name, value in facts.items() if not name.startswith(OTHER_FACTS)}


def chunks_of(count: int) -> list[range]:
    """The numbers of the images of each chunk of `count` images."""
    size = CHUNK * math.ceil(count / (CHUNK * MOST_CHUNKS))
    return [range(first, min(first + size, count)) for first in range(0, count, size)]


def digest_of(path: Path) -> list[int]:
    """The SHA-256 of a file, as 32 numbers 0 … 255."""
    return list(hashlib.sha256(read_bytes(path)).digest())


def check_count(given: int, draws: int) -> None:
    """Raises `UserError` if `draws` images for each of `given` images are more than `MOST_SAMPLES`."""
    if draws * given > MOST_SAMPLES:
        raise UserError(
            f"sampling.images (-n) is {draws:,}: expected at most {MOST_SAMPLES // given:,} draws for each of {given} "
            "images"
        )


def picture_path(folder: Path, plan: Plan, number: int) -> Path:
    """The file of the picture of an image. `000002-001.png` is draw 1 of given image 2, both counted from 0."""
    if plan.given is None:
        return folder / "images" / f"{number:06d}.png"
    return folder / "images" / f"{number // plan.draws:06d}-{number % plan.draws:03d}.png"


def _facts(model: Chain, plan: Plan, batch: Drawn) -> Facts:
    """The facts of those images of a batch that the sheets show, which are all if images are given."""
    from_view = plan.given is not None and plan.given.view is not None
    views = batch.views[:-1] if from_view else batch.views
    count = len(batch.numbers) if plan.given else sum(number < SHEET_IMAGES for number in batch.numbers)
    if not count:
        return {}
    rows = [view[:count] for view in batch.views]
    condition = None if batch.condition is None else batch.condition[:count]
    facts = {"images" if depth == 0 else f"view{depth}": view for depth, view in enumerate(rows[: len(views)])}
    for factor in model.factors[: len(views)]:
        facts[f"nats_{factor.name}"] = factor(*factor.inputs(rows, condition)).double()
    if plan.given is not None and plan.given.depth < len(rows):
        own = model.views(rows[0], plan.given.depth)[plan.given.depth]
        facts["view_agreement"] = (own == rows[plan.given.depth]).all(1).double().flatten(1).mean(1)
    facts["numbers"] = torch.tensor(batch.numbers[:count])
    return {key: value.cpu().numpy() for key, value in facts.items()}


def write_sheets(
    model: Chain,
    plan: Plan,
    config: SamplingConfig,
    folder: Path,
    facts: Facts,
    seconds: float,
    key: str,
    heldout: ImageSet | None = None,
) -> None:
    """Writes sheets, arrays and `samples.json`, when all pictures are saved.

    `facts` are those of the first images of all, at least one, and of all images if images are given. `seconds` is the
    time that drawing all images took, in all processes together, and `key` is the key of the work.
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
        KEY: key,
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
