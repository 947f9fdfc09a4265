"""The command `fid`: distances between images drawn from a run's model and those of its data."""

from __future__ import annotations

import logging
from os import PathLike
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import UserError

if TYPE_CHECKING:
    from auxar.evaluation.distances import ImageDistances

logger = logging.getLogger("auxar")

REFERENCES = ("heldout", "training")
"""The images of a run's data with which drawn images can be compared."""
MOST_IMAGES = 1_000_000
"""Maximum number of images that are drawn."""


def _shown(found: ImageDistances) -> Result:
    import attrs

    from auxar.report import words

    return Result([words.fid(found)], attrs.asdict(found))


@command("Measure", show=_shown)
def fid(
    run: str | PathLike[str],
    *,
    images: int = 2048,
    reference: str = "heldout",
    rule: str = "ancestral",
    seed: int = 0,
    weights: str | PathLike[str] | None = None,
    device: str = "auto",
    trust_plugins: bool = False,
) -> ImageDistances:
    """Computes FID and KID between images drawn from a run's model and images of its data.

    The result is written to fid.json, and shown in the report. Drawn images are compared with all images of a set, but
    at most 50,000. If the model has a condition, images have all classes of a label in turn, so classes are equally
    frequent. Conditions of other kinds are those of the first held-out images. FID depends on the number of images, so
    a warning is logged if there are fewer than 2,048. KID does not. This needs `pip install 'auxar[fid]'`.

    Args:
        images: number of drawn images
        reference (--reference SET): heldout or training: the images that drawn images are compared with
        rule (--rule RULE): rule by which values are drawn, NAME or NAME:OPTION=VALUE,…, as for `auxar sample`
        seed (--seed S): seed of the noise
        weights (--weights FILE): a file with the published weights of Inception-v3 (default: torch-fidelity downloads
            it)

    Raises:
        UserError: torch-fidelity is missing, the weights cannot be downloaded or do not fit, the images cannot be shown
            as pictures, the data have fewer than 2 images, or there are several processes; also as `auxar.load`

    Examples:
        >>> import auxar
        >>> auxar.fid("runs/quickstart", images=1)
        Traceback (most recent call last):
        auxar.errors.UserError: images: expected an integer from 2 to 1,000,000, got 1 (int)
    """
    import attrs

    from auxar.arguments import as_integer, as_path, described
    from auxar.commands.results import check_of
    from auxar.distributed.joining import working_together
    from auxar.draw.conditions import usual_conditions
    from auxar.draw.loading import load
    from auxar.draw.recipe_images import load_images
    from auxar.draw.reference import as_pictures, reference_pictures
    from auxar.evaluation.distances import PUBLISHED, ImageDistances
    from auxar.evaluation.inception import LEAST_OF_FID, distances, inception
    from auxar.files import write_json
    from auxar.report import write_report
    from auxar.runs.lock import holding_for_all
    from auxar.runs.models import find_run

    path = as_path(run, "run")
    as_integer(images, "images", 2, MOST_IMAGES)
    if reference not in REFERENCES:
        raise UserError(f"reference: expected {' or '.join(REFERENCES)}, got {described(reference)}")
    file = None if weights is None else as_path(weights, "weights")
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("FID and KID are computed in one process; run this command without accelerate launch")
        model = load(path, device, trust_plugins=trust_plugins)
        network = inception(file)
        real = reference_pictures(model, reference)
        folder = find_run(path)
        with holding_for_all(folder.output.path, processes, check_of(folder)):
            conditions = usual_conditions(model.condition, load_images(model).heldout, images)
            drawn = model.sample(images, rule=rule, seed=seed, condition=conditions)
            fewest = min(images, len(real))
            if fewest < LEAST_OF_FID:
                logger.warning(
                    "FID of %s images is too large, and only comparable for equal numbers; KID has no bias", fewest
                )
            found = ImageDistances(
                distances(network, as_pictures(drawn.tensor, model.image), real, model.device),
                images,
                rule,
                seed,
                reference,
                len(real),
                PUBLISHED if file is None else str(file),
                {name: origin.checksum for name, origin in model.origins.items()},
            )
            write_json(folder.output.fid, attrs.asdict(found))
            if folder.model is None:
                write_report(folder.path)
    return found
