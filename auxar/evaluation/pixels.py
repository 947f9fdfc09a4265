"""A digest of the pixels of images, which tells whether two evaluations were of the same images."""

from __future__ import annotations

import hashlib

import torch
from accelerate import Accelerator
from torch import Tensor


class PixelDigest:
    """Computes a digest of the images that all processes of an evaluation have read together.

    It depends on the pixels and the order of the images, and not on batches, the number of processes or the source.
    """

    def __init__(self) -> None:
        self._hashes: dict[int, bytes] = {}

    def add(self, numbers: Tensor, images: Tensor) -> None:
        """Adds images, uint8 (b, c, h, w), with their numbers, int64 (b,). Each number is added in one process."""
        for number, image in zip(numbers.tolist(), images.numpy(), strict=True):
            self._hashes[number] = hashlib.sha256(image.tobytes()).digest()

    def joined(self, accelerator: Accelerator) -> str:
        """Returns the SHA-256 of the images of all processes, in the order of their numbers, which are 0, 1, …"""
        count = int(accelerator.reduce(torch.tensor(len(self._hashes), device=accelerator.device), reduction="sum"))
        every = torch.zeros((count, hashlib.sha256().digest_size), dtype=torch.uint8)
        for number, value in self._hashes.items():
            every[number] = torch.frombuffer(bytearray(value), dtype=torch.uint8)
        # Each row is filled by one process and is zero in all others.
        every = accelerator.reduce(every.to(accelerator.device), reduction="sum").cpu()
        return hashlib.sha256(every.numpy().tobytes()).hexdigest()
