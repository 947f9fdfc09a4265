"""Log-likelihoods of samples of a model.

The expected -log₂ p(X) of exact samples is the entropy of the model. If the model fits its data, it is about equal to
the bits/dim of held-out images. If it is larger, the model gives much probability to images that are unlike the data.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor

from auxar.data.examples import Examples
from auxar.evaluation.evaluation import FROM_VIEWS, IN_CHAIN
from auxar.evaluation.image_nats import INDICES, at_size_of, pixels_of
from auxar.model import Chain, Factor, SampleRequest
from auxar.recipe.building import own_sampler
from auxar.work.chunks import Tensors


@torch.no_grad()
def share_of_samples(
    model: Chain, batches: Iterable[tuple[Tensor, Examples]], device: torch.device, seed: int
) -> Tensors:
    """Draws exact samples of a model and returns their log-likelihoods, in the form of `image_nats.share_of`.

    There is a sample for each held-out image in `batches`, which also have the numbers of the images, with the same
    number, size and condition. A factor with a view is measured on samples of the whole chain, and on samples that it
    draws given the views of held-out images: the parts `IN_CHAIN` and `FROM_VIEWS`, nats, float64 (images, 1).
    """
    found: dict[str, list[Tensor]] = defaultdict(list)

    def add(part: str, factor: Factor, image: Tensor, view: Tensor | None, condition: Tensor | None) -> None:
        found[f"{factor.name}.{part}"].append(factor(image, view, condition).double().cpu()[:, None])

    chain, sampler = model, own_sampler(model.eval().to(device))
    for numbers, batch in batches:
        found[INDICES].append(numbers)
        model = at_size_of(chain, batch.image).eval()
        for name, values in pixels_of(model, len(numbers)).items():
            found[name].append(values)
        batch = batch.to(device)
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
    return {name: torch.cat(parts) for name, parts in found.items()}
