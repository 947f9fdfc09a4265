"""Log-likelihoods of single images: computed for a share of a set of images, and joined with other shares."""

from __future__ import annotations

import functools
import hashlib
import math
from collections.abc import Mapping, Sequence, Sized

import attrs
import torch
from torch import Tensor

from auxar.data import Examples, ImageSet, evaluation_examples
from auxar.evaluation.pixels import pixel_hashes
from auxar.model import Chain, Factor
from auxar.numerics.threads import ThreadChoice
from auxar.progress import progress_bar
from auxar.work.team import Team


@attrs.frozen(eq=False)
class FactorNats:
    """The log-likelihood of each image under one factor: nats, float64."""

    nats: Tensor
    """Log-likelihood of each channel given the channels before it: (c, images). It is that of the whole image,
    (1, images), if the factor cannot split its likelihood by channel."""
    inside: Tensor | None
    """For a free decoder, the log-probability that the sub-pixels of each channel take values that the view allows:
    (c, images), the sum over pixels, where each sub-pixel is given those before it. Restricting the decoder adds the
    negative of this to its log-likelihood. None for other factors, and if the view or the head cannot compute it."""

    @property
    def total(self) -> Tensor:
        """Log-likelihood of the whole image: (images,)."""
        return self.nats.sum(0)


@attrs.frozen(eq=False)
class Share:
    """The log-likelihoods of some images of a set under several factors."""

    indices: Tensor
    """The numbers of the images in the set: int64, (images,), in ascending order."""
    values: Tensor
    """Nats of each image: float64, (images, columns). Each factor has 2c columns: the log-likelihood of each of c
    channels (or, if these are unknown, of the image, and zeros), and the log-probability of allowed values."""
    known: Tensor
    """Whether values by channel, and those of allowed values, are known for each factor: int64, (factors, 2). A share
    without images knows neither."""
    hashes: Tensor
    """The SHA-256 of each image's pixels: uint8, (images, 32)."""

    @property
    def tensors(self) -> dict[str, Tensor]:
        """The parts of the share by name."""
        return attrs.asdict(self)

    @classmethod
    def of(cls, tensors: Mapping[str, Tensor], beginning: str) -> Share:
        """The share whose parts are the tensors with names of this beginning."""
        return cls(**{field.name: tensors[beginning + field.name] for field in attrs.fields(cls)})


def columns_of(chosen: Sequence[Factor]) -> list[int]:
    """The number of columns of each factor in `Share.values`."""
    return [2 * factor.image.channels for factor in chosen]


@torch.no_grad()
def share_of(
    model: Chain,
    chosen: Sequence[Factor],
    images: ImageSet,
    *,
    rank: int,
    processes: int,
    device: torch.device,
    batch_size: int,
    limit: int | None = None,
    description: str | None = None,
    without_condition: bool = False,
    threads: ThreadChoice | None = None,
) -> Share:
    """Computes the log-likelihoods of every `processes`-th batch of a set, beginning with the batch `rank`.

    Batches do not depend on `rank` and `processes`. For free decoders, the result includes the log-probability of
    values that the view allows. A progress bar is shown with the `description`, unless it is None. With
    `without_condition`, images have the null condition instead of their own. `threads` chooses the number of threads
    for each batch.
    """
    threads = threads or ThreadChoice(None)
    share = empty_share(chosen)
    indices, values, hashes = [share.indices], [share.values], [share.hashes]
    batches = evaluation_examples(images, batch_size=batch_size, limit=limit, rank=rank, processes=processes)
    total = None  # The length of a stream is unknown.
    if isinstance(images, Sized):
        count = len(images) if limit is None else min(limit, len(images))
        total = len(range(rank, math.ceil(count / batch_size), processes))
    silent = description is None
    for numbers, batch in progress_bar(batches, total=total, desc=description, unit="batch", disable=silent, delay=1):
        hashes.append(pixel_hashes(batch.image))
        batch = batch.to(device)
        compute = functools.partial(_rows, model, chosen, batch, without_condition, share.known)
        indices.append(numbers)
        values.append(threads.result(compute, len(numbers)).cpu())
    return Share(torch.cat(indices), torch.cat(values), share.known, torch.cat(hashes))


