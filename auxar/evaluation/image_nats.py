"""Log-likelihoods of single images: computed for a share of a set of images, and joined with other shares.

The images are those of a data set, or samples of the model. The expected -log₂ p(X) of exact samples is the entropy of
the model. If the model fits its data, it is about equal to the bits/dim of held-out images. If it is larger, the model
gives much probability to images that are unlike the data.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Sequence

import attrs
import numpy as np
import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from auxar.data.batches import evaluation_examples
from auxar.data.sets import ImageSet
from auxar.evaluation.evaluation import ENERGY, FROM_VIEWS, IN_CHAIN, INSIDE, NATS, NULL, PIXELS
from auxar.model import CONDITION, IMAGE, Chain, Factor, SampleRequest, Values
from auxar.model.checks import checked
from auxar.numerics.energy import energies
from auxar.numerics.threads import ThreadChoice
from auxar.recipe.building import own_sampler
from auxar.work.chunks import Tensors

INDICES, HASHES = "indices", "hashes"
"""Names, in a share, of the numbers of the images, int64 (images,), and of the hashes of their pixels."""


@attrs.frozen(eq=False)
class Pass:
    """A pass over images, which computes the log-likelihoods of chosen factors."""

    model: Chain
    """The model, which computes the views of an image."""
    chosen: Sequence[Factor]
    """The factors, of which at least one is needed."""
    label: str = ""
    """The end of the label of a progress bar, such as " (null condition)"."""
    part: str = NATS
    """The part that is computed: `NATS`, `NULL` with the null condition in place of the images' own conditions, or
    `RULE` with a model under a rule."""

    def at_size_of(self, images: Tensor) -> Pass:
        """The pass with the model at the size of images (b, c, h, w)."""
        own = at_size_of(self.model, images)
        if own is self.model:
            return self
        names = [factor.name for factor in self.chosen]
        return attrs.evolve(self, model=own, chosen=[factor for factor in own.all_factors if factor.name in names])


@torch.no_grad()
def share_of(
    own: Pass, batches: Iterable[tuple[Tensor, Values]], device: torch.device, threads: ThreadChoice
) -> Tensors:
    """Computes the log-likelihoods of the images in `batches`, which also have the numbers of the images.

    The result has `INDICES`, `HASHES`, and nats, float64 (images, channels), by factor and part, such as `stage0.nats`.
    The parts are `nats`, the log-likelihood of each channel given the channels before it or, in one column, of the
    image, if the factor cannot split it; and, for free decoders that can tell, `inside`, the log-probability of values
    that the view allows. Restricting the decoder adds the negative of this to its log-likelihood. The part `pixels` of
    each factor, float64 (images, 1), has the numbers of pixels of its images. A share without images is empty.

    With another part than `nats`, `own.part`, this part is the only one. `threads` chooses the number of threads for
    each batch.
    """
    found: dict[str, list[Tensor]] = defaultdict(list)
    for numbers, batch in batches:
        found[INDICES].append(numbers)
        found[HASHES].append(pixel_hashes(batch[IMAGE]))
        fitting = own.at_size_of(batch[IMAGE])
        nats = _nats(fitting, batch.to(device), threads)
        for name, values in (nats | pixels_of(fitting.model, len(numbers))).items():
            found[name].append(values)
    return {name: torch.cat(parts) for name, parts in found.items()}


def at_size_of(model: Chain, images: Tensor) -> Chain:
    """The model at the size of images (b, c, h, w)."""
    size = images.shape[-2:]
    return model if size == model.image.shape[1:] else model.at(*size)


def pixels_of(model: Chain, count: int) -> Tensors:
    """The number of pixels of the image of each factor, for each of `count` images, in the form of a share."""
    sizes = {factor.name: factor.image.height * factor.image.width for factor in model.factors}
    return {f"{name}.{PIXELS}": torch.full((count, 1), size, dtype=torch.float64) for name, size in sizes.items()}


def _nats(own: Pass, batch: Values, threads: ThreadChoice) -> Tensors:
    """The nats of a batch in the form of a share."""
    values = own.model.with_views(batch.without(CONDITION) if own.part == NULL else batch)
    widths: dict[str, int] = {}

    def compute() -> Tensor:
        found = {}
        for factor in own.chosen:
            of = factor.given(values).by_channel(factor.target(values))
            total = checked(of.total, factor.name)[:, None]
            found[f"{factor.name}.{own.part}"] = total if of.channels is None else of.channels
            if of.inside is not None and own.part == NATS:
                found[f"{factor.name}.{INSIDE}"] = of.inside
        widths.update({name: nats.shape[1] for name, nats in found.items()})
        return torch.cat([nats.double() for nats in found.values()], 1)

    nats = threads.result(compute, batch[IMAGE].numel()).cpu()
    return dict(zip(widths, nats.split(list(widths.values()), 1), strict=True))


def joined(shares: Sequence[Tensors]) -> Tensors:
    """Joins shares of a set, in the order of the images. Each image must be in one of them."""
    together = {name: [share[name] for share in shares if name in share] for share in shares for name in share}
    found = {name: torch.cat(parts) for name, parts in together.items()}
    order = found[INDICES].argsort()
    return {name: tensor[order] for name, tensor in found.items()}


def factor_nats(
    own: Pass, images: ImageSet, accelerator: Accelerator, threads: ThreadChoice, size: int, limit: int | None = None
) -> Tensors:
    """Computes the log-likelihood of each image under each chosen factor, in all processes together.

    Batches have `size` images. Only the first `limit` images are evaluated, or all if it is None.

    Every image is evaluated exactly once, for any batch size and number of processes. Each process returns the share of
    all images.
    """
    rank, processes = accelerator.process_index, accelerator.num_processes
    batches = evaluation_examples(images, batch_size=size, limit=limit, rank=rank, processes=processes)
    share = share_of(own, batches, accelerator.device, threads)
    return joined([share] if processes == 1 else gather_object([share]))


def pixel_hashes(images: Tensor) -> Tensor:
    """The SHA-256 of each image's pixels: uint8, (b, 32). `images` are uint8, (b, c, h, w)."""
    hashes = b"".join(hashlib.sha256(image.tobytes()).digest() for image in images.numpy())
    return torch.from_numpy(np.frombuffer(hashes, dtype=np.uint8).reshape(len(images), -1).copy())


