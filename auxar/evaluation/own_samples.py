"""Bits/dim of samples of a model.

The expected -log₂ p(X) of exact samples is the entropy of the model. If the model fits its data, it is about equal to
the bits/dim of held-out images. If it is larger, the model gives much probability to images that are unlike the data.
"""

from __future__ import annotations

import math
from collections import defaultdict

import torch
from torch import Tensor

from auxar.data import ImageSet, evaluation_examples
from auxar.evaluation.figures import standard_error
from auxar.evaluation.records import SampleFigures
from auxar.model import Chain, Factor, SampleRequest, device_of
from auxar.progress import progress_bar
from auxar.recipe.building import own_sampler

IN_CHAIN, FROM_VIEWS = "in_chain", "given_heldout_views"
"""The two kinds of samples: drawn by the whole chain, and drawn given the views of held-out images."""


@torch.no_grad()
def sample_figures(
    model: Chain, heldout: ImageSet, count: int, *, seed: int, batch_size: int
) -> dict[str, SampleFigures]:
    """Draws exact samples of a model and returns the bits/dim of each factor for them, by the name of the factor.

    There are as many samples as held-out images, but at most `count`. A sample has the condition of the held-out image
    with the same number. A factor with a view is measured on samples of the whole chain, and on samples that it draws
    given the views of held-out images.
    """
    sampler = own_sampler(model)
    bits: dict[tuple[str, str], list[Tensor]] = defaultdict(list)

    def add(kind: str, factor: Factor, image: Tensor, view: Tensor | None, condition: Tensor | None) -> None:
        nats = factor(image, view, condition)
        bits[factor.name, kind].append(nats.double().cpu() / (-math.log(2) * factor.image.dims))

    model.eval()
    batches = evaluation_examples(heldout, batch_size=batch_size, limit=count)
    for numbers, batch in progress_bar(batches, desc="bits of samples", unit="batch", delay=1):
        batch = batch.to(device_of(model))
        views = model.views(batch.image)
        # Both kinds have noise of their own.
        from_views, in_chain = (
            SampleRequest(tuple((numbers + first).tolist()), seed, condition=batch.condition) for first in (0, 2**32)
        )
        drawn = model.draw_views(in_chain, sampler)
        for depth, factor in enumerate(model.factors):
            add(IN_CHAIN, factor, *factor.inputs(drawn, batch.condition))
            if factor.view is not None:
                view = views[depth + 1]
                image = factor.draw(from_views.deeper(depth), sampler, view)
                add(FROM_VIEWS, factor, image, view, batch.condition)
    return {factor.name: _figures(bits, factor.name) for factor in model.factors}


def _figures(bits: dict[tuple[str, str], list[Tensor]], name: str) -> SampleFigures:
    found: dict[str, float | None] = {}
    for kind in (IN_CHAIN, FROM_VIEWS):
        values = torch.cat(bits[name, kind]) if bits[name, kind] else None
        found[kind] = None if values is None else values.mean().item()
        found[f"{kind}_standard_error"] = None if values is None else standard_error(values)
    return SampleFigures(sum(map(len, bits[name, IN_CHAIN])), **found)
