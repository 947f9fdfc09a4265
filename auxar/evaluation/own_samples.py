"""Log-likelihoods of samples of a model.

The expected -log₂ p(X) of exact samples is the entropy of the model. If the model fits its data, it is about equal to
the bits/dim of held-out images. If it is larger, the model gives much probability to images that are unlike the data.
"""

from __future__ import annotations

from collections import defaultdict

import torch
from torch import Tensor

from auxar.data import ImageSet, evaluation_examples
from auxar.evaluation.evaluation import FROM_VIEWS, IN_CHAIN, SAMPLES
from auxar.model import Chain, Factor, SampleRequest, device_of
from auxar.progress import progress_bar
from auxar.recipe.building import own_sampler


@torch.no_grad()
def sample_nats(model: Chain, heldout: ImageSet, count: int, *, seed: int, batch_size: int) -> dict[str, Tensor]:
    """Draws exact samples of a model and returns their log-likelihoods, in the form of `Evaluation.tensors`.

    There are as many samples as held-out images, but at most `count`. A sample has the condition of the held-out image
    with the same number. A factor with a view is measured on samples of the whole chain, and on samples that it draws
    given the views of held-out images.
    """
    sampler = own_sampler(model)
    found: dict[str, list[Tensor]] = defaultdict(list)

    def add(kind: str, factor: Factor, image: Tensor, view: Tensor | None, condition: Tensor | None) -> None:
        found[f"{SAMPLES}.{factor.name}.{kind}"].append(factor(image, view, condition).double().cpu())

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
    return {key: torch.cat(parts)[None] for key, parts in found.items()}
