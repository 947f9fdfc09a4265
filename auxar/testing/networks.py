"""Checks of the laws that priors and decoders share, as both are distributions over images."""

from __future__ import annotations

from typing import Any

import attrs
import torch
from safetensors.torch import load, save
from torch import Tensor

from auxar.model import ByChannel, CausalDistribution, CausalNetwork, GivenView, ImageSpec, Sampler, SampleRequest
from auxar.testing.examples import all_images, extreme_images, random_images
from auxar.testing.laws import (
    broken,
    channels_last,
    columns_first,
    described,
    devices,
    keeps_state,
    runs,
    unchanged,
    untouched,
)
from auxar.testing.recomputation import check_recomputation

CLOSE = 1e-9
"""The relative and absolute tolerance of float64 results that may differ by the order of summation."""
NARROW = 1e-3
"""The relative and absolute tolerance of results in float32."""
MANY = 17
"""The number of images of a large batch."""
FORMS = ((torch.uint8, channels_last), (torch.int16, columns_first), (torch.int32, torch.clone))
"""The dtypes and memory layouts in which images are passed. An image in the first form is as `data` may give it."""


@attrs.frozen(eq=False)
class Distribution:
    """A prior, or a decoder that is given features, behind one interface."""

    module: Any
    image: ImageSpec
    features_channels: int = 0
    """Number of channels of the features; 0 for a prior, which is not given any."""

    @property
    def network(self) -> CausalNetwork | None:
        """The causal network, if there is one. It and its head are then checked too."""
        return self.module.network if isinstance(self.module, CausalDistribution) else None

    @property
    def restricts(self) -> bool:
        """Whether it is a decoder that can be restricted."""
        return bool(self.features_channels) and bool(self.module.restricts)

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is the log-likelihood itself, not a lower bound of it."""
        return bool(self.module.exact)

    def log_prob(self, image: Tensor, features: Tensor | None, *given: GivenView) -> Tensor:
        """`log_prob` of the module, with given views if there are any."""
        found: Tensor = self.module.log_prob(image, *_given(features), *given)
        return found

    def by_channel(self, image: Tensor, features: Tensor | None, *given: GivenView) -> ByChannel:
        """`log_prob_by_channel` of the module, with given views if there are any."""
        found: ByChannel = self.module.log_prob_by_channel(image, *_given(features), *given)
        return found

    def draw(self, features: Tensor | None, request: SampleRequest, sampler: Sampler) -> Tensor:
        """`draw` of the module."""
        found: Tensor = self.module.draw(request, sampler, *_given(features))
        return found

    def initialize(self, image: Tensor, features: Tensor | None) -> None:
        """`initialize` of the module."""
        self.module.initialize(image, *(() if features is None else (features, None)))

    def features(self, count: int, seed: int = 0) -> Tensor | None:
        """Normally distributed features for `count` images, with device and dtype of the weights. None for a prior."""
        if not self.features_channels:
            return None
        shape = (count, self.features_channels, self.image.height, self.image.width)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        weight = next(self.module.parameters(), noise)
        return noise.to(weight.device, weight.dtype)


def _given(features: Tensor | None) -> tuple[Tensor, ...]:
    return () if features is None else (features,)


def check_values(model: Distribution, seed: int) -> None:
    """Checks the laws `shape`, `finite`, `range`, `determinism`, `batch`, `dtype` and `layout`."""
    image = torch.cat([extreme_images(model.image), random_images(1, model.image, seed)])
    features = model.features(len(image), seed)
    found = nats(model, image, features)
    if not found.isfinite().all():
        broken("finite", "log_prob is not finite", image=image[~found.isfinite()][:1], log_prob=found)
    if (found > CLOSE).any():
        broken("range", "a probability is greater than 1", image=image[found.argmax()], log_prob=found.max())
    if not torch.equal(nats(model, image, features), found):
        message = "log_prob of the same images differs between calls; in evaluation mode, dropout must be off"
        broken("determinism", message)
    order = torch.arange(len(image) - 1, -1, -1)
    turned = nats(model, image[order], rows_of(features, order))[order]
    last = len(image) - 1
    alone = nats(model, image[last:], rows_of(features, order[:1]))
    if not close(turned, found) or not close(alone, found[last:]):
        broken(
            "batch", "log_prob depends on the other images of the batch", in_batch=found, reversed=turned, alone=alone
        )
    _check_forms(model, image, features, found)


def _check_forms(model: Distribution, image: Tensor, features: Tensor | None, found: Tensor) -> None:
    """Checks the laws `dtype` and `layout`: other dtypes and memory layouts of the images give the same log_prob."""
    for dtype, layout in FORMS:
        if model.image.levels - 1 > torch.iinfo(dtype).max:
            dtype = torch.int64
        copies = layout(image.to(dtype)), None if features is None else layout(features)
        if close(nats(model, *copies), found):
            continue
        if close(nats(model, image.to(dtype), features), found):
            broken("layout", "log_prob depends on the memory layout of the images or features", image=model.image)
        broken("dtype", f"log_prob of images in {dtype} differs from that in torch.int64", image=model.image)


def close(first: Tensor, second: Tensor) -> bool:
    """Whether two float64 results are equal up to rounding."""
    return torch.allclose(first, second, rtol=CLOSE, atol=CLOSE)


def check_sum(model: Distribution, seed: int) -> None:
    """Checks the law `normalization`: the probabilities of all images of a tiny spec sum to one."""
    everything = all_images(model.image)
    features = model.features(1, seed)
    if features is not None:
        features = features.expand(len(everything), -1, -1, -1)
    total = nats(model, everything, features).double().logsumexp(0).exp().item()
    if abs(total - 1) > 1e-6 and (model.exact or total > 1):
        expected = "1" if model.exact else "at most 1, because the model is not `exact`"
        message = f"the probabilities of all {len(everything):,} images must add up to {expected}, got {total:.9g}"
        broken("normalization", message)


def check_saved(model: Distribution, fresh: Distribution, seed: int) -> None:
    """Checks the law `save`: after `initialize`, saved and reloaded weights give bitwise identical likelihoods."""
    image, features = random_images(3, model.image, seed), model.features(3, seed)
    model.module.train()
    with runs("initialize", image=model.image), torch.no_grad():
        model.initialize(image, features)
    model.module.eval()
    with runs("saving and loading the weights"):
        state = {name: tensor.contiguous() for name, tensor in model.module.state_dict().items()}
        fresh.module.double().load_state_dict(load(save(state)))
    fresh.module.eval()
    if not torch.equal(nats(fresh, image, features), nats(model, image, features)):
        message = "likelihoods differ after loading saved weights; part of the model's state is not in state_dict()"
        broken("save", message)


def check_training(model: Distribution, seed: int) -> None:
    """Checks the laws `initialize`, `finite`, `gradient` and `recompute` on a new model, in float32 as in training."""
    image = torch.cat([extreme_images(model.image), random_images(4, model.image, seed)])
    features = model.features(len(image), seed)
    model.module.train()
    # Modes are compared module by module, because a frozen module may stay in evaluation mode.
    before = [module.training for module in model.module.modules()]
    with (
        untouched("initialize", image, features),
        keeps_state("initialize", True),
        runs("initialize", image=model.image),
        torch.no_grad(),
    ):
        model.initialize(image, features)
    if [module.training for module in model.module.modules()] != before:
        broken("initialize", "`initialize` must not change the training mode of any module")
    with unchanged("log_prob", model.module, random=True), runs("training", image=model.image):
        loss = -model.log_prob(image, features).mean()
        if not loss.isfinite():
            broken("finite", "the loss after initialization is not finite", image=model.image)
        if loss.requires_grad:
            loss.backward()
    for name, parameter in model.module.named_parameters():
        if parameter.requires_grad and parameter.grad is None:
            broken("gradient", f"the loss does not depend on the parameter {name}", image=model.image)
        if parameter.grad is not None and not parameter.grad.isfinite().all():
            broken("gradient", f"the gradient of {name} is not finite", image=model.image)
    check_recomputation(model.module, lambda: -model.log_prob(image, features).mean())


def check_large(model: Distribution, seed: int) -> None:
    """Checks the laws `batch`, `precision` and `gradient` with many images, as in training: float32, with gradients.

    Their log-likelihoods are compared with those of few images in float64 without gradients.
    """
    image, features = random_images(3, model.image, seed), model.features(3, seed)
    expected = nats(model, image, features)
    numbers = torch.arange(MANY) % len(image)
    model.module.float()
    narrow = None if features is None else features.float()
    several = image[numbers], rows_of(narrow, numbers)
    with runs("log_prob", image=model.image):
        found = model.log_prob(*several).detach()
    if _nearly(found, expected[numbers]):
        return
    if not _nearly(nats(model, image, narrow), expected):
        example = {"float32": nats(model, image, narrow), "float64": expected}
        broken("precision", "log_prob in float32 differs from that in float64", image=model.image, **example)
    if not _nearly(nats(model, *several), expected[numbers]):
        broken("batch", f"log_prob of {MANY} images differs from that of the same images in a batch of 3", found=found)
    broken("gradient", "log_prob differs while gradients are recorded", image=model.image, found=found)


def _nearly(found: Tensor, expected: Tensor) -> bool:
    return torch.allclose(found.double(), expected, rtol=NARROW, atol=NARROW)


def check_features(model: Distribution, seed: int) -> None:
    """Checks the law `gradient` on a decoder with random weights: the loss depends on the features.

    Random weights are needed because a newly built decoder may ignore its features.
    """
    features = model.features(2, seed)
    if features is None:
        return
    features.requires_grad_()
    with runs("training", image=model.image):
        loss = -model.log_prob(random_images(2, model.image, seed), features).mean()
        if loss.requires_grad:
            loss.backward()
    if features.grad is None or not features.grad.any():
        broken(
            "gradient", "the loss does not depend on the features, so the decoder ignores the view", image=model.image
        )


def check_channels(model: Distribution, seed: int) -> None:
    """Checks the law `channels`: the total of `log_prob_by_channel` equals `log_prob`.

    The values of single channels, if given, sum to the total.
    """
    image, features = random_images(3, model.image, seed), model.features(3, seed)
    total = nats(model, image, features)
    with (
        unchanged("log_prob_by_channel", model.module, image, features),
        runs("log_prob_by_channel", image=image),
        torch.no_grad(),
    ):
        found = model.by_channel(image, features)
    if not isinstance(found, ByChannel):
        broken("channels", f"log_prob_by_channel must return an auxar.ByChannel, got {described(found)}")
    if found.total.shape != total.shape or not torch.allclose(found.total, total, rtol=CLOSE, atol=CLOSE):
        message = "the total of log_prob_by_channel differs from log_prob"
        broken("channels", message, expected=total, found=found.total)
    if found.channels is None:
        return
    if tuple(found.channels.shape) != (3, model.image.channels):
        broken("channels", f"channels must have shape {(3, model.image.channels)}, got {tuple(found.channels.shape)}")
    if not torch.allclose(found.channels.sum(1), total, rtol=CLOSE, atol=CLOSE):
        broken("channels", "channels must add up to log_prob", expected=total, found=found.channels.sum(1))
    # In an image of one pixel, a channel depends on the channels before it alone.
    for channel in range(1, model.image.channels if model.image.shape[1:] == (1, 1) else 0):
        other = image.clone()
        other[:, channel:] = model.image.levels - 1 - other[:, channel:]
        with runs("log_prob_by_channel", image=other), torch.no_grad():
            changed = model.by_channel(other, features).channels
        if changed is None or not close(changed[:, :channel], found.channels[:, :channel]):
            message = f"the log-likelihoods of channels before {channel} depend on the channels from {channel} on"
            broken("channels", message, image=model.image)


def check_devices(model: Distribution, seed: int) -> None:
    """Checks the law `device`: float64 likelihoods agree on the CPU and, if available, on CUDA."""
    image, features = random_images(2, model.image, seed), model.features(2, seed)
    expected = nats(model, image, features)
    for device in devices()[1:]:
        model.module.to(device)
        found = nats(model, image.to(device), None if features is None else features.to(device)).cpu()
        model.module.to("cpu")
        if not torch.allclose(found, expected, rtol=1e-6, atol=1e-6):
            broken("device", f"log_prob on {device} differs from log_prob on the CPU", found=found, expected=expected)


def nats(model: Distribution, image: Tensor, features: Tensor | None, *given: GivenView) -> Tensor:
    """Computes `log_prob` without gradients. Raises `ContractError` if it is not floating point of shape (b,)."""
    views = [each.view for each in given]
    with unchanged("log_prob", model.module, image, features, *views), runs("log_prob", image=image), torch.no_grad():
        found = model.log_prob(image, features, *given)
    if not isinstance(found, Tensor) or tuple(found.shape) != (len(image),) or not found.is_floating_point():
        broken("shape", f"log_prob must be floating point of shape ({len(image)},), got {described(found)}")
    return found


def rows_of(values: Tensor | None, which: Tensor) -> Tensor | None:
    """The given rows of a tensor; None if there is none."""
    return None if values is None else values[which]
