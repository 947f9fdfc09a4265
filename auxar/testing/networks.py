"""Checks of the laws that priors and decoders share, as both are distributions over images."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from auxar.interfaces import ByChannel, CausalNetwork, ImageSpec, Interval, Known, Restriction, Sampler, SampleRequest
from auxar.plugins import load_plugins
from auxar.testing.examples import all_images, extreme_images, random_images, sum_support
from auxar.testing.frequencies import check_frequencies
from auxar.testing.laws import broken, described, devices, runs

CLOSE = 1e-9
"""The relative and absolute tolerance of float64 results that may differ by the order of summation."""
ROUNDING = 1e-12
"""The relative and absolute tolerance of the causality check, in float64. Smaller changes count as rounding."""
AT_ONCE = 64
"""The batch size of the causality check, in which each image has a different pixel changed."""
DRAWN = 5000
"""The number of images drawn to compare their frequencies with the model's probabilities."""


@attrs.frozen(eq=False)
class Restricted:
    """The methods of a decoder that can be restricted to intervals."""

    log_prob: Callable[[Tensor, Tensor | None, Interval], Tensor]
    by_channel: Callable[[Tensor, Tensor | None, Interval | None, Interval | None], ByChannel]


@attrs.frozen(eq=False)
class Distribution:
    """A prior or a decoder behind one interface."""

    module: nn.Module
    image: ImageSpec
    log_prob: Callable[[Tensor, Tensor | None], Tensor]
    draw: Callable[[Tensor | None, SampleRequest, Sampler], Tensor]
    initialize: Callable[[Tensor, Tensor | None], None]
    by_channel: Callable[[Tensor, Tensor | None], ByChannel]
    features_channels: int = 0
    network: CausalNetwork | None = None
    """The causal network of the model, if it has one. It and its head are then checked too."""
    restricted: Restricted | None = None
    """The restricted decoder, if the model is a decoder that can be restricted."""

    def features(self, count: int, seed: int = 0) -> Tensor | None:
        """Normally distributed features for `count` images, with device and dtype of the weights. None for a prior."""
        if not self.features_channels:
            return None
        shape = (count, self.features_channels, self.image.height, self.image.width)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        weight = next(self.module.parameters(), noise)
        return noise.to(weight.device, weight.dtype)


def check_values(model: Distribution, seed: int) -> None:
    """Checks the laws `shape`, `finite`, `range`, `determinism`, `batch` and `dtype`."""
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
    turned = nats(model, image[order], None if features is None else features[order])
    alone = torch.cat([nats(model, image[k : k + 1], _row(features, k)) for k in range(len(image))])
    for other in (turned[order], alone):
        if not torch.allclose(other, found, rtol=CLOSE, atol=CLOSE):
            broken("batch", "log_prob depends on the other images of the batch", expected=other, in_batch=found)
    if any(not torch.equal(nats(model, image.to(dtype), features), found) for dtype in _dtypes(model.image)):
        broken("dtype", "log_prob depends on the integer dtype of the images")


def check_sum(model: Distribution, seed: int) -> None:
    """Checks the law `normalization`: the probabilities of all images of a tiny spec sum to one."""
    everything = all_images(model.image)
    features = model.features(1, seed)
    if features is not None:
        features = features.expand(len(everything), -1, -1, -1)
    total = nats(model, everything, features).double().logsumexp(0).exp()
    if abs(total.item() - 1) > 1e-6:
        message = f"the probabilities of all {len(everything):,} images must add up to 1, got {total.item():.9g}"
        broken("normalization", message)


def check_draws(model: Distribution, seed: int) -> None:
    """Checks the law `draws`: on a tiny spec, the frequencies of drawn images match their probabilities."""
    everything = all_images(model.image)
    features = model.features(1, seed)
    sampler = reference_sampler()
    many = None if features is None else features.expand(DRAWN, -1, -1, -1)
    with runs("draw", image=model.image), torch.no_grad():
        drawn = model.draw(many, SampleRequest(tuple(range(DRAWN)), seed), sampler)
    _check_drawn(model, drawn, DRAWN)
    every = None if features is None else features.expand(len(everything), -1, -1, -1)
    check_frequencies(drawn, everything, nats(model, everything, every), model.image.levels, "image")


