"""Distances between sets of images by features of Inception-v3: FID and KID, computed by torch-fidelity."""

from __future__ import annotations

import contextlib
import pickle
import tempfile
import urllib.error
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn

from auxar.errors import UserError, one_line
from auxar.evaluation.distances import Distances
from auxar.files import is_file, nearest_path
from auxar.progress import progress_bar

LEAST_OF_FID = 2048
"""The number of features. The covariance of fewer images has no inverse, and their FID is far too large."""
FEATURES = "2048"
"""The name of the features: those of the last layer before the classes."""
BATCH = 50
"""Number of images whose features are computed at once."""
SUBSETS, SUBSET = 100, 1000
"""Number and maximum size of the subsets of images of which KID is the mean."""


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
    try:
        with contextlib.ExitStack() as held:
            path = None if weights is None else held.enter_context(_only_tensors(weights, address))
            network: nn.Module = published.FeatureExtractorInceptionV3(
                "inception", [FEATURES], feature_extractor_weights_path=path
            )
    except urllib.error.URLError as error:
        raise UserError(
            f"the weights of Inception-v3 cannot be downloaded from {address} ({error.reason}); where this address can "
            "be reached, download the file, and name it with --weights FILE"
        ) from None
    except RuntimeError as error:
        raise UserError(f"{weights or address} does not fit Inception-v3: {one_line(str(error), 200)}") from None
    network.eval()
    with torch.no_grad():
        if not network(torch.zeros((1, 3, 32, 32), dtype=torch.uint8))[0].isfinite().all():
            raise UserError(f"{weights or address} gives features that are not finite, so the weights are wrong")
    return network


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


@contextlib.contextmanager
def _only_tensors(path: Path, address: str) -> Iterator[str]:
    """Yields the path of a copy of a file of weights that has only its tensors. torch-fidelity would run code in it.

    Raises `UserError` if the file is missing, or has other values or other tensors. `address` is that of the weights.
    """
    if not is_file(path):
        raise UserError(f"{path} does not exist{nearest_path(path)}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, OSError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path} is not a file of tensors of PyTorch: {one_line(str(error), 200)}") from None
    if not isinstance(found, dict) or "Conv2d_1a_3x3.conv.weight" not in found:
        raise UserError(f"{path} does not have the weights of Inception-v3, which are at {address}")
    with tempfile.NamedTemporaryFile(suffix=".pth") as file:
        torch.save(found, file.name)
        yield file.name