def digest_of(hashes: Tensor) -> str:
    """The SHA-256, in hexadecimal digits, of the `pixel_hashes` of images in the order of their numbers.

    It depends on the pixels and the order of the images, and not on batches, the number of processes or the source.
    """
    return hashlib.sha256(hashes.numpy().tobytes()).hexdigest()


@torch.no_grad()
def share_of_samples(
    model: Chain, batches: Iterable[tuple[Tensor, Values]], device: torch.device, seed: int
) -> Tensors:
    """Draws exact samples of a model and returns their log-likelihoods, in the form of `share_of`.

    There is a sample for each held-out image in `batches`, which also have the numbers of the images, with the same
    number, size and condition. A factor with a view is measured on samples of the whole chain, and on samples that it
    draws given the views of held-out images: the parts `IN_CHAIN` and `FROM_VIEWS`, nats, float64 (images, 1). There
    are also the energies of both kinds and of the held-out images.
    """
    found: dict[str, list[Tensor]] = defaultdict(list)

    def add(part: str, factor: Factor, values: Values) -> None:
        nats = checked(factor(values), factor.name)
        found[f"{factor.name}.{part}"].append(nats.double().cpu()[:, None])
        add_energy(part, factor, values[factor.variable])

    def add_energy(part: str, factor: Factor, image: Tensor) -> None:
        found[f"{factor.name}.{part}_{ENERGY}"].append(energies(image).cpu())

    chain, sampler = model, own_sampler(model.eval().to(device))
    for numbers, batch in batches:
        found[INDICES].append(numbers)
        model = at_size_of(chain, batch[IMAGE])
        for name, values in pixels_of(model, len(numbers)).items():
            found[name].append(values)
        heldout = model.with_views(batch.to(device))
        # Both kinds have noise of their own.
        from_views, in_chain = (SampleRequest(tuple((numbers + first).tolist()), seed) for first in (0, 2**32))
        drawn = model.draw(in_chain, sampler, heldout.without(*model.variables))
        for depth, factor in enumerate(model.factors):
            add(IN_CHAIN, factor, drawn)
            add_energy("heldout", factor, heldout[factor.variable])
            if factor.view is not None:
                image = factor.given(heldout).draw(from_views.deeper(depth), sampler)
                add(FROM_VIEWS, factor, heldout | {factor.variable: image})
    return {name: torch.cat(parts) for name, parts in found.items()}
