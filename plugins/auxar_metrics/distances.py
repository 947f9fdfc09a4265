"""FID and KID of images that a model draws, and images of its data."""

import logging
from os import PathLike
from pathlib import Path

import attrs
import torch
from torch import Tensor, nn

from auxar import ImageModel, ImageSpec, UserError, load_images
from auxar.numerics.levels import to_pixels
from auxar_metrics.inception import FEATURES, features

logger = logging.getLogger("auxar")

PUBLISHED = "published"
"""Name, in results, of the weights of Inception-v3 that torch-fidelity downloads."""
MOST_REFERENCE = 50_000
"""Maximum number of images of the data. If there are more, evenly spaced ones are taken, or the first ones of a
stream."""
SUBSETS, SUBSET = 100, 1000
"""Number and maximum size of the subsets of images of which KID is the mean."""


@attrs.frozen
class Distances:
    """The result of `auxar.fid`, which `fid.json` in the run's folder holds."""

    fid: float
    """Fréchet inception distance (Heusel et al. 2017). It is larger for fewer images."""
    kid: float
    """Kernel inception distance (Bińkowski et al. 2018), the mean over random subsets of images. Its expectation does
    not depend on the number of images."""
    kid_deviation: float
    """Standard deviation of KID over the subsets."""
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

    def __str__(self) -> str:
        """The distances, and the images that were compared, in a sentence."""
        compared = f"{self.images:,} images drawn by the rule {self.rule}, and {self.reference_images:,}"
        weights = "" if self.network == PUBLISHED else f"; weights of Inception-v3 from {self.network}"
        kid = f"KID {self.kid:.4f} ± {self.kid_deviation:.4f}"
        return f"FID {self.fid:.2f}, {kid}: {compared} {self.reference} images{weights}"


def measured(
    model: ImageModel,
    network: nn.Module,
    images: int,
    rule: str,
    seed: int,
    reference: str,
    weights: str | PathLike[str] | None,
) -> Distances:
    """Draws images and compares them with images of the model's data, by the features that `network` computes.

    Raises `UserError` if images of the model cannot be shown, or if there are fewer than 2 images of the data.
    """
    if model.image.channels not in (1, 3):
        raise UserError(f"FID and KID need images with 1 or 3 channels; this model has {model.image}")
    data = load_images(model)
    real = (data.train if reference == "training" else data.heldout).spaced_examples(MOST_REFERENCE)["image"]
    if len(real) < 2:
        raise UserError(f"FID and KID need at least 2 {reference} images; the data have {len(real)}")
    # Without conditions, all classes of a label are drawn in turn; other conditions are those of held-out images.
    is_given = model.condition is not None and model.condition.usual is None and model.condition.kind != "label"
    condition = data.heldout.first_examples(images).get("condition") if is_given else None
    if (fewest := min(images, len(real))) < FEATURES:
        logger.warning("FID of %s images is too large, and only comparable for equal numbers; KID has no bias", fewest)
    drawn = model.sample(images, rule=rule, seed=seed, condition=condition).tensor
    pairs = (features(network, pictures(each, model.image), model.device) for each in (drawn, real))
    return Distances(
        *distances(*pairs),
        images,
        rule,
        seed,
        reference,
        len(real),
        PUBLISHED if weights is None else str(Path(weights)),
        {name: origin.checksum for name, origin in model.origins.items()},
    )


def pictures(images: Tensor, spec: ImageSpec) -> Tensor:
    """Images (n, c, h, w) with c = 1 or 3 as uint8 (n, 3, h, w), where the largest level becomes 255."""
    return torch.from_numpy(to_pixels(images.numpy(), spec.levels)).expand(-1, 3, -1, -1)


def distances(drawn: Tensor, real: Tensor) -> tuple[float, float, float]:
    """FID, KID and its deviation of features (n, features) of two sets of images. Each call has the same subsets."""
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    statistics = [fid_features_to_statistics(each) for each in (drawn, real)]
    fid = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    size = min(SUBSET, len(drawn), len(real))
    kid = kid_features_to_metric(drawn, real, kid_subsets=SUBSETS, kid_subset_size=size, verbose=False)
    return fid, kid["kernel_inception_distance_mean"], kid["kernel_inception_distance_std"]


def result_file(model: ImageModel) -> Path:
    """The file of the result for a run's model. Raises `UserError` if there is another file in its place."""
    assert model.run is not None
    file = model.run.output.path / "fid.json"
    if file.is_file() and "kid_deviation" not in file.read_text(encoding="utf-8", errors="replace"):
        raise UserError(f"{file} is not a result of auxar fid and is not replaced; work in another folder")
    return file
