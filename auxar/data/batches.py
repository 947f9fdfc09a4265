"""Batches of images for training and evaluation.

The seed, the step and the batch size determine which images of the set a training batch contains.
"""

from __future__ import annotations

import abc
import itertools
import signal
from collections.abc import Iterable, Iterator, Sequence

import attrs
import torch
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from auxar.data.randomness import uniform
from auxar.errors import UserError
from auxar.model import CONDITION, IMAGE, Augmentation, Condition, ImageSpec, Values
from auxar.model.values import joined
from auxar.work.signals import SIGNALS

Numbered = tuple[int, Values]
"""The number of an image in its set, and its values: the image and what comes with it, as a batch of one."""


class Readable(abc.ABC):
    """The part of an `ImageSet` that batches are read from."""

    image: ImageSpec
    """Shape and range of the images for training."""
    condition: Condition | None
    """The condition that comes with each image; None if there is none."""
    most_workers: int | None
    """Maximum number of worker processes that can read the set at the same time; None if there is no limit."""

    def own_part(self, rank: int, processes: int) -> Readable | None:
        """The part of the set that one of several processes reads for training; None if each reads the whole set.

        Only streams with `data.shards = "own"` are divided.

        Examples:
            >>> import auxar
            >>> images = auxar.load_images(auxar.load("runs/quickstart"))
            >>> print(images.train.own_part(0, 2))
            None
        """
        return None

    @abc.abstractmethod
    def training_examples(self, seed: int, shares: Iterable[range]) -> Iterator[Values]:
        """Yields one batch of examples for each range in `shares`.

        A range holds positions in an endless training sequence. The sequence contains every image once in each epoch,
        in an order determined by `seed` and the number of the epoch. The ranges must be in ascending order, without
        overlap. Raises `UserError` if an image cannot be read.
        """

    @abc.abstractmethod
    def every_example(self, count: int, first: int, limit: int | None, block: int = 1) -> Iterator[Numbered]:
        """Yields pairs of an image's number and its example, as a batch of one, for one part of the set.

        The first `limit` images (all if it is None) are divided into blocks of `block` consecutive images. The part
        consists of the blocks `first`, `first + count`, `first + 2·count`, … An image's number is its position in the
        set. Raises `UserError` if an image cannot be read, or if the set has no image and `limit` is not 0.
        """


