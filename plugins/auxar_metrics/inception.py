"""The network Inception-v3 of torch-fidelity, whose features FID and KID compare."""

import io
import urllib.error
from os import PathLike

import torch
from torch import Tensor, nn

from auxar import UserError, progress_bar

FEATURES = 2048
"""The number of features, of the last layer before the classes. The covariance of fewer images has no inverse, and
their FID is far too large."""
BATCH = 50
"""Number of images whose features are computed at once."""


def inception(weights: str | PathLike[str] | None) -> nn.Module:
    """The network Inception-v3, which computes features of images uint8 (n, 3, h, w): (n, `FEATURES`).

    `weights` is a file with its weights; by default, torch-fidelity downloads them into the cache of PyTorch
    (`torch.hub.get_dir()`). Raises `UserError` if torch-fidelity is not installed, if the weights cannot be downloaded,
    or if the file cannot be used. A file may hold code; only tensors are read from it.
    """
    try:
        from torch_fidelity import feature_extractor_inceptionv3 as published
    except ImportError as error:
        raise UserError(
            f"FID and KID need torch-fidelity, which cannot be imported ({error}); install it with "
            "`pip install 'auxar[fid]'`"
        ) from None
    address = published.URL_INCEPTION_V3
    file = None if weights is None else _only_tensors(weights)
    try:
        network: nn.Module = published.FeatureExtractorInceptionV3(
            "inception", [str(FEATURES)], feature_extractor_weights_path=file
        )
    except urllib.error.URLError as error:
        raise UserError(
            f"the weights of Inception-v3 cannot be downloaded from {address} ({error.reason}); where this address can "
            "be reached, download the file, and name it with --weights FILE"
        ) from None
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{weights or address} does not fit Inception-v3 ({reason}); it is at {address}") from None
    return network


def _only_tensors(path: str | PathLike[str]) -> io.BytesIO:
    """A copy of a file of weights that has only tensors. torch-fidelity would run code in the file.

    Raises `UserError` if the file is missing, or has other values.
    """
    copy = io.BytesIO()
    try:
        torch.save(torch.load(path, map_location="cpu", weights_only=True), copy)  # noqa: TID251
    except FileNotFoundError:
        raise UserError(f"weights: {path} does not exist") from None
    except Exception as error:  # PyTorch raises many kinds of exceptions for files of other kinds.
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"weights: {path} is not a file of tensors of PyTorch: {reason}") from None
    copy.seek(0)
    return copy


@torch.no_grad()
def features(network: nn.Module, images: Tensor, device: torch.device) -> Tensor:
    """The features of images, uint8 (n, 3, h, w): (n, features)."""
    network.to(device)
    batches = progress_bar(images.split(BATCH), desc="features", unit="batch", delay=2)
    return torch.cat([network(batch.to(device))[0].cpu() for batch in batches])
