"""Checks of the laws that priors and decoders share, as both are distributions over images."""

from __future__ import annotations

from collections.abc import Callable

import attrs
import torch
from safetensors.torch import load, save
from torch import Tensor, nn

from auxar.interfaces import (
    ByChannel,
    CausalNetwork,
    DrawRule,
    ImageSpec,
    Interval,
    Known,
    Restriction,
    Sampler,
    SampleRequest,
    Support,
)
from auxar.plugins import load_plugins
from auxar.sources import DrawSource
from auxar.testing.drawing import DistinctSampler
from auxar.testing.examples import all_images, extreme_images, random_images, sum_support
from auxar.testing.frequencies import check_frequencies
from auxar.testing.laws import (
    broken,
    channels_last,
    columns_first,
    described,
    devices,
    runs,
    unchanged,
    untouched,
)

CLOSE = 1e-9
"""The relative and absolute tolerance of float64 results that may differ by the order of summation."""
ROUNDING = 1e-12
"""The relative and absolute tolerance of the causality check, in float64. Smaller changes count as rounding."""
AT_ONCE = 64
"""The batch size of the causality check, in which each image has a different pixel changed."""
DRAWN = 5000
"""The number of images drawn to compare their frequencies with the model's probabilities."""
COMPARED = 64
"""The number of images drawn to compare requests that differ in one part."""
DIFFERENT = 20
"""The least number of neighbors among the compared images that must differ, so that equal draws are no coincidence."""
FORMS = ((torch.uint8, channels_last), (torch.int16, columns_first), (torch.int32, torch.clone))
"""The dtypes and memory layouts in which images are passed. An image in the first form is as `data` may give it."""
DRAW_RULES = (DrawRule(temperature=3.0), DrawRule("reduced", reduction=0.8), DrawRule("map"))
"""The drawing rules that are checked besides the ancestral one."""


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
    exact: bool = True
    """Whether `log_prob` is the log-likelihood itself, not a lower bound of it."""

    def features(self, count: int, seed: int = 0) -> Tensor | None:
        """Normally distributed features for `count` images, with device and dtype of the weights. None for a prior."""
        if not self.features_channels:
            return None
        shape = (count, self.features_channels, self.image.height, self.image.width)
        noise = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
        weight = next(self.module.parameters(), noise)
        return noise.to(weight.device, weight.dtype)


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
    turned = nats(model, image[order], _rows(features, order))[order]
    last = len(image) - 1
    alone = nats(model, image[last:], _rows(features, order[:1]))
    if not _close(turned, found) or not _close(alone, found[last:]):
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
        if _close(nats(model, *copies), found):
            continue
        if _close(nats(model, image.to(dtype), features), found):
            broken("layout", "log_prob depends on the memory layout of the images or features", image=model.image)
        broken("dtype", f"log_prob of images in {dtype} differs from that in torch.int64", image=model.image)


def _close(first: Tensor, second: Tensor) -> bool:
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


def check_draws(model: Distribution, seed: int) -> None:
    """Checks the law `draws`: on a tiny spec, the frequencies of drawn images match their probabilities."""
    everything = all_images(model.image)
    features = model.features(1, seed)
    many = None if features is None else features.expand(DRAWN, -1, -1, -1)
    drawn = draws(model, many, SampleRequest(tuple(range(DRAWN)), seed))
    # The log-likelihood of a lower bound says nothing about frequencies.
    if model.exact:
        every = None if features is None else features.expand(len(everything), -1, -1, -1)
        check_frequencies(drawn, everything, nats(model, everything, every), model.image.levels, "image")


def draws(
    model: Distribution, features: Tensor | None, request: SampleRequest, sampler: Sampler | None = None
) -> Tensor:
    """Draws images, by default with `DistinctSampler`. Checks the laws `draw`, `range`, `inputs` and `mode`."""
    with unchanged("draw", model.module, features), runs("draw", image=model.image, rule=request.rule):
        drawn = model.draw(features, request, sampler or DistinctSampler())
    expected = (len(request.numbers), *model.image.shape)
    if not isinstance(drawn, Tensor) or drawn.dtype != torch.int64 or tuple(drawn.shape) != expected:
        broken("draw", f"draw must return torch.int64 of shape {expected}, got {described(drawn)}")
    outside = ((drawn < 0) | (drawn >= model.image.levels)).flatten(1).any(1)
    if outside.any():
        broken("range", f"a drawn image has a value outside [0, {model.image.levels})", drawn=drawn[outside][0])
    return drawn


