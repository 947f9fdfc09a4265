"""The contract check of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.model import Embedding, ImageSpec
from auxar.testing.any_size import check_any_size, is_accepted, other_size
from auxar.testing.examples import SCALES, SEEDS, extreme_images, random_images, randomized
from auxar.testing.invariances import Inputs
from auxar.testing.laws import broken, check_built, check_count, check_tensor, fitting, search
from auxar.testing.modules import Trained, check_narrow, check_saved, check_training, check_values

EXAMPLES = 15
"""The number of examples that the search tries."""
Pair = tuple[ImageSpec, ImageSpec]
"""The spec of a view and the spec of its image."""

IMAGE = ImageSpec(3, height=8, width=8)
PAIRS: list[Pair] = [
    (ImageSpec(1, height=2, width=3, levels=4), ImageSpec(3, height=2, width=3, levels=4)),
    (ImageSpec(1, height=8, width=8, levels=16), IMAGE),
    (attrs.evolve(IMAGE, levels=16), IMAGE),
    (attrs.evolve(IMAGE, height=4, width=4), IMAGE),
    (attrs.evolve(IMAGE, height=2, width=2), IMAGE),
]
"""The default pairs, in the combinations that the shipped views produce."""


def check_embedding(
    build: Callable[[Any, ImageSpec, ImageSpec], Embedding],
    config: object,
    *,
    pairs: Sequence[Pair] | None = None,
) -> None:
    """Checks the embedding that `build(config, view, image)` returns, with random weights and views.

    The laws:

    - `build`: the only error that `build` raises is `UserError`, for specs that it does not support.
    - `spec`: `view` and `image` are the specs passed to `build`; `features_channels` is an integer ≥ 1.
    - `shape`: features are floating point of shape (b, features_channels, height, width), with the size of the image.
    - `finite`: features are finite, also for extreme views and after `initialize`.
    - `determinism`: in evaluation mode, equal views give equal features.
    - `batch`: the features of a view do not depend on the other views of the batch, few or many.
    - `precision`: in float32, features are nearly the same as in float64.
    - `dtype`: a view gives the same features in uint8, int16, int32 and int64.
    - `layout`: features do not depend on the memory layout of the view.
    - `inputs`: no method changes the view.
    - `mode`: computing features does not change the mode (training or evaluation) of any part of the embedding.
    - `state`: no method changes torch's gradient mode or default dtype, or, in evaluation mode, draws from or seeds
      torch's random numbers.
    - `view`: features depend on the view.
    - `any_size`: `at` gives the embedding of another size with the same weights, or, if `any_size` is False, raises
      `UserError`.
    - `save`: loading saved weights restores the features exactly, also after `initialize`.
    - `initialize`: `initialize` changes the training mode of no module.
    - `gradient`: each trainable parameter gets a gradient, and all gradients are finite.
    - `recompute`: if every `auxar.RecomputableBlock` is computed a second time in the backward pass, gradients and
      state are the same to the last bit.
    - `device`: features on a GPU equal those on the CPU up to rounding.
    - `runs`: valid input raises no exception.

    `pairs` lists the specs (view, image) to build the embedding for. `build` must accept each of them. By default,
    small pairs of equal and of different sizes are tried, and pairs that `build` refuses with `UserError` are skipped.
    Raises `ContractError` if a law is broken.
    """
    chosen = fitting(lambda pair: build(config, *pair), pairs or PAIRS, pairs is not None, "pairs")

    def built(pair: Pair) -> _Features:
        embedding = build(config, *pair)
        check_built(embedding, Embedding, view=pair[0], image=pair[1])
        check_count(embedding, "features_channels", 1)
        return _Features(embedding)

    def check(pair: Pair, seed: int, size: float) -> None:
        model = built(pair)
        randomized(model.module, seed, size)
        found = check_values(model, seed)
        if all(torch.equal(features, found[0]) for features in found):
            broken("view", "black, white, checkerboard and noise views all have the same features", view=pair[0])
        check_saved(model, built(pair), seed)

    search(check, EXAMPLES, pair=st.sampled_from(chosen), seed=SEEDS, size=SCALES)
    for pair in chosen:
        check_training(built(pair), 0)
    model = built(max(chosen, key=lambda pair: pair[0].dims))
    randomized(model.module, 0)
    check_narrow(model, 0)
    for pair in chosen:
        _check_any_size(built, pair)


def _check_any_size(built: Callable[[Pair], _Features], pair: Pair) -> None:
    """Checks the law `any_size` with a larger pair of the same ratio of sizes."""
    view, image = pair
    factor = image.height // view.height
    other = other_size(view), other_size(image, factor)
    if factor and is_accepted(lambda: built(other)):
        model = built(pair)
        randomized(model.module, 0)
        check_any_size(model, lambda: built(other), lambda: _Features(model.module.at(*other)))


@attrs.frozen(eq=False)
class _Features(Trained):
    """The features of an embedding."""

    module: Embedding
    what = "features"

    @property
    def levels(self) -> tuple[int, ...]:  # type: ignore[override]
        return (self.module.view.levels,)

    def inputs(self, count: int, seed: int, *, extreme: bool = False) -> Inputs:
        view = random_images(count, self.module.view, seed)
        return (torch.cat([extreme_images(self.module.view), view]) if extreme else view,)

    def compute(self, view: Tensor) -> Tensor:  # type: ignore[override]
        found: Tensor = self.module(view)
        size = self.module.image.shape[1:]
        check_tensor("features", found, (len(view), self.module.features_channels, *size))
        return found

    def loss(self, view: Tensor) -> Tensor:  # type: ignore[override]
        # Squares are averaged, because the terms of a plain mean may cancel.
        return self.compute(view).square().mean()

    def initialize(self, view: Tensor) -> None:  # type: ignore[override]
        self.module.initialize(view)