def _leave_signals(worker: int) -> None:
    """Makes a worker ignore termination signals.

    Terminals and schedulers send them to all processes, but the training process has to end its workers itself.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def evaluation_examples(
    images: Readable, *, batch_size: int, limit: int | None = None, rank: int = 0, processes: int = 1
) -> Iterator[tuple[Tensor, Values]]:
    """Yields this process's batches of the first `limit` images (all if it is None).

    A batch consists of the numbers of its images, int64 (b,), and the examples. Each image is in exactly one batch of
    one process; b is `batch_size` except in the last batch of the set. If images keep their own sizes, `batch_size`
    consecutive images are divided further into batches of one size, and a batch of more than one image has at most as
    many pixels as `batch_size` images of the size `images.image`.

    The batches are the same for any number of processes, which take them in turn. Therefore results are the same too,
    even in their last bits, which may depend on the other images in a batch.

    Raises `UserError` if an image cannot be read, or if the set has no image and `limit` is not 0.
    """
    part = images.every_example(processes, rank, limit, batch_size)
    most = batch_size * images.image.height * images.image.width
    for _, block in itertools.groupby(part, lambda numbered: numbered[0] // batch_size):
        for batch in _of_one_size(block, most):
            numbers, examples = zip(*batch, strict=True)
            yield torch.tensor(numbers), joined(examples)


def _of_one_size(block: Iterable[Numbered], most: int) -> Iterator[list[Numbered]]:
    """Divides examples into batches of one size, of at most `most` pixels or a single example."""
    waiting: dict[tuple[int, ...], list[Numbered]] = {}
    for number, example in block:
        size = example[IMAGE].shape[2:]
        batch = waiting.setdefault(size, [])
        batch.append((number, example))
        if (len(batch) + 1) * size.numel() > most:
            yield waiting.pop(size)
    yield from waiting.values()


@attrs.frozen(eq=False)
class TrainingExamples(IterableDataset[Values]):
    """This process's share, batch_size / processes examples, of each batch of the steps start … steps - 1.

    Batch k holds the images at positions k·batch_size … (k + 1)·batch_size - 1 of an endless sequence. The sequence
    contains every image once in each epoch, in an order determined by (seed, epoch). A batch may contain the end of one
    epoch and the start of the next. The batches are the same for every `start` and number of workers, and the shares of
    all ranks together equal the batch of a single process. If each process reads its own part of the set
    (`images.own_part`), it takes its shares from an endless sequence of its own instead, one after another.

    Raises `UserError` during the iteration if an image cannot be read.
    """

    images: Readable
    batch_size: int
    """Number of images in a batch, divisible by `processes`."""
    steps: int
    seed: int
    start: int = 0
    augment: Sequence[Augmentation] = ()
    """Augmentations, in this order. Each changes an image and its condition to a variant that depends only on its name,
    `seed` and the position of the image in the sequence."""
    labels_of: str | None = None
    """Name of the augmentation whose variant's number is the condition of an image; None for conditions of the set."""
    drop: float = 0.0
    """Probability with which the null condition replaces the condition of an image; drawn from `seed` and the position
    of the image in the sequence."""
    rank: int = 0
    """Number of this process, from 0."""
    processes: int = 1
    """Number of processes that share each batch."""

    def read(self, workers: int = 0) -> Iterator[Values]:
        """Yields the shares, which `workers` processes, at most `images.most_workers`, read in advance.

        Without workers, this process reads each share when it is needed.
        """
        if not workers:
            return iter(self)
        most = self.images.most_workers
        workers = workers if most is None else min(workers, most)
        # The loader gets its own generator, so that it does not draw from PyTorch's global generator.
        loader = DataLoader(
            self, batch_size=None, num_workers=workers, worker_init_fn=_leave_signals, generator=torch.Generator()
        )
        return _raise_errors(loader)

    def __iter__(self) -> Iterator[Values]:
        worker = get_worker_info()
        if worker is None:
            return self._shares(range(self.start, self.steps))
        # The loader takes shares from its workers in turn.
        own = range(self.start + worker.id, self.steps, worker.num_workers)
        return self._caught(self._shares(own))  # type: ignore[return-value]

    def _shares(self, steps: range) -> Iterator[Values]:
        own, size = self.images.own_part(self.rank, self.processes), self.batch_size // self.processes

        def shares(length: int, first: int) -> Iterator[range]:
            return (range(step * length + first, step * length + first + size) for step in steps)

        whole = self.batch_size, self.rank * size
        read = shares(*whole) if own is None else shares(size, 0)
        found = (own or self.images).training_examples(self.seed, read)
        for examples, share in zip(found, shares(*whole), strict=True):
            for augmentation in self.augment:
                examples = self._varied(examples, augmentation, share)
            yield examples.with_null(CONDITION, self._drawn("drop", share) < self.drop) if self.drop else examples

    def _varied(self, examples: Values, augmentation: Augmentation, share: range) -> Values:
        image, condition = self.images.image, self.images.condition
        # The least of the numbers, which lie in [0, 1), give the last variant.
        last = augmentation.variants(image) - 1
        variants = last - (self._drawn(augmentation.name, share) * (last + 1)).long()
        if self.labels_of == augmentation.name:
            examples = examples | {CONDITION: variants[:, None, None, None].to(torch.int32)}
        changed = [IMAGE]
        if condition is not None and augmentation.changes(condition, image):
            changed.append(CONDITION)
        return examples | {name: _varied(examples[name], augmentation, variants) for name in changed}

    def _drawn(self, purpose: str, share: range) -> Tensor:
        return torch.tensor([uniform(purpose, self.seed, place) for place in share], dtype=torch.float64)

    @staticmethod
    def _caught(batches: Iterator[Values]) -> Iterator[Values | UserError]:
        # The error is yielded and not raised, because the loader would bury its message in the text of a traceback.
        # `_raise_errors` raises it in the main process.
        try:
            yield from batches
        except UserError as error:
            yield UserError(str(error))


def _varied(values: Tensor, augmentation: Augmentation, variants: Tensor) -> Tensor:
    """The variant with the given number, int64 (b,), of each image, (b, c, h, w)."""
    varied = values.clone()
    for variant in variants.unique().tolist():
        rows = variants == variant
        varied[rows] = augmentation(values[rows], variant)
    return varied


def _raise_errors(batches: DataLoader[Values]) -> Iterator[Values]:
    iterator = iter(batches)
    try:
        for batch in iterator:
            if isinstance(batch, UserError):
                raise batch
            yield batch
    except (EOFError, ConnectionError) as error:
        workers = getattr(iterator, "_workers", ())
        for worker in workers:
            worker.join(timeout=1)
        if dead := [worker.pid for worker in workers if not worker.is_alive()]:  # They died while they passed a batch.
            raise RuntimeError(f"DataLoader worker (pid {', '.join(map(str, dead))}) passed no batch") from error
        raise