def check_requests(model: Distribution, seed: int) -> None:
    """Checks that drawn images depend on each part of the request: the laws `draw`, `known` and `rule`."""
    features = model.features(1, seed)
    many = None if features is None else features.expand(COMPARED, -1, -1, -1)
    request = SampleRequest(tuple(range(COMPARED)), seed)
    drawn = draws(model, many, request)
    others = {
        "another seed": draws(model, many, attrs.evolve(request, seed=seed + 1)),
        "another depth": draws(model, many, attrs.evolve(request, depth=1)),
        "other numbers": draws(model, many, attrs.evolve(request, numbers=tuple(range(1, COMPARED + 1)))),
    }
    if (drawn[1:] != drawn[:-1]).flatten(1).any(1).sum() >= DIFFERENT:
        for what, other in others.items():
            if torch.equal(other, drawn):
                broken("draw", f"a request with {what} draws the same images", image=model.image)
        if torch.equal(others["another seed"][:-1], drawn[1:]):
            message = "number n of seed s + 1 draws the same image as number n + 1 of seed s"
            broken("draw", f"{message}; use the noise of SampleRequest.uniforms", image=model.image)
    known = random_known(model.image, COMPARED, seed)
    for rule in DRAW_RULES:
        other = attrs.evolve(request, rule=rule, known=known)
        found = draws(model, many, other)
        if ((found < known.lowest()) | (found > known.highest(model.image.levels))).any():
            broken("known", "draw must keep known pixels and the limits of the other pixels", image=model.image)
        if model.network is None:
            continue
        with torch.no_grad():
            expected = DistinctSampler().sample(model.network, many, DrawSource.of(model.network, other))
        if not torch.equal(found, expected):
            message = "under this rule, draw must return the images that a sampler draws with auxar.DrawSource"
            broken("rule", message, image=model.image, rule=rule)


def random_known(image: ImageSpec, count: int, seed: int) -> Known:
    """Random known pixels, and random limits of the other pixels, for `count` images."""
    mask = torch.rand(count, image.height, image.width, generator=torch.Generator().manual_seed(seed)) < 0.3
    ends = random_images(count, image, seed + 1), random_images(count, image, seed + 2)
    limits = Interval(torch.minimum(*ends), torch.maximum(*ends))
    return Known(random_images(count, image, seed), mask, limits)


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
    found, _ = _restricted_nats(model, everything, every, interval)
    if (found[~inside] != -torch.inf).any():
        broken("restricted", "log_prob restricted to intervals must be -∞ for images with a value outside")
    total = found[inside].double().logsumexp(0).exp().item()
    if not abs(total - 1) <= 1e-6:
        message = f"the restricted probabilities of all images inside of intervals must add up to 1, got {total:.9g}"
        broken("restricted", message, low=ends[0], high=ends[1])
    _check_inside(model, everything[inside], _rows(every, inside), _rows_of(interval, inside))
    support = sum_support(model.image, "everything")
    _check_inside(model, everything, every, support.intervals(everything, everything))
    _check_restricted_draws(model, everything, every, support, seed)


def _check_inside(model: Distribution, image: Tensor, features: Tensor | None, interval: Interval) -> None:
    """Checks that the restricted log-likelihoods of images are the free ones minus those of the intervals."""
    assert model.restricted is not None
    free, inputs = nats(model, image, features), (image, features, interval.low, interval.high)
    what = "log_prob_by_channel, with intervals inside"
    with unchanged(what, model.module, *inputs), runs(what, image=model.image), torch.no_grad():
        found = model.restricted.by_channel(image, features, None, interval)
    if not _close(found.total, free):
        broken("restricted", "intervals inside must not change the total of log_prob_by_channel", image=model.image)
    if found.inside is None:
        return
    restricted, channels = _restricted_nats(model, image, features, interval)
    message = "restricted log_prob must be the free one minus `inside`, the log-probability of the intervals"
    if not _close(restricted, free - found.inside.sum(1)):
        expected = free - found.inside.sum(1)
        broken("restricted", message, image=model.image, expected=expected, found=restricted)
    if channels is not None and found.channels is not None and not _close(channels, found.channels - found.inside):
        broken("restricted", f"{message}, also for single channels", image=model.image)


def _restricted_nats(
    model: Distribution, image: Tensor, features: Tensor | None, interval: Interval
) -> tuple[Tensor, Tensor | None]:
    """The restricted log-likelihoods of images, (b,), and those by channel if the model gives them, (b, c).

    Checks that they agree.
    """
    assert model.restricted is not None
    what, inputs = "log_prob, with intervals", (image, features, interval.low, interval.high)
    with unchanged(what, model.module, *inputs), runs(what, image=model.image), torch.no_grad():
        found = model.restricted.log_prob(image, features, interval)
        channels = model.restricted.by_channel(image, features, interval, None)
    if not isinstance(found, Tensor) or tuple(found.shape) != (len(image),) or not found.is_floating_point():
        broken("shape", f"log_prob must be floating point of shape ({len(image)},), got {described(found)}")
    totals = [channels.total, *([] if channels.channels is None else [channels.channels.sum(1)])]
    if not all(total.shape == found.shape and _close(total, found) for total in totals):
        broken("channels", "restricted log_prob_by_channel must add up to restricted log_prob")
    return found, channels.channels


