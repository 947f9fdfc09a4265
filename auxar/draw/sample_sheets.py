"""The sheets and arrays of drawn images, and what the record of the samples says about them."""

import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.data.sets import ImageSet
from auxar.draw.conditions import NONE
from auxar.draw.images import Draws, Images
from auxar.draw.plan import Given, Plan
from auxar.draw.sheets import SHEET_DRAWS, SHEET_ROWS, can_be_shown, labeled, save_png, sheet, sheet_columns
from auxar.errors import logger
from auxar.files import replacing
from auxar.model import IMAGE, Chain
from auxar.work.chunks import Tensors

MOST_COLUMNS = 20
"""Maximum number of conditions that have a column each on the sheet of drawn images."""
MOST_CHARACTERS = 12
"""Maximum number of characters of the title of such a column."""
GROWTH_ROWS = 4
"""The number of images in `growth.png`, which shows them from their coarsest view to the image."""


def write_sheets(
    model: Chain, plan: Plan, folder: Path, facts: Tensors, heldout: ImageSet | None = None
) -> dict[str, Any]:
    """Writes sheets and arrays when all pictures are saved, and returns entries of `samples.json`.

    `facts` are those of the first images of all, at least one, and of all images if images are given.
    """
    # For a model with a condition, the record names the conditions that the images were given in turn.
    names = {} if model.condition is None else {"conditions": list(plan.conditions.names) or [NONE]}
    if plan.given is None:
        return names | _write_whole(model, plan, folder, facts, heldout)
    return names | _write_conditional(model, plan, plan.given, folder, facts)


def _write_whole(model: Chain, plan: Plan, folder: Path, facts: Tensors, heldout: ImageSet | None) -> dict[str, Any]:
    """Writes the sheets of whole images, and returns entries of `samples.json`."""
    views = [facts[f"view{depth}" if depth else "images"] for depth in range(len(model.specs))]
    images, spec = views[0], model.image
    columns, picture = _sheet(model, plan, images)
    save_png(picture, folder / "samples.png")
    if heldout is not None:
        # Masks and attributes that samples are drawn with are those of the first held-out images.
        is_spaced = model.condition is None or model.condition.kind == "label"
        examples = (heldout.spaced_examples if is_spaced else heldout.first_examples)(len(images))
        save_png(sheet(examples[IMAGE].to(torch.int64), spec, columns), folder / "heldout.png")
    rows = [("", view[:GROWTH_ROWS], own) for view, own in zip(views, model.specs, strict=True) if can_be_shown(own)]
    if len(rows) > 1:
        save_png(labeled(rows[::-1]), folder / "growth.png")
    nats = torch.stack([facts[f"nats_{factor.name}"] for factor in model.factors]).sum(0)
    # `columns` describes the sheet. `bits_per_dim` lists a value for each image of the sheet, in its order: the joint
    # bits/dim of the image and the views that it was drawn from, which may differ from the views of the image.
    bits = (nats / (-math.log(2) * spec.dims)).tolist()
    return {"columns": columns, "bits_per_dim": bits, "kind": "exact" if model.exact else "bound"}


def _sheet(model: Chain, plan: Plan, images: Tensor) -> tuple[int, Image.Image]:
    """The number of columns and the sheet of whole images. Image number i of k conditions has condition i mod k."""
    names, columns = plan.conditions.names, sheet_columns(len(images), model.image)
    count = len(names)
    if 1 < count <= min(MOST_COLUMNS, len(images)):
        columns = count
    if (condition := plan.shown_conditions(model.condition, min(count, len(images), SHEET_ROWS))) is not None:
        draws = min(max(1, len(images) // count), SHEET_DRAWS)
        rows = torch.stack([images[row : row + count * draws : count] for row in range(len(condition))])
        return columns, Draws(rows, model.image, condition=condition).sheet()
    if columns == count:
        titles = [name if len(name) <= MOST_CHARACTERS else f"{name[: MOST_CHARACTERS - 1]}…" for name in names]
        return columns, labeled([(title, images[at::count], model.image) for at, title in enumerate(titles)])
    return columns, sheet(images, model.image, columns)


def _write_conditional(model: Chain, plan: Plan, given: Given, folder: Path, facts: Tensors) -> dict[str, Any]:
    """Writes the sheet and the arrays of draws from given images, and returns entries of `samples.json`."""
    arrays = {
        key: values.reshape(len(given), plan.draws, *values.shape[1:])
        for key, values in facts.items()
        if key != "numbers"
    }
    view = None if given.view is None else Images(given.view[:, None], model.specs[given.depth])
    known = None if given.known is None else given.known.mask.cpu()
    condition = plan.shown_conditions(model.condition, len(given))
    draws = Draws(arrays["images"], model.image, view, given.image, known, condition)
    save_png(draws[:SHEET_ROWS].sheet(), folder / "samples.png")
    inputs = {"given": None if given.image is None else given.image.tensor, "view": given.view, "known": known}
    written = {key: value.cpu().numpy() for key, value in (inputs | arrays).items() if value is not None}
    with replacing(folder / "draws.npz") as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, **written)  # type: ignore[arg-type]
    agreement = float(arrays["view_agreement"].mean()) if "view_agreement" in arrays else None
    if agreement is not None:
        whose = "the views that they were drawn from" if given.view is None else "the given views"
        logger.info("the views of the drawn images equal %s at %.2f %% of the pixels", whose, 100 * agreement)
    return {
        "given": list(given.names),
        "drawn_from": f"depth {given.depth}" if given.known is None else "known pixels",
        "draws_each": plan.draws,
        "view_agreement": agreement,
    }
