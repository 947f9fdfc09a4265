"""Hashes of the pixels of images, which tell whether two evaluations were of the same images."""

from __future__ import annotations

import hashlib

import numpy as np
import torch
from torch import Tensor


def pixel_hashes(images: Tensor) -> Tensor:
    """The SHA-256 of each image's pixels: uint8, (b, 32). `images` are uint8, (b, c, h, w)."""
    hashes = b"".join(hashlib.sha256(image.tobytes()).digest() for image in images.numpy())
    return torch.from_numpy(np.frombuffer(hashes, dtype=np.uint8).reshape(len(images), -1).copy())


def digest_of(hashes: Tensor) -> str:
    """The SHA-256, in hexadecimal digits, of the `pixel_hashes` of images in the order of their numbers.

    It depends on the pixels and the order of the images, and not on batches, the number of processes or the source.
    """
    return hashlib.sha256(hashes.numpy().tobytes()).hexdigest()
