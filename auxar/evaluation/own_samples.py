"""Bits/dim of a model's own samples, which are those of held-out images if the model fits its data.

The expected -log₂ p(X) of samples is the entropy of the model. If it is larger than the bits/dim of the data, the model
gives much probability to images that are unlike the data.
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor

from auxar.data import ImageSet, evaluation_examples
from auxar.evaluation.figures import standard_error
from auxar.evaluation.records import SampleFigures
from auxar.model import Chain, Factor, SampleRequest
from auxar.progress import progress_bar
from auxar.recipe.building import own_sampler

FROM_VIEWS, IN_CHAIN = "given_heldout_views", "in_chain"
"""The two kinds of samples: drawn given the views of held-out images, and drawn by the whole chain."""


@torch.no_grad()
def sample_figures(
    model: Chain, heldout: ImageSet, count: int, *, seed: int, batch_size: int, device: torch.device
) -> dict[str, SampleFigures]:
    """Draws exact samples of a model and returns the bits/dim of each factor for them, by the name of the factor.

    There are as many samples as held-out images, but at most `count`. A sample has the condition of the held-out image
    with the same number. A factor with a view is measured on samples of the whole chain, and on samples that it draws
    given the views of held-out images.
    """
    sampler, numbers_of_chain = own_sampler(model), 2**32
    bits: dict[tuple[str, str], list[Tensor]] = defaultdict(list)

    def add(kind: str, factor: Factor, image: Tensor, view: Tensor | None, condition: Tensor | None) -> None:
        nats = factor(image, view, condition)
        bits[factor.name, kind].append(nats.double().cpu() / (-math.log(2) * factor.image.dims))

    model.eval().to(device)
    batches = evaluation_examples(heldout, batch_size=batch_size, limit=count)
    for numbers, batch in progress_bar(batches, desc="bits of samples", unit="batch", delay=1):
        batch = batch.to(device)
        views, own = model.views(batch.image), tuple(numbers.tolist())
        request = SampleRequest(own, seed, condition=batch.condition)
        apart = SampleRequest(tuple(numbers_of_chain + number for number in own), seed, condition=batch.condition)
        drawn = model.draw_views(apart, sampler)
        for depth, factor in enumerate(model.factors):
            add(IN_CHAIN, factor, *factor.inputs(drawn, batch.condition))
            if factor.view is not None:
                view = views[depth + 1]
                image = factor.draw(request.deeper(depth), sampler, view)
                add(FROM_VIEWS, factor, image, view, batch.condition)
    return {factor.name: _figures(bits, factor.name) for factor in model.factors}


def _figures(bits: dict[tuple[str, str], list[Tensor]], name: str) -> SampleFigures:
    found: list[float | None] = []
    for kind in (IN_CHAIN, FROM_VIEWS):
        values = torch.cat(bits[name, kind]) if bits[name, kind] else None
        found += [None, None] if values is None else [values.mean().item(), standard_error(values)]
    return SampleFigures(sum(map(len, bits[name, IN_CHAIN])), *found)
