"""Distances between sets of images by features of Inception-v3: FID and KID, computed by torch-fidelity."""

from __future__ import annotations

import pickle
import urllib.error
from pathlib import Path

import attrs
import torch
from torch import Tensor, nn

from auxar.errors import UserError, one_line
from auxar.files import entries, is_file, nearest_path, read_checksum
from auxar.progress import progress_bar
from auxar.runs.layout import RunFolder
from auxar.runs.records import read_record

PUBLISHED = "published"
"""The name of these weights in records."""
LEAST_OF_FID = 2048
"""The number of features. The covariance of fewer images has no inverse, and their FID is far too large."""
FEATURES = "2048"
"""The name of the features: those of the last layer before the classes."""
BATCH = 50
"""Number of images whose features are computed at once."""
SUBSETS, SUBSET = 100, 1000
"""Number and maximum size of the subsets of images of which KID is the mean."""


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
    features: str
    """The origin of the weights of Inception-v3: a file's path, or `PUBLISHED`."""
    weights: dict[str, str | None]
    """Checksum of the weights of each factor."""


def current_distances(run: RunFolder) -> ImageDistances | None:
    """The content of a run's fid.json. None if there is none, or if the weights of a factor have changed since.

    Raises `UserError` if the file is damaged.
    """
    if not is_file(run.fid):
        return None
    found = read_record(run.fid, ImageDistances)
    # Names in the record are not trusted, so weights are read only from the run's own folders.
    present = [folder.name for folder in entries(run.path, "factors/*")]
    weights = {name: read_checksum(run.weights(name)) for name in present if is_file(run.weights(name))}
    return found if weights == found.weights else None


def inception(weights: Path | None) -> nn.Module:
    """The network Inception-v3, in evaluation mode, which computes features of images uint8 (n, 3, h, w): (n, 2048).

    `weights` is a file with its weights; by default, torch-fidelity downloads them into the cache of PyTorch
    (`torch.hub.get_dir()`). Raises `UserError` if torch-fidelity is not installed, if the weights cannot be downloaded,
    or if the file cannot be used. A file may hold code; only tensors are read from it.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as published
    except ImportError as error:
        raise UserError(
            f"FID and KID need torch-fidelity, which cannot be imported ({one_line(str(error))}); install it with "
            "`pip install 'auxar[fid]'`"
        ) from None
    address = str(published.URL_INCEPTION_V3)
    if weights is not None:
        _check_weights(weights, address)
    path = None if weights is None else str(weights)
    try:
        network: nn.Module = published.FeatureExtractorInceptionV3(
            "inception", [FEATURES], feature_extractor_weights_path=path
        )
    except urllib.error.URLError as error:
        raise UserError(
            f"the weights of Inception-v3 cannot be downloaded from {address} ({error.reason}); where this address can "
            "be reached, download the file, and name it with --fid-weights FILE"
        ) from None
    except RuntimeError as error:
        raise UserError(f"{weights or address} does not fit Inception-v3: {one_line(str(error), 200)}") from None
    return network.eval()


def distances(network: nn.Module, drawn: Tensor, reference: Tensor, device: torch.device) -> Distances:
    """The distances between two sets of at least 2 images each, uint8 (n, 3, h, w). Subsets are the same in each call.

    `network` computes the features, as `inception` does.
    """
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric

    own, other = _features(network, drawn, device), _features(network, reference, device)
    statistics = [fid_features_to_statistics(features) for features in (own, other)]
    fid = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    size = min(SUBSET, len(own), len(other))
    kid = kid_features_to_metric(own, other, kid_subsets=SUBSETS, kid_subset_size=size, verbose=False)
    return Distances(fid, kid["kernel_inception_distance_mean"], kid["kernel_inception_distance_std"])


@torch.no_grad()
def _features(network: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """The features of images, uint8 (n, 3, h, w): float32, (n, features)."""
    network.to(device)
    found = []
    with progress_bar(total=len(images), desc="features", unit="image") as bar:
        for batch in images.split(BATCH):
            found.append(network(batch.to(device))[0].cpu())
            bar.update(len(batch))
    return torch.cat(found)


def _check_weights(path: Path, address: str) -> None:
    if not is_file(path):
        raise UserError(f"{path} does not exist{nearest_path(path)}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is not a file of tensors of PyTorch: {one_line(str(error), 200)}") from None
    if not isinstance(found, dict) or "Conv2d_1a_3x3.conv.weight" not in found:
        raise UserError(f"{path} does not have the weights of Inception-v3, which are at {address}")
