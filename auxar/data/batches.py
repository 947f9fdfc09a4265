"""Batches: which images are in them follows from the seed and the step alone."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator

import attrs
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from auxar.data.randomness import uniform
from auxar.data.sets import ImageSet
from auxar.distributed.signals import SIGNALS
from auxar.errors import UserError


def training_batches(
    images: ImageSet,
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
    """This process's share of the batches of steps start … steps - 1: uint8, (batch_size / processes, c, h, w) each.

    Batch k is images k·batch_size … (k + 1)·batch_size - 1 of an endless sequence that goes through the set once an
    epoch, in an order that follows from (seed, epoch); batches run across epochs. With `flip`, each is mirrored left
    to right or not by (seed, position in the sequence). So batches depend neither on `start` nor on `workers`, and
    the shares of all ranks are together the batch of one process. `workers` processes read ahead; 0 reads none.

    Raises `UserError` if the batch cannot be shared evenly or an image cannot be read.
    """
    if batch_size % processes:
        raise UserError(
            f"training.batch_size: {batch_size} images cannot be shared evenly by {processes} processes; "
            f"use {max(1, batch_size // processes) * processes} or {(batch_size // processes + 1) * processes}"
        )
    shares = _Shares(images, batch_size, steps, start, seed, flip, rank, batch_size // processes)
    if not workers:
        return iter(shares)
    most = images.most_workers
    workers = workers if most is None else min(workers, most)
    # With a generator of its own the loader leaves torch's global one alone.
    loader = DataLoader(
        shares, batch_size=None, num_workers=workers, worker_init_fn=_leave_signals, generator=torch.Generator()
    )
    return _raise_errors(loader)


def _leave_signals(worker: int) -> None:
    """Terminals and schedulers tell all processes to end; the one that trains decides when its workers do."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def evaluation_batches(
    images: ImageSet, *, batch_size: int, limit: int | None = None, rank: int = 0, processes: int = 1
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's part of the first `limit` images: their numbers, int64 (b,), and uint8 (b, c, h, w).

    Over all processes every image comes exactly once; b is `batch_size` except in the last batch. Batches are the same
    ones whatever the number of processes, which take them in turn: a figure of an image, which may depend on what it is
    computed with in its last bit, does not depend on that number. Raises `UserError` if an image cannot be read.
    """
    part = images.every(processes, rank, limit, batch_size)
    while batch := list(itertools.islice(part, batch_size)):
        numbers, pixels = zip(*batch, strict=True)
        yield torch.tensor(numbers), torch.stack(pixels)


@attrs.frozen(eq=False)
class _Shares(IterableDataset[Tensor]):
    """One process's shares, step after step; inside a worker those of every so many steps, as the loader expects."""

    images: ImageSet
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
        # Raised here, the error would reach the user inside the text of a traceback.
        try:
            yield from batches
        except UserError as error:
            yield UserError(str(error))


def _raise_errors(batches: DataLoader[Tensor]) -> Iterator[Tensor]:
    for batch in batches:
        if isinstance(batch, UserError):
            raise batch
        yield batch
