"""FID and KID of a run's model: distances between drawn images and those of its data."""

from __future__ import annotations

import logging
from collections.abc import Sized
from os import PathLike

import attrs
import torch
from torch import Tensor

from auxar.arguments import as_integer, as_path, described
from auxar.commands.results import check_of
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.evaluation.distances import PUBLISHED, ImageDistances
from auxar.evaluation.inception import LEAST_OF_FID, distances, inception
from auxar.files import write_json
from auxar.generation.conditions import usual_conditions
from auxar.generation.sheets import can_be_shown, to_uint8
from auxar.image_model.loading import load
from auxar.image_model.model import ImageModel
from auxar.image_model.recipe_images import load_images
from auxar.model import ImageSpec
from auxar.report import write_report
from auxar.runs.lock import holding_for_all
from auxar.runs.models import find_run

logger = logging.getLogger("auxar")

BATCH = 64
"""Number of images of the data that are read at once."""
REFERENCES = ("heldout", "training")
"""The images of a run's data with which drawn images can be compared."""
MOST_IMAGES = 1_000_000
"""Maximum number of images that are drawn."""
IMAGES = 2048
"""Default number of images that are drawn."""
MOST_REFERENCE = 50_000
"""Maximum number of images of the data that are compared. If there are more, evenly spaced ones are taken, or the first
ones of a stream."""


def fid(
    path: str | PathLike[str],
    *,
    images: int = IMAGES,
    reference: str = "heldout",
    rule: str = "ancestral",
    seed: int = 0,
    weights: str | PathLike[str] | None = None,
    device: str = "auto",
    trust_plugins: bool = False,
) -> ImageDistances:
    """Computes FID and KID between images drawn from a run's model and images of its data, and writes `fid.json`.

    `path` is the run's folder or the name of a model. `images` is the number of images, which are drawn by `rule` with
    `seed`, and compared with all images of `reference`, "heldout" or "training", but at most 50,000. `weights` is a
    file with the weights of Inception-v3; by default, torch-fidelity downloads it. Needs `pip install 'auxar[fid]'`.

    If the model has a condition, images have all classes of a label in turn, so classes are equally frequent.
    Conditions of other kinds are those of the first held-out images.

    FID depends on the number of images, so a warning is logged if there are fewer than 2,048. KID does not.

    Raises `UserError` if torch-fidelity is missing, if the weights cannot be downloaded or do not fit, if the images
    cannot be shown as pictures, if the data have fewer than 2 images, in several processes, or as `auxar.load`.

    Examples:
        >>> import auxar
        >>> auxar.fid("runs/quickstart", images=1)
        Traceback (most recent call last):
        auxar.errors.UserError: images: expected an integer from 2 to 1,000,000, got 1 (int)
    """
    folder = as_path(path, "path")
    as_integer(images, "images", 2, MOST_IMAGES)
    if reference not in REFERENCES:
        raise UserError(f"reference: expected {' or '.join(REFERENCES)}, got {described(reference)}")
    file = None if weights is None else as_path(weights, "weights")
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("FID and KID are computed in one process; run this command without accelerate launch")
        network = inception(file)
        model = load(folder, device, trust_plugins=trust_plugins)
        if not can_be_shown(model.image):
            raise UserError(f"FID and KID need images with 1 or 3 channels; this model has {model.image}")
        real = _reference(model, reference)
        run = find_run(folder)
        with holding_for_all(run.output.path, processes, check_of(run)):
            conditions = usual_conditions(model.condition, load_images(model).heldout, images)
            drawn = model.sample(images, rule=rule, seed=seed, condition=conditions)
            fewest = min(images, len(real))
            if fewest < LEAST_OF_FID:
                logger.warning(
                    "FID of %s images is too large, and only comparable for equal numbers; KID has no bias", fewest
                )
            result = ImageDistances(
                distances(network, _pictures(drawn.tensor, model.image), real, model.device),
                images,
                rule,
                seed,
                reference,
                len(real),
                PUBLISHED if file is None else str(file),
                {name: origin.checksum for name, origin in model.origins.items()},
            )
            write_json(run.output.fid, attrs.asdict(result))
            if run.model is None:
                write_report(run.path)
    return result


def _reference(model: ImageModel, which: str) -> Tensor:
    """Images of the model's data as pictures, uint8 (n, 3, h, w). Raises `UserError` if there are fewer than 2."""
    data = load_images(model)
    images = data.heldout if which == "heldout" else data.train
    if isinstance(images, Sized):
        numbers = torch.linspace(0, len(images) - 1, min(MOST_REFERENCE, len(images))).round().long().tolist()
        found = torch.stack([images[number] for number in numbers])
    else:
        found = torch.cat(list(images.in_order(BATCH, limit=MOST_REFERENCE)))
    if len(found) < 2:
        raise UserError(f"FID and KID need at least 2 {which} images; the data have {len(found)}")
    return _pictures(found, model.image)


def _pictures(images: Tensor, spec: ImageSpec) -> Tensor:
    """Images (n, c, h, w) with c = 1 or 3 as uint8 (n, 3, h, w) with 256 levels."""
    return torch.from_numpy(to_uint8(images, spec)).permute(0, 3, 1, 2)