def check_restricted(model: Distribution, seed: int) -> None:
    """Checks the law `restricted` of a decoder that can be restricted, on a tiny spec.

    The restricted probabilities of the images inside of random intervals sum to one and equal the free ones divided by
    the probability of the intervals. Images that are drawn given their sums have these sums, and the frequencies of the
    images match their restricted probabilities.
    """
    if model.restricted is None:
        return
    everything, features = all_images(model.image), model.features(1, seed)
    every = None if features is None else features.expand(len(everything), -1, -1, -1)
    ends = torch.minimum(*random_images(2, model.image, seed)), torch.maximum(*random_images(2, model.image, seed))
    interval = Interval(*(values.expand_as(everything).clone() for values in ends))
    inside = ((everything >= interval.low) & (everything <= interval.high)).flatten(1).all(1)
    found = _restricted_nats(model, everything, every, interval)
    if (found[~inside] != -torch.inf).any():
        broken("restricted", "log_prob restricted to intervals must be -∞ for images with a value outside")
    total = found[inside].double().logsumexp(0).exp().item()
    if not abs(total - 1) <= 1e-6:
        message = f"the restricted probabilities of all images inside of intervals must add up to 1, got {total:.9g}"
        broken("restricted", message, low=ends[0], high=ends[1])
    with runs("log_prob_by_channel, with intervals inside", image=model.image), torch.no_grad():
        mass = model.restricted.by_channel(everything[inside], _rows(every, inside), None, _rows_of(interval, inside))
    if mass.inside is not None:
        expected = nats(model, everything[inside], _rows(every, inside)) - mass.inside.sum(1)
        if not torch.allclose(found[inside], expected, rtol=CLOSE, atol=CLOSE):
            message = "restricted log_prob must be the free one minus `inside`, the log-probability of the intervals"
            broken("restricted", message, expected=expected, found=found[inside])
    _check_restricted_draws(model, everything, every, seed)


def _restricted_nats(model: Distribution, image: Tensor, features: Tensor | None, interval: Interval) -> Tensor:
    """The restricted log-likelihoods of images. Checks that those by channel agree with them."""
    assert model.restricted is not None
    with runs("log_prob, with intervals", image=model.image), torch.no_grad():
        found = model.restricted.log_prob(image, features, interval)
        channels = model.restricted.by_channel(image, features, interval, None)
    if not isinstance(found, Tensor) or tuple(found.shape) != (len(image),) or not found.is_floating_point():
        broken("shape", f"log_prob must be floating point of shape ({len(image)},), got {described(found)}")
    totals = [channels.total, *([] if channels.channels is None else [channels.channels.sum(1)])]
    if not all(total.shape == found.shape and torch.allclose(total, found, rtol=CLOSE, atol=CLOSE) for total in totals):
        broken("channels", "restricted log_prob_by_channel must add up to restricted log_prob")
    return found


def _check_restricted_draws(model: Distribution, everything: Tensor, every: Tensor | None, seed: int) -> None:
    support = sum_support(model.image, "everything")
    view = random_images(1, model.image, seed)
    many = None if every is None else every[:1].expand(DRAWN, -1, -1, -1)
    request = SampleRequest(tuple(range(DRAWN)), seed, restriction=Restriction(support, view.expand(DRAWN, -1, -1, -1)))
    with runs("draw, with a restriction", image=model.image), torch.no_grad():
        drawn = model.draw(many, request, reference_sampler())
    _check_drawn(model, drawn, DRAWN)
    if (drawn.flatten(1).sum(1) != view.sum().to(drawn.device)).any():
        broken("restricted", "a drawn image does not have the view that it is restricted to", image=model.image)
    interval = support.intervals(everything, view.expand_as(everything))
    expected = _restricted_nats(model, everything, every, interval)
    check_frequencies(drawn, everything, expected, model.image.levels, "image")


def check_draw(model: Distribution, seed: int) -> None:
    """Checks the laws `draw`, `range` (of drawn images) and `known` (known pixels keep their values)."""
    sampler = reference_sampler()
    features = model.features(3, seed)
    numbers = (5, 0, 2)
    with runs("draw", image=model.image), torch.no_grad():
        drawn = model.draw(features, SampleRequest(numbers, seed), sampler)
        again = model.draw(features, SampleRequest(numbers, seed), sampler)
        single = model.draw(_row(features, 1), SampleRequest((0,), seed), sampler)
    _check_drawn(model, drawn, 3)
    if not torch.equal(drawn, again) or not torch.equal(drawn[1:2], single):
        message = "a drawn image differs between calls or batches; it must depend only on its features and its request"
        broken("draw", message, seed=seed)
    mask = torch.rand(3, model.image.height, model.image.width, generator=torch.Generator().manual_seed(seed)) < 0.5
    values = random_images(3, model.image, seed).to(drawn.device)
    known = Known(values, mask.to(drawn.device))
    with runs("draw with known pixels", image=model.image), torch.no_grad():
        completed = model.draw(features, SampleRequest(numbers, seed, known=known), sampler)
    if not torch.equal(attrs.evolve(known, values=completed).filled(), known.filled()):
        broken("known", "drawing changed a known pixel", mask=mask, drawn=completed)


def _check_drawn(model: Distribution, drawn: Tensor, count: int) -> None:
    expected = (count, *model.image.shape)
    if not isinstance(drawn, Tensor) or drawn.dtype != torch.int64 or tuple(drawn.shape) != expected:
        broken("draw", f"draw must return torch.int64 of shape {expected}, got {described(drawn)}")
    outside = ((drawn < 0) | (drawn >= model.image.levels)).flatten(1).any(1)
    if outside.any():
        broken("range", f"a drawn image has a value outside [0, {model.image.levels})", drawn=drawn[outside][0])


