"""The contract check of embeddings."""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.model import Embedding, ImageSpec, NetworkEmbedding
from auxar.testing.examples import SCALES, SEEDS, random_images, randomized
from auxar.testing.laws import (
    broken,
    check_built,
    check_count,
    check_equal,
    check_options,
    check_tensor,
    fitting,
    search,
)
from auxar.testing.modules import (
    CLOSE,
    Trained,
    check_any_size,
    check_narrow,
    check_saved,
    check_training,
    check_values,
    other_size,
)

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
    build: Callable[[Any, ImageSpec, ImageSpec], Embedding], config: object, *, pairs: Sequence[Pair] | None = None
) -> None:
    """Checks the embedding that `build(config, view, image)` returns, with random weights and views.

    The laws:

    - `options`: no option is a path of a file, because runs do not keep files.
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
    - `mode`: no method changes the mode (training or evaluation) of any part of the embedding.
    - `state`: no method changes torch's gradient mode or default dtype, or, in evaluation mode, draws from or seeds
      torch's random numbers.
    - `view`: features depend on the view.
    - `integers`: `encode` of a `NetworkEmbedding` returns `encode_integers` times `encoded.step`.
    - `any_size`: `at` gives the embedding of another size with the same weights, or, if `any_size` is False, raises
      `UserError`.
    - `save`: loading saved weights restores the features exactly, also after `initialize`.
    - `gradient`: each trainable parameter gets a gradient, and all gradients are finite.
    - `recompute`: if every `auxar.RecomputableBlock` is computed a second time in the backward pass, gradients and
      state are the same to the last bit.
    - `device`: features on a GPU equal those on the CPU up to rounding.
    - `runs`: valid input raises no exception.

    `pairs` lists the specs (view, image) to build the embedding for. `build` must accept each of them. By default,
    small pairs of equal and of different sizes are tried, and pairs that `build` refuses with `UserError` are skipped.
    Raises `ContractError` if a law is broken.
    """
    check_options(config)
    chosen = fitting(lambda pair: build(config, *pair), pairs, PAIRS, "pairs")

    def built(pair: Pair) -> _Features:
        embedding = build(config, *pair)
        check_built(embedding, Embedding, view=pair[0], image=pair[1])
        check_count(embedding, "features_channels", 1)
        return _Features(embedding, embedding.view)

    def check(pair: Pair, seed: int, size: float) -> None:
        model = built(pair)
        randomized(model.module, seed, size)
        found = check_values(model, seed)
        if all(torch.equal(features, found[0]) for features in found):
            broken("view", "black, white, checkerboard and noise views all have the same features", view=pair[0])
        if isinstance(model.module, NetworkEmbedding):
            own, view = model.module, random_images(3, pair[0], seed)
            message = "encode must return the values of encode_integers times encoded.step"
            check_equal("integers", message, own.encode(view), own.encode_integers(view) * own.encoded.step, CLOSE)
        check_saved(model, built(pair), seed)

    search(check, EXAMPLES, pair=st.sampled_from(chosen), seed=SEEDS, size=SCALES)
    for view, image in chosen:
        check_training(built((view, image)), 0)
        if factor := image.height // view.height:  # The sizes of a larger pair have the same ratio.
            sizes = other_size(view), other_size(image, factor)
            embedding = randomized(built((view, image)).module, 0)
            check_any_size(embedding, sizes, functools.partial(build, config), _values)
    model = built(max(chosen, key=lambda pair: pair[0].dims))
    randomized(model.module, 0)
    check_narrow(model, 0)


def _values(embedding: Embedding) -> Tensor:
    """The features of a few random views."""
    return _Features(embedding, embedding.view).values(random_images(3, embedding.view, 0))


class _Features(Trained):
    """The features of an embedding, whose input is a view."""

    what = "features"

    def compute(self, image: Any, features: Any = None) -> Tensor:
        found: Tensor = self.module(image)
        check_tensor("features", found, (len(image), self.module.features_channels, *self.module.image.shape[1:]))
        return found
