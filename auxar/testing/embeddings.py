"""The contract check of embeddings."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from safetensors.torch import load, save
from torch import Tensor

from auxar.model import Embedding, ImageSpec
from auxar.testing.examples import SCALES, SEEDS, extreme_images, random_images, randomized
from auxar.testing.laws import broken, described, devices, fitting, keeps_state, runs, search, unchanged, untouched
from auxar.testing.networks import CLOSE, FORMS, MANY, NARROW
from auxar.testing.recomputation import check_recomputation

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

    def check(pair: Pair, seed: int, size: float) -> None:
        embedding = build(config, *pair)
        _check_spec(embedding, *pair)
        randomized(embedding, seed, size)
        _check_values(embedding, seed)
        _check_saved(embedding, build(config, *pair), seed)
        _check_devices(embedding, seed)

    search(check, EXAMPLES, pair=st.sampled_from(chosen), seed=SEEDS, size=SCALES)
    for pair in chosen:
        _check_training(build(config, *pair))
    _check_many(randomized(build(config, *max(chosen, key=lambda pair: pair[0].dims)), 0))


def _check_spec(embedding: Embedding, view: ImageSpec, image: ImageSpec) -> None:
    if not isinstance(embedding, Embedding):
        broken("spec", f"build must return an auxar.Embedding, got {type(embedding).__name__}")
    for name, expected in (("view", view), ("image", image)):
        if getattr(embedding, name, None) != expected:
            got = getattr(embedding, name, None)
            broken("spec", f"the embedding's `{name}` must be the spec passed to build, got {got}", built_for=expected)
    channels = getattr(embedding, "features_channels", None)
    if not isinstance(channels, int) or channels < 1:
        broken("spec", f"`features_channels` must be an integer ≥ 1, got {channels!r}")


def _features(embedding: Embedding, view: Tensor) -> Tensor:
    with unchanged("the embedding", embedding, view), runs("the embedding", view=view), torch.no_grad():
        found = embedding(view)
    expected = (len(view), embedding.features_channels, embedding.image.height, embedding.image.width)
    if not isinstance(found, Tensor) or tuple(found.shape) != expected or not found.is_floating_point():
        broken("shape", f"the features must be floating point of shape {expected}, got {described(found)}")
    return found


def _check_values(embedding: Embedding, seed: int) -> None:
    view = torch.cat([extreme_images(embedding.view), random_images(1, embedding.view, seed)])
    found = _features(embedding, view)
    if not found.isfinite().all():
        broken("finite", "features are not finite", view=embedding.view)
    if not torch.equal(_features(embedding, view), found):
        message = "features of the same views differ between calls; in evaluation mode, dropout must be off"
        broken("determinism", message)
    alone = torch.cat([_features(embedding, view[k : k + 1]) for k in range(len(view))])
    if not torch.allclose(alone, found, rtol=CLOSE, atol=CLOSE):
        broken("batch", "features depend on the other views of the batch", view=embedding.view)
    if all(torch.equal(features, found[0]) for features in found):
        broken("view", "black, white, checkerboard and noise views all have the same features", view=embedding.view)
    for dtype, layout in FORMS:
        # A view may have any integer dtype: for example uint8 in training and int64 in sampling.
        if embedding.view.levels - 1 > torch.iinfo(dtype).max:
            dtype = torch.int64
        if torch.allclose(_features(embedding, layout(view.to(dtype))), found, rtol=CLOSE, atol=CLOSE):
            continue
        if torch.equal(_features(embedding, view.to(dtype)), found):
            broken("layout", "the features depend on the memory layout of the view", view=embedding.view)
        message = f"the features of a view in {dtype} differ from its features in torch.int64"
        broken("dtype", message, view=embedding.view)


def _check_many(embedding: Embedding) -> None:
    """Checks the laws `determinism`, `batch` and `precision` with many views in float32, as in training."""
    view = random_images(3, embedding.view, 0)
    expected = _features(embedding, view)
    embedding.float()
    numbers = torch.arange(MANY) % len(view)
    with runs("the embedding", view=embedding.view):
        found, again = (embedding(view[numbers]).detach() for _ in range(2))
    if not torch.equal(found, again):
        broken("determinism", "the features of the same views in float32 differ between calls", view=embedding.view)
    few = _features(embedding, view).double()
    if not torch.allclose(few, expected, rtol=NARROW, atol=NARROW):
        broken("precision", "features in float32 differ from those in float64", view=embedding.view)
    if not torch.allclose(found.double(), expected[numbers], rtol=NARROW, atol=NARROW):
        broken("batch", f"the features of {MANY} views differ from those of the same views in a small batch")


def _check_saved(embedding: Embedding, fresh: Embedding, seed: int) -> None:
    view = random_images(2, embedding.view, seed)
    embedding.train()
    with runs("initialize", view=embedding.view), torch.no_grad():
        embedding.initialize(view)
    embedding.eval()
    with runs("saving and loading the weights"):
        state = {name: tensor.contiguous() for name, tensor in embedding.state_dict().items()}
        fresh.double().load_state_dict(load(save(state)))
    if not torch.equal(_features(fresh.eval(), view), _features(embedding, view)):
        message = "features differ after loading saved weights; part of the embedding's state is not in state_dict()"
        broken("save", message)


def _check_training(embedding: Embedding) -> None:
    view = torch.cat([extreme_images(embedding.view), random_images(4, embedding.view, 0)])
    embedding.train()
    before = [module.training for module in embedding.modules()]
    with (
        untouched("initialize", view),
        keeps_state("initialize", True),
        runs("initialize", view=embedding.view),
        torch.no_grad(),
    ):
        embedding.initialize(view)
    if [module.training for module in embedding.modules()] != before:
        broken("initialize", "`initialize` must not change the training mode of any module")
    with unchanged("the embedding", embedding, random=True), runs("the embedding", view=embedding.view):
        features = embedding(view)
    with runs("training", view=embedding.view):
        # Squares are averaged, because the terms of a plain mean may cancel.
        if features.requires_grad:
            features.square().mean().backward()
    if not features.isfinite().all():
        broken("finite", "features after initialization are not finite", view=embedding.view)
    for name, parameter in embedding.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            broken("gradient", f"the features do not depend on the parameter {name}", view=embedding.view)
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            broken("gradient", f"the gradient of {name} is not finite", view=embedding.view)
    check_recomputation(embedding, lambda: embedding(view).square().mean())


def _check_devices(embedding: Embedding, seed: int) -> None:
    view = random_images(2, embedding.view, seed)
    expected = _features(embedding, view)
    for device in devices()[1:]:
        found = _features(embedding.to(device), view.to(device)).cpu()
        embedding.to("cpu")
        if not torch.allclose(found, expected, rtol=1e-6, atol=1e-6):
            broken("device", f"the features on {device} differ from those on the CPU", view=embedding.view)
