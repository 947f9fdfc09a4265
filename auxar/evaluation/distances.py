"""Records of FID and KID: distances between drawn images and images of the data."""

from __future__ import annotations

import logging

import attrs

from auxar.files import DamagedFile, entries, is_file, read_checksum
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record

logger = logging.getLogger("auxar")

PUBLISHED = "published"
"""Name, in records, of the weights of Inception-v3 that torch-fidelity downloads."""


@attrs.frozen
class Distances:
    """Distances between two sets of images."""

    fid: float
    """Fréchet inception distance (Heusel et al. 2017). It is larger for fewer images."""
    kid: float
    """Kernel inception distance (Bińkowski et al. 2018), the mean over random subsets of images. Its expectation does
    not depend on the number of images."""
    kid_deviation: float
    """Standard deviation of KID over the subsets."""


@attrs.frozen
class ImageDistances:
    """The result of `auxar.fid`, which `fid.json` in the run's folder holds."""

    distances: Distances
    """FID and KID."""
    images: int
    """Number of drawn images."""
    rule: str
    """The rule by which they were drawn."""
    seed: int
    """The seed of the drawn images."""
    reference: str
    """The images of the run's data with which they were compared, "heldout" or "training"."""
    reference_images: int
    """Number of these images."""
    network: str
    """The file with the weights of Inception-v3, or `PUBLISHED`."""
    weights: dict[str, str]
    """Checksum of the weights of each factor."""


def current_distances(run: RunFolder) -> ImageDistances | None:
    """The content of a run's fid.json. None if there is none, or if the weights of a factor have changed since.

    A damaged file counts as missing and causes a warning.
    """
    if not is_file(run.fid):
        return None
    try:
        found = read_record(run.fid, ImageDistances)
    except DamagedFile as error:
        logger.warning("%s; it is left out", error)
        return None
    # Names in the record are not trusted, so weights are read only from the run's own folders.
    present = [folder.name for folder in entries(run.path, "factors/*")]
    weights = {name: read_checksum(run.weights(name)) for name in present if is_file(run.weights(name))}
    return found if weights == found.weights else None
