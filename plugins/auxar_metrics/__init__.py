"""The command `fid`: distances between images drawn from a run's model and images of its data."""

from __future__ import annotations

from os import PathLike
from typing import TYPE_CHECKING

from auxar import Result, UserError, command

if TYPE_CHECKING:
    from auxar_metrics.distances import Distances

REFERENCES = ("heldout", "training")
"""The images of a run's data with which drawn images can be compared."""


def _shown(found: Distances) -> Result:
    import attrs

    return Result([str(found)], attrs.asdict(found))


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
) -> Distances:
    """Computes FID and KID between drawn images and the data.

    The result is written to fid.json in the run's folder or, for a model that comes trained, in the folder ./NAME.
    Drawn images are compared with all images of a set, but at most 50,000. If the model has a condition, images have
    all classes of a label in turn, so classes are equally frequent. Conditions of other kinds are those of the first
    held-out images. FID depends on the number of images, so a warning is logged if there are fewer than 2,048. KID does
    not. This needs `pip install 'auxar[fid]'`.

    Args:
        images: number of drawn images
        reference (--reference SET): heldout or training: the images that drawn images are compared with
        weights (--weights FILE): a file with the published weights of Inception-v3 (default: torch-fidelity downloads
            it)

    Raises:
        UserError: torch-fidelity is missing, the weights cannot be downloaded or do not fit, the images cannot be shown
            as pictures, the data have fewer than 2 images, or fid.json is not a result of this command; also as
            `auxar.load`

    Examples:
        >>> import auxar
        >>> auxar.fid("runs/quickstart", images=1)
        Traceback (most recent call last):
        auxar.errors.UserError: images: expected an integer of at least 2, got 1
    """
    if not isinstance(images, int) or images < 2:
        raise UserError(f"images: expected an integer of at least 2, got {images!r}")
    if reference not in REFERENCES:
        raise UserError(f"reference: expected {' or '.join(REFERENCES)}, got {reference!r}")
    import json

    import attrs

    from auxar import load, replacing
    from auxar_metrics.distances import measured, result_file
    from auxar_metrics.inception import inception

    model = load(run, device, trust_plugins=trust_plugins)
    file = result_file(model)
    network = inception(weights)
    with replacing(file) as temporary:  # A folder that cannot be written is noticed before images are drawn.
        found = measured(model, network, images, rule, seed, reference, weights)
        temporary.write_text(json.dumps(attrs.asdict(found), indent=2) + "\n", encoding="utf-8")
    return found