def _check_restricted_draws(
    model: Distribution, everything: Tensor, every: Tensor | None, support: Support, seed: int
) -> None:
    view = random_images(1, model.image, seed)
    many = None if every is None else every[:1].expand(DRAWN, -1, -1, -1)
    request = SampleRequest(tuple(range(DRAWN)), seed, restriction=Restriction(support, view.expand(DRAWN, -1, -1, -1)))
    drawn = draws(model, many, request)
    _check_view(drawn, view, model.image)
    # Other views for each image, and pixels known from images with these views.
    views = random_images(COMPARED, model.image, seed + 1)
    few = _rows(many, torch.arange(COMPARED))
    request = SampleRequest(request.numbers[:COMPARED], seed, restriction=Restriction(support, views))
    _check_view(draws(model, few, request), views, model.image)
    known = attrs.evolve(random_known(model.image, COMPARED, seed), values=views, limits=None)
    completed = draws(model, few, attrs.evolve(request, known=known))
    _check_view(completed, views, model.image, "; pixels of an image with this view are known")
    if not torch.equal(attrs.evolve(known, values=completed).filled(), known.filled()):
        broken("known", "drawing with a restriction changed a known pixel", image=model.image)
    interval = support.intervals(everything, view.expand_as(everything))
    expected, _ = _restricted_nats(model, everything, every, interval)
    check_frequencies(drawn, everything, expected, model.image.levels, "image")


def _check_view(drawn: Tensor, views: Tensor, image: ImageSpec, when: str = "") -> None:
    if (drawn.flatten(1).sum(1) != views.flatten(1).sum(1).to(drawn.device)).any():
        message = "a drawn image does not have the view that it is restricted to"
        broken("restricted", f"{message}{when}", image=image)


def check_draw(model: Distribution, seed: int) -> None:
    """Checks the laws `draw`, `range` (of drawn images) and `known` (known pixels keep their values)."""
    sampler = reference_sampler()
    features = model.features(3, seed)
    numbers = (5, 0, 2)
    drawn = draws(model, features, SampleRequest(numbers, seed), sampler)
    again = draws(model, features, SampleRequest(numbers, seed), sampler)
    single = draws(model, _row(features, 1), SampleRequest((0,), seed), sampler)
    if not torch.equal(drawn, again) or not torch.equal(drawn[1:2], single):
        message = "a drawn image differs between calls or batches; it must depend only on its features and its request"
        broken("draw", message, seed=seed)
    known = attrs.evolve(random_known(model.image, 3, seed), limits=None)
    completed = draws(model, features, SampleRequest(numbers, seed, known=known), sampler)
    if not torch.equal(attrs.evolve(known, values=completed).filled(), known.filled()):
        broken("known", "drawing changed a known pixel", mask=known.mask, drawn=completed)


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
    with untouched("initialize", image, features), runs("initialize", random=True, image=model.image), torch.no_grad():
        model.initialize(image, features)
    if [module.training for module in model.module.modules()] != before:
        broken("initialize", "`initialize` must not change the training mode of any module")
    with unchanged("log_prob", model.module), runs("training", random=True, image=model.image):
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
    """Checks the laws `encode` and `causality`. The latter is checked for every pair of pixels."""
    image = random_images(1, network.image, seed)
    _check_encode(network, image)
    # Pixels are tested in chunks, because one image for each pixel of a large image would not fit into memory.
    for places in torch.arange(network.image.height * network.image.width).split(AT_ONCE):
        _check_ahead(network, features, image, places)


def _check_encode(network: CausalNetwork, image: Tensor) -> None:
    """Checks the law `encode`: each pixel is encoded alone, as samplers do, and in the same way at every place."""
    pixels = image.flatten(2)[0].T[:, :, None, None]
    with unchanged("encode", network, image), runs("encode", image=image), torch.no_grad():
        whole, alone = network.encode(image), network.encode(pixels)
    if whole.dim() != 4 or tuple(whole.shape[2:]) != tuple(image.shape[2:]):
        broken("encode", f"encode must return one vector for each pixel, got {described(whole)}", image=network.image)
    if not torch.equal(alone.flatten(1), whole.flatten(2)[0].T):
        message = "encode must convert each pixel alone and in the same way at every place"
        broken("encode", message, image=network.image)


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
    with unchanged("the network", network, before, after, features), runs("the network", image=spec), torch.no_grad():
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
        if changed is None or not _close(changed[:, :channel], found.channels[:, :channel]):
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


def nats(model: Distribution, image: Tensor, features: Tensor | None) -> Tensor:
    """Computes `log_prob` without gradients. Raises `ContractError` if it is not floating point of shape (b,)."""
    with unchanged("log_prob", model.module, image, features), runs("log_prob", image=image), torch.no_grad():
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