def _rows(model: Chain, chosen: Sequence[Factor], batch: Examples, without_condition: bool, known: Tensor) -> Tensor:
    """The rows of a batch in `Share.values`. Writes into `known` which values each factor has."""
    views = model.views(batch.image)
    condition = None if without_condition else batch.condition
    rows = []
    for place, factor in enumerate(chosen):
        of = factor.log_prob_by_channel(*factor.inputs(views, condition))
        known[place] = torch.tensor([part is not None for part in (of.channels, of.inside)])
        for part in (of.total[:, None] if of.channels is None else of.channels, of.inside):
            nats = of.total.new_zeros(len(of.total), factor.image.channels, dtype=torch.float64)
            if part is not None:
                nats[:, : part.shape[1]] = part
            rows.append(nats)
    return torch.cat(rows, 1)


def empty_share(chosen: Sequence[Factor]) -> Share:
    """A share without images."""
    return Share(
        torch.zeros(0, dtype=torch.int64),
        torch.zeros((0, sum(columns_of(chosen))), dtype=torch.float64),
        torch.zeros((len(chosen), 2), dtype=torch.int64),
        torch.zeros((0, hashlib.sha256().digest_size), dtype=torch.uint8),
    )


def joined(shares: Sequence[Share]) -> Share:
    """Joins shares of a set. Each image must be in one of them."""
    indices = torch.cat([share.indices for share in shares])
    order = indices.argsort()
    return Share(
        indices[order],
        torch.cat([share.values for share in shares])[order],
        torch.stack([share.known for share in shares]).amax(0),
        torch.cat([share.hashes for share in shares])[order],
    )


def gathered(share: Share, team: Team) -> Share:
    """Joins the shares of all processes of a team. Every process must call it, and gets the same result."""
    if team.processes == 1:
        return share
    counts = torch.zeros(team.processes, dtype=torch.int64)
    counts[team.rank] = len(share.indices)
    counts = team.sum(counts).cpu()
    first, count = int(counts[: team.rank].sum()), int(counts.sum())

    def gather(part: Tensor) -> Tensor:
        # Each row is filled by one process and is zero in all others, so that the sum has all rows.
        every = part.new_zeros(count, *part.shape[1:])
        every[first : first + len(part)] = part
        return team.sum(every).cpu()

    # A process without images does not know which factors have values by channel: the other processes tell it.
    known = team.sum(share.known).cpu().clamp(max=1)
    return joined([Share(gather(share.indices), gather(share.values), known, gather(share.hashes))])


def nats_by_factor(share: Share, chosen: Sequence[Factor]) -> list[FactorNats]:
    """The log-likelihoods in a share, for each factor."""
    found = []
    parts = share.values.T.contiguous().split(columns_of(chosen))
    for rows, (by_channel, inside) in zip(parts, share.known.tolist(), strict=True):
        nats, allowed = rows.chunk(2)
        found.append(FactorNats(nats if by_channel else nats[:1], allowed if inside else None))
    return found


def factor_nats(
    model: Chain,
    chosen: Sequence[Factor],
    images: ImageSet,
    team: Team,
    *,
    batch_size: int,
    limit: int | None = None,
    threads: ThreadChoice | None = None,
) -> list[FactorNats]:
    """The log-likelihood of each image under each chosen factor, computed by all processes of a team together.

    Every image is evaluated exactly once, for any batch size and number of processes. Each process returns the values
    of all images.
    """
    share = share_of(
        model,
        chosen,
        images,
        rank=team.rank,
        processes=team.processes,
        device=team.device,
        batch_size=batch_size,
        limit=limit,
        threads=threads,
    )
    return nats_by_factor(gathered(share, team), chosen)