def check_saved(model: Distribution, fresh: Distribution, seed: int) -> None:
    """Checks the law `save`: saved and reloaded weights give bitwise identical likelihoods."""
    image, features = random_images(3, model.image, seed), model.features(3, seed)
    with runs("saving and loading the weights"):
        state = {name: tensor.contiguous() for name, tensor in model.module.state_dict().items()}
        fresh.module.double().load_state_dict(load(save(state)))
    fresh.module.eval()
    if not torch.equal(nats(fresh, image, features), nats(model, image, features)):
        message = "likelihoods differ after loading saved weights; part of the model's state is not in state_dict()"
        broken("save", message)


def check_training(model: Distribution, seed: int) -> None:
    """Checks the laws `initialize`, `finite` and `gradient` on a newly built model, in float32 as in training."""
    image = torch.cat([extreme_images(model.image), random_images(4, model.image, seed)])
    features = model.features(len(image), seed)
    model.module.train()
    # Modes are compared module by module, because a frozen module may stay in evaluation mode.
    before = [module.training for module in model.module.modules()]
    with runs("initialize", image=model.image), torch.no_grad():
        model.initialize(image, features)
    if [module.training for module in model.module.modules()] != before:
        broken("initialize", "`initialize` must not change the training mode of any module")
    with runs("training", image=model.image):
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


def check_causality(network: CausalNetwork, features: Tensor | None, seed: int) -> None:
    """Checks the law `causality`, for every pair of pixels: a prediction depends on earlier pixels alone."""
    image = random_images(1, network.image, seed)
    # Pixels are tested in chunks, because one image for each pixel of a large image would not fit into memory.
    for places in torch.arange(network.image.height * network.image.width).split(AT_ONCE):
        _check_ahead(network, features, image, places)


def _check_ahead(network: CausalNetwork, features: Tensor | None, image: Tensor, places: Tensor) -> None:
    """Changes each pixel at `places` (n,) in its own copy of the image.

    Predictions for the pixel and for earlier ones must not change.
    """
    spec = network.image
    before = image.repeat(len(places), 1, 1, 1)
    after = before.clone()
    for row, place in enumerate(places.tolist()):
        pixel = after[row].flatten(1)[:, place]
        pixel.copy_((pixel + 1) % spec.levels)
    if features is not None:
        features = features.expand(len(places), -1, -1, -1)
    with runs("the network", image=spec), torch.no_grad():
        # The original and the changed image have the same index in two batches, because vectorized functions may
        # round differently at different indices of one batch.
        one, two = (network(network.encode(images), features) for images in (before, after))
    expected = (len(places), network.head.parameter_count, spec.height, spec.width)
    if not isinstance(one, Tensor) or tuple(one.shape) != expected:
        broken("shape", f"the network must return parameters of shape {expected} for its head, got {described(one)}")
    # Changes up to rounding are ignored: fast Fourier transforms, for example, spread rounding errors over all pixels.
    differs = ((one - two).abs() > ROUNDING * (1 + one.abs())).any(1).flatten(1)
    ahead = (differs & (torch.arange(differs.shape[1]) <= places[:, None])).nonzero()
    if len(ahead):
        row, place = ahead[0].tolist()
        changed, seen = divmod(int(places[row]), spec.width), divmod(place, spec.width)
        broken(
            "causality",
            f"the prediction for row {seen[0]}, column {seen[1]} depends on the pixel in row {changed[0]}, column "
            f"{changed[1]}, which is {'the predicted pixel itself' if changed == seen else 'a later pixel'}",
            image=image[0],
        )


def check_channels(model: Distribution, seed: int) -> None:
    """Checks the law `channels`: the total of `log_prob_by_channel` equals `log_prob`.

    The values of single channels, if given, sum to the total.
    """
    image, features = random_images(3, model.image, seed), model.features(3, seed)
    total = nats(model, image, features)
    with runs("log_prob_by_channel", image=image), torch.no_grad():
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


def nats(model: Distribution, image: Tensor, features: Tensor | None) -> Tensor:
    """Computes `log_prob` without gradients. Raises `ContractError` if it is not floating point of shape (b,)."""
    with runs("log_prob", image=image), torch.no_grad():
        found = model.log_prob(image, features)
    if not isinstance(found, Tensor) or tuple(found.shape) != (len(image),) or not found.is_floating_point():
        broken("shape", f"log_prob must be floating point of shape ({len(image)},), got {described(found)}")
    return found


def reference_sampler() -> Sampler:
    """The sampler `raster`, which runs the network once for each pixel and is the reference for other samplers."""
    component = load_plugins().get("sampler", "raster", "auxar.testing")
    found: Sampler = component.build(component.config())
    return found


def _row(features: Tensor | None, row: int) -> Tensor | None:
    return None if features is None else features[row : row + 1]


def _rows(features: Tensor | None, rows: Tensor) -> Tensor | None:
    return None if features is None else features[rows]


def _rows_of(interval: Interval, rows: Tensor) -> Interval:
    return Interval(interval.low[rows], interval.high[rows])


def _dtypes(spec: ImageSpec) -> list[torch.dtype]:
    return [dtype for dtype in (torch.uint8, torch.int32) if spec.levels - 1 <= torch.iinfo(dtype).max]
