"""Batches of images for training and evaluation.

The seed, the step and the batch size determine which images of the set a training batch contains.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import attrs
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from auxar.data.randomness import uniform
from auxar.distributed.signals import SIGNALS
from auxar.errors import UserError


class Readable(Protocol):
    """The part of an `ImageSet` that batches are read from."""

    @property
    def most_workers(self) -> int | None:
        """Maximum number of worker processes that can read the set at the same time; None if there is no limit."""

    def training_images(self, seed: int, shares: Iterable[range]) -> Iterator[Tensor]:
        """Yields the images at ranges of positions in the endless training sequence."""

    def every(self, count: int, first: int, limit: int | None, block: int = 1) -> Iterator[tuple[int, Tensor]]:
        """Yields the numbers and the images of a part of the set."""


def training_batches(
    images: Readable,
    *,
    batch_size: int,
    steps: int,
    start: int = 0,
    seed: int,
    flip: bool,
    rank: int = 0,
    processes: int = 1,
    workers: int = 0,
) -> Iterator[Tensor]:
    """Yields this process's share of each batch for steps start … steps - 1: uint8, (batch_size / processes, c, h, w).

    Batch k holds the images at positions k·batch_size … (k + 1)·batch_size - 1 of an endless sequence. The sequence
    contains every image once in each epoch, in an order determined by (seed, epoch). A batch may contain the end of one
    epoch and the start of the next. With `flip`, an image is mirrored left to right with probability ½, determined by
    `seed` and its position in the sequence. The batches are therefore the same for every `start` and `workers`, and
    the shares of all ranks together equal the batch of a single process.

    `workers` is the number of processes that read batches in advance, limited to `images.most_workers`. If it is 0,
    this process reads each batch when it is needed.

    Raises `UserError` if `batch_size` is not divisible by `processes` or if an image cannot be read.
    """
    if batch_size % processes:
        raise UserError(
            f"training.batch_size: {batch_size} is not divisible by the number of processes, {processes}; "
            f"use {max(1, batch_size // processes) * processes} or {(batch_size // processes + 1) * processes}"
        )
    shares = _Shares(images, batch_size, steps, start, seed, flip, rank, batch_size // processes)
    if not workers:
        return iter(shares)
    most = images.most_workers
    workers = workers if most is None else min(workers, most)
    # The loader gets its own generator, so that it does not draw from PyTorch's global generator.
    loader = DataLoader(
        shares, batch_size=None, num_workers=workers, worker_init_fn=_leave_signals, generator=torch.Generator()
    )
    return _raise_errors(loader)


def _leave_signals(worker: int) -> None:
    """Makes a worker ignore termination signals.

    Terminals and schedulers send them to all processes, but the training process has to end its workers itself.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def evaluation_batches(
    images: Readable, *, batch_size: int, limit: int | None = None, rank: int = 0, processes: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yields this process's batches of the first `limit` images (all if it is None).

    A batch consists of the numbers of its images, int64 (b,), and the images, uint8 (b, c, h, w). Each image is in
    exactly one batch of one process; b is `batch_size` except in the last batch of the set.

    The batches are the same for any number of processes, which take them in turn. Therefore results are the same too,
    even in their last bits, which may depend on the other images in a batch.

    Raises `UserError` if an image cannot be read, or if the set has no image and `limit` is not 0.
    """
    part = images.every(processes, rank, limit, batch_size)
    while batch := list(itertools.islice(part, batch_size)):
        numbers, pixels = zip(*batch, strict=True)
        yield torch.tensor(numbers), torch.stack(pixels)


@attrs.frozen(eq=False)
class _Shares(IterableDataset[Tensor]):
    """One process's shares of the batches, in the order of the steps.

    In worker i of n it gives the shares of steps start + i, start + i + n, …, because the loader takes batches from its
    workers in turn.
    """

    images: Readable
    batch_size: int
    steps: int
    start: int
    seed: int
    flip: bool
    rank: int
    share: int

    def __iter__(self) -> Iterator[Tensor]:
        worker = get_worker_info()
        if worker is None:
            return self._batches(self.start, 1)
        return self._caught(self._batches(self.start + worker.id, worker.num_workers))  # type: ignore[return-value]

    def _batches(self, first: int, every: int) -> Iterator[Tensor]:
        starts = (step * self.batch_size + self.rank * self.share for step in range(first, self.steps, every))
        shares, again = itertools.tee(range(place, place + self.share) for place in starts)
        for images, share in zip(self.images.training_images(self.seed, shares), again, strict=True):
            yield self._mirrored(images, share) if self.flip else images

    def _mirrored(self, images: Tensor, share: range) -> Tensor:
        mirror = torch.tensor([uniform("flip", self.seed, place) < 0.5 for place in share])
        return torch.where(mirror[:, None, None, None], images.flip(-1), images)

    @staticmethod
    def _caught(batches: Iterator[Tensor]) -> Iterator[Tensor | UserError]:
        # The error is yielded and not raised, because the loader would bury its message in the text of a traceback.
        # `_raise_errors` raises it in the main process.
        try:
            yield from batches
        except UserError as error:
            yield UserError(str(error))


def _raise_errors(batches: DataLoader[Tensor]) -> Iterator[Tensor]:
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except (EOFError, ConnectionError) as error:
            if dead := _dead_workers(iterator):  # They died while they passed a batch.
                raise RuntimeError(f"DataLoader worker (pid {', '.join(map(str, dead))}) passed no batch") from error
            raise
        if isinstance(batch, UserError):
            raise batch
        yield batch


def _dead_workers(iterator: Any) -> list[int]:
    """The process IDs of the workers of a loader's iterator that have ended."""
    workers = getattr(iterator, "_workers", ())
    for worker in workers:
        worker.join(timeout=1)
    return [worker.pid for worker in workers if not worker.is_alive()]
