"""The contract check of heads."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import attrs
import torch
from hypothesis import strategies as st
from torch import Tensor

from auxar.model import Adjustments, Head, ImageSpec, Interval, RestrictableHead
from auxar.testing.adjustments import check_adjustments
from auxar.testing.centers import check_around
from auxar.testing.conditionals import check_conditionals
from auxar.testing.examples import SEEDS, all_images, random_images
from auxar.testing.frequencies import CAREFUL, check_alike, check_frequencies
from auxar.testing.laws import (
    broken,
    channels_last,
    columns_first,
    described,
    devices,
    fitting,
    keeps_state,
    runs,
    search,
)
from auxar.testing.pixels import Possible, drawn_pixels, normal_noise, random_intervals, random_uniforms
from auxar.testing.starting import check_start

EXAMPLES = 20
"""The number of examples that the search tries."""
HEAD_SIZES = st.sampled_from([0.1, 1.0, 5.0, 30.0])
"""Standard deviations of random parameters. With the largest, most values have almost no probability."""
COUNTED_SIZE = 0.7
"""Standard deviation of random parameters in the checks of frequencies, in which many values must be likely."""
MODERATE = 1.0
"""The largest standard deviation of parameters for which float32 results must agree with float64 results."""
CLOSE = 1e-8
"""The relative and absolute tolerance of float64 log-likelihoods that are computed in two ways."""
NARROW = 1e-3
"""The relative and absolute tolerance of float32 log-likelihoods."""
MOST_VALUES = 5000
"""The largest number of values of a channel, or of a pixel, over which probabilities are summed."""
ROUNDED = 2
"""The largest number of drawn pixels that may differ because the head computes in float32."""
DRAWN = 20000
"""The number of pixels drawn to compare their frequencies with their probabilities."""
COMPARED = 4000
"""The number of pixels drawn to compare drawing rules, and free with restricted draws."""
IMAGES, ROWS, COLUMNS = 3, 2, 3
"""The number and the size of the images in the checks."""
HEAD_SPECS = [
    ImageSpec(channels, height=ROWS, width=COLUMNS, levels=levels)
    for channels, levels in [(1, 2), (1, 5), (3, 2), (3, 3), (2, 4), (4, 3), (1, 16), (3, 16), (1, 256), (3, 256)]
]
HOT, USUAL, COLD = Adjustments(temperature=2.0), Adjustments(), Adjustments(temperature=0.5)
CENTERS, REDUCED, SHARP = Adjustments(centers=True), Adjustments(reduction=0.6), Adjustments(reduction=50.0)
FROZEN = Adjustments(centers=True, temperature=0.01)
MIXED = Adjustments(reduction=0.6, temperature=100.0, min_weight=0.05)
HEAVY = Adjustments(centers=True, min_weight=0.95)
ADJUSTMENTS = (USUAL, CENTERS, FROZEN, MIXED)
"""The adjustments with which drawn pixels must be valid and reproducible."""


def check_head(
    build: Callable[[Any, ImageSpec], Head], config: object, *, images: Sequence[ImageSpec] | None = None
) -> None:
    """Checks the head that `build(config, image)` returns, with random parameters, pixels and intervals.

    The laws:

    - `build`: the only error that `build` raises is `UserError`, for specs that it does not support.
    - `spec`: `build` returns an `auxar.Head`; `parameter_count` is an integer ≥ 1, `uniform_count` and
      `restricted_uniform_count` are integers ≥ 0.
    - `shape`: `log_prob` has shape (b, h, w), and the other log-likelihoods have shape (b, c, h, w).
    - `finite`: log-likelihoods of values, and of values in their intervals, are finite, also if they are tiny.
    - `range`: no probability is greater than 1, and drawn values lie in [0, levels), for every rule.
    - `determinism`: equal arguments give equal results, also in memory that held other arguments before.
    - `inputs`: no method changes its arguments.
    - `state`: no method changes torch's gradient mode or default dtype, or draws from or seeds torch's random numbers.
    - `batch`: the results for a pixel do not depend on the other pixels, or on how many there are.
    - `layout`: results do not depend on the memory layout of the arguments.
    - `dtype`: an image has the same log-likelihoods in uint8, int32 and int64.
    - `precision`: log-likelihoods are float32 or float64. Parameters in bfloat16 give the same as in float32, and
      parameters in float32 nearly the same as in float64. Drawn pixels are the same for parameters in all three, except
      for few.
    - `channels`: `channel_log_prob` sums to `log_prob`. Results for a channel do not depend on later channels, and
      `channel_log_mass` does not depend on the value of its own channel.
    - `normalization`: the probabilities of all values of a channel, and of all values of a pixel, sum to 1.
    - `draw`: `draw` and `draw_restricted` return int64 of shape (n, c).
    - `draws`: the frequencies of drawn pixels match their probabilities, and those of the values of a channel match
      their probabilities given the earlier channels.
    - `rule`: with all adjustments, `draw_restricted` draws the first channel like `draw` if all values are allowed. A
      lower temperature does not make likely pixels rarer. If a reduction of scales has an effect, values lie closer to
      the centers of components, and a very large reduction draws the centers.
    - `adjustments`: pixels drawn with and without an adjustment are the same if `understands` leaves its name out, and
      some differ if it has the name. A head with None passes.
    - `around`: the head is `centered` if its `integer_head` is. A centered head moves parameters in the same way for
      any number of pixels, in float32 or float64. A center of 0 changes nothing, and the mean of the first channel is
      greater around a higher center.
    - `start`: `initial_parameters` returns None, or finite numbers of shape (parameter_count,) with which the images
      have finite log-likelihoods, also if all their pixels are equal, and around any centers if the head is `centered`.
    - `gradient`: log-likelihoods depend on the parameters, and all gradients are finite.
    - `device`: log-likelihoods on a GPU equal those on the CPU up to rounding.
    - `runs`: valid input raises no exception.

    The laws of an `auxar.RestrictableHead`:

    - `mass`: `channel_log_mass` is the log of the summed probabilities of the values in the interval, also for
      intervals that are empty or extend beyond [0, levels).
    - `restricted`: `restricted_log_prob` is the log-likelihood of a value minus the mass of its interval, and -∞ for
      values outside; the probabilities of the values in an interval sum to 1.
    - `inside`: `draw_restricted` draws each channel from its interval, for every rule.
    - `walk`: for one channel after another, `draw_restricted` gets the interval once and then passes on the values that
      it returns.

    `normalization`, `mass` and `restricted` are checked for images with few levels, and sums over all values of a pixel
    and the frequencies of pixels on specs so small that all pixels can be enumerated. `images` lists the image specs to
    build the head for. `build` must accept each of them. By default, specs of 1 to 4 channels are tried, and specs that
    `build` refuses with `UserError` are skipped.

    Raises `ContractError` if a law is broken. Warns if no spec is small enough to sum over all its pixels.
    """
    specs = fitting(lambda spec: build(config, spec), images or HEAD_SPECS, images is not None, "images")

    def check(spec: ImageSpec, seed: int, size: float) -> None:
        check_likelihoods(build(config, spec), spec, seed, size)

    search(check, EXAMPLES, spec=st.sampled_from(specs), seed=SEEDS, size=HEAD_SIZES)
    for seed, spec in enumerate(specs):
        head = build(config, spec)
        check_conditionals(head, spec, seed)
        check_start(head, attrs.evolve(spec, height=ROWS, width=COLUMNS), seed)
    counted = [spec for spec in specs if spec.levels**spec.channels <= MOST_VALUES]
    for seed, spec in enumerate(counted):
        check_drawn_pixels(build(config, spec), spec, seed)
    if not counted:
        message = f"no accepted image spec has at most {MOST_VALUES:,} possible pixels"
        warnings.warn(f"the law draws and sums over whole pixels were not checked: {message}", stacklevel=2)
    check_adjustments(build, config, specs)


def check_likelihoods(head: Head, spec: ImageSpec, seed: int, size: float) -> None:
    """Checks all laws of a head but `draws`, for images with the channels and levels of `spec`.

    `size` is the standard deviation of the parameters.
    """
    _check_counts(head)
    spec = attrs.evolve(spec, height=ROWS, width=COLUMNS)
    case = _Case(
        head,
        spec,
        normal_noise((IMAGES, head.parameter_count, ROWS, COLUMNS), seed) * size,
        random_images(IMAGES, spec, seed),
        random_intervals((IMAGES, *spec.shape), spec.levels, seed),
    )
    found = case.likelihoods()
    _check_range(case, found)
    _check_repeated(case, found)
    _check_precision(case, found, size)
    if spec.levels**spec.channels <= MOST_VALUES:
        _check_pixel_values(case)
    _check_channels(case, found)
    if spec.levels <= MOST_VALUES:
        for channel in range(spec.channels):
            _check_channel_values(case, channel, seed)
    if isinstance(head, RestrictableHead):
        _check_agreement(case, head, found)
    _check_gradients(case)
    check_around(head, spec, case.parameters)
    for device in devices()[1:]:
        for name, nats in case.with_all(Tensor.to, device).likelihoods().items():
            if not torch.allclose(nats.cpu(), found[name], rtol=1e-6, atol=1e-6):
                broken("device", f"{name} on {device} differs from {name} on the CPU", image=spec)
    _check_draw(case, seed)


def check_drawn_pixels(head: Head, spec: ImageSpec, seed: int) -> None:
    """Checks the law `draws`, for a spec whose pixels can be enumerated."""
    pixels = all_images(attrs.evolve(spec, height=1, width=1)).flatten(1)
    parameters = normal_noise((1, head.parameter_count), seed) * COUNTED_SIZE
    many = parameters.expand(DRAWN, -1)
    image, every = pixels.T[None, :, None, :], parameters[..., None, None].expand(-1, -1, 1, len(pixels))
    with runs("log_prob", image=spec), torch.no_grad():
        nats = head.log_prob(every, image).flatten()
    drawn = drawn_pixels(head, spec, many, random_uniforms((DRAWN, head.uniform_count), seed), Adjustments())
    check_frequencies(drawn, pixels, nats, spec.levels, "pixel")
    _check_rules(head, spec, parameters, seed)
    if not isinstance(head, RestrictableHead):
        return
    uniforms = random_uniforms((DRAWN, head.restricted_uniform_count), seed)
    for turn in range(2):
        possible = Possible.random(1, spec, seed + turn)
        bounds = possible.of(pixels)
        interval = Interval(*(values.T[None, :, None, :] for values in (bounds.low, bounds.high)))
        with runs("restricted_log_prob", image=spec), torch.no_grad():
            nats = head.restricted_log_prob(every, image, interval).sum(1).flatten()
        drawn = drawn_pixels(head, spec, many, uniforms, Adjustments(), possible)
        check_frequencies(drawn, pixels, nats, spec.levels, "pixel")


def _check_rules(head: Head, spec: ImageSpec, parameters: Tensor, seed: int) -> None:
    """Checks the law `rule`, with draws of one pixel whose parameters are those of `parameters`, (1, count).

    A restricted draw whose intervals contain all values has the distribution of a free draw. This is checked for the
    first channel, because some heads choose a mixture component once for each free pixel, but again for each restricted
    channel. A lower temperature makes likely pixels more frequent, unless the head ignores it. If the rule `reduced`
    has an effect, it draws values closer to those of `map`, and in the limit of scales of 0 the same.
    """
    many = parameters.expand(COMPARED, -1)
    everything = Possible.everything(spec)
    drawn, likely = {}, {}
    for adjustments in (*ADJUSTMENTS, HOT, COLD, REDUCED, SHARP, HEAVY):
        free = drawn_pixels(head, spec, many, random_uniforms((COMPARED, head.uniform_count), seed), adjustments)
        drawn[adjustments] = free
        if isinstance(head, RestrictableHead):
            uniforms = random_uniforms((COMPARED, head.restricted_uniform_count), seed + 1)
            restricted = drawn_pixels(head, spec, many, uniforms, adjustments, everything)
            message = "the first channel of draw_restricted differs from that of draw, though all values are allowed"
            check_alike(free[:, 0], restricted[:, 0], "rule", message, adjustments=adjustments, image=spec)
        with runs("log_prob", image=spec), torch.no_grad():
            likely[adjustments] = head.log_prob(many[..., None, None], free[..., None, None]).double()
    for warmer, colder in ((HOT, USUAL), (USUAL, COLD)):
        first, second = likely[warmer], likely[colder]
        if second.mean().item() < first.mean().item() - _error(first, second):
            temperatures = f"{colder.temperature:g} are less likely than pixels drawn at {warmer.temperature:g}"
            broken("rule", f"pixels drawn at temperature {temperatures}", image=spec)
    if not torch.equal(drawn[REDUCED], drawn[USUAL]):
        for first, second in zip(drawn[SHARP].unbind(1), drawn[CENTERS].unbind(1), strict=True):
            message = "scales that are reduced until they vanish must draw the centers"
            check_alike(first, second, "rule", message, image=spec)
        usual, reduced = (
            (drawn[adjustments] - drawn[CENTERS])[:, 0].abs().double() for adjustments in (USUAL, REDUCED)
        )
        if reduced.mean().item() > usual.mean().item() + _error(usual, reduced):
            broken("rule", "with reduced scales, the values that are drawn lie further from the centers", image=spec)


def _error(first: Tensor, second: Tensor) -> float:
    """The largest difference of the means of two samples, (n,) each, that counts as coincidence."""
    return CAREFUL * ((first.var() + second.var()) / len(first)).sqrt().item()


@attrs.frozen(eq=False)
class _Case:
    """A head with arguments for its methods."""

    head: Head
    spec: ImageSpec
    parameters: Tensor
    """Parameters, (b, parameter_count, h, w)."""
    image: Tensor
    """Integers, (b, c, h, w)."""
    interval: Interval
    """Intervals in [0, levels) that are not empty, (b, c, h, w)."""

    @property
    def inside(self) -> Tensor:
        """Whether each value lies in its interval, (b, c, h, w)."""
        return (self.interval.low <= self.image) & (self.image <= self.interval.high)

    def with_all(self, convert: Callable[..., Tensor], *arguments: object) -> _Case:
        """The case with each of its tensors converted."""
        tensors = (self.parameters, self.image, self.interval.low, self.interval.high)
        parameters, image, low, high = (convert(values, *arguments) for values in tensors)
        return attrs.evolve(self, parameters=parameters, image=image, interval=Interval(low, high))

    def likelihoods(self) -> dict[str, Tensor]:
        """The results of all methods that compute log-likelihoods, by name. Checks their shapes, and `inputs`."""
        arguments = (self.parameters, self.image, self.interval.low, self.interval.high)
        before = [values.clone() for values in arguments]
        found: dict[str, Any] = {}
        with keeps_state("the head"), runs("the head", image=self.spec):
            found["log_prob"] = self.head.log_prob(self.parameters, self.image)
            channels = self.head.channel_log_prob(self.parameters, self.image)
            if channels is not None:
                found["channel_log_prob"] = channels
            if isinstance(self.head, RestrictableHead):
                found["channel_log_mass"] = self.head.channel_log_mass(self.parameters, self.image, self.interval)
                found["restricted_log_prob"] = self.head.restricted_log_prob(self.parameters, self.image, self.interval)
        whole = tuple(self.image.shape)
        for name, nats in found.items():
            shape = (whole[0], *whole[2:]) if name == "log_prob" else whole
            if not isinstance(nats, Tensor) or not nats.is_floating_point() or tuple(nats.shape) != shape:
                broken("shape", f"{name} must be floating point of shape {shape}, got {described(nats)}")
        if not all(torch.equal(*pair) for pair in zip(arguments, before, strict=True)):
            broken("inputs", "computing log-likelihoods changed the parameters, the image or the interval")
        return found


def _check_counts(head: Head) -> None:
    if not isinstance(head, Head):
        broken("spec", f"build must return an auxar.Head, got {type(head).__name__}")
    counts = {"parameter_count": 1, "uniform_count": 0}
    if isinstance(head, RestrictableHead):
        counts["restricted_uniform_count"] = 0
    for name, least in counts.items():
        count = getattr(head, name, None)
        if not isinstance(count, int) or count < least:
            broken("spec", f"`{name}` must be an integer ≥ {least}, got {count!r}")


def _check_range(case: _Case, found: dict[str, Tensor]) -> None:
    """Checks the laws `finite` and `range`, and where `restricted_log_prob` is -∞."""
    for name, nats in found.items():
        usual = nats
        if name == "restricted_log_prob":
            if (nats[~case.inside] != -torch.inf).any():
                broken("restricted", "restricted_log_prob must be -∞ for values outside of their interval")
            usual = nats[case.inside]
        if not usual.isfinite().all():
            broken("finite", f"{name} is not finite", image=case.spec, **{name: usual[~usual.isfinite()][:1]})
        if (usual > CLOSE).any():
            broken("range", f"{name} gives a probability greater than 1", image=case.spec, **{name: usual.max()})


def _check_repeated(case: _Case, found: dict[str, Tensor]) -> None:
    """Checks the laws `determinism`, `dtype` and `batch` of log-likelihoods."""
    # Memory is soon used again for other parameters, so a head must not recognize parameters by their memory.
    parameters = -case.parameters
    again = attrs.evolve(case, parameters=parameters)
    again.likelihoods()
    parameters.copy_(case.parameters)
    for name, nats in again.likelihoods().items():
        if not torch.equal(nats, found[name]):
            broken("determinism", f"{name} differs between calls with equal arguments")
    for dtype in (torch.uint8, torch.int32):
        if case.spec.levels - 1 <= torch.iinfo(dtype).max:
            for name, nats in attrs.evolve(case, image=case.image.to(dtype)).likelihoods().items():
                if not torch.equal(nats, found[name]):
                    broken("dtype", f"{name} of an image in {dtype} differs from that in torch.int64", image=case.spec)
    for numbers, layout in _arrangements():
        arranged = case.with_all(_arranged, numbers)
        for name, nats in arranged.with_all(layout).likelihoods().items():
            expected = _arranged(found[name], numbers)
            if torch.allclose(nats, expected, rtol=CLOSE, atol=CLOSE):
                continue
            if torch.allclose(arranged.likelihoods()[name], expected, rtol=CLOSE, atol=CLOSE):
                broken("layout", f"{name} depends on the memory layout of its arguments", image=case.spec)
            message = f"{name} of a pixel depends on the other pixels or on the size of the images or of the batch"
            broken("batch", message, image=case.spec, expected=expected, found=nats)


def _arrangements() -> Iterator[tuple[Tensor, Callable[[Tensor], Tensor]]]:
    """Other arrangements of the pixels of a case: numbers of pixels, (b, h, w), and a memory layout.

    The pixels are those of the case in reverse order, those of a larger batch of larger images, and single ones.
    """
    count = IMAGES * ROWS * COLUMNS
    yield torch.arange(count).flip(0).view(IMAGES, ROWS, COLUMNS), columns_first
    yield (torch.arange(11 * 5 * 7) % count).view(11, 5, 7), channels_last
    for number in (1, count - 2):
        yield torch.tensor([[[number]]]), torch.clone


def _arranged(values: Tensor, numbers: Tensor) -> Tensor:
    """The pixels with the given numbers, (b, h, w), of a tensor in which pixels have one value or several channels."""
    picked = values.flatten(-2)[numbers // (ROWS * COLUMNS), ..., numbers % (ROWS * COLUMNS)]
    return picked if picked.dim() == 3 else picked.movedim(3, 1).contiguous()


def _check_precision(case: _Case, found: dict[str, Tensor], size: float) -> None:
    results = {
        dtype: attrs.evolve(case, parameters=case.parameters.bfloat16().to(dtype)).likelihoods()
        for dtype in (torch.bfloat16, torch.float32, torch.float64)
    }
    for name in found:
        coarse, narrow, exact = (nats[name] for nats in results.values())
        for dtype, nats in ((torch.bfloat16, coarse), (torch.float32, narrow)):
            if nats.dtype not in (torch.float32, torch.float64):
                broken("precision", f"{name} must be float32 or float64, got {nats.dtype} for parameters in {dtype}")
        if found[name].dtype != torch.float64:
            broken(
                "precision", f"{name} must be torch.float64 for parameters in torch.float64, got {found[name].dtype}"
            )
        if not torch.allclose(coarse.double(), narrow.double(), rtol=1e-5, atol=1e-5):
            broken("precision", f"{name} of parameters in bfloat16 differs from that of the same values in float32")
        if name == "restricted_log_prob":
            narrow, exact = narrow[case.inside], exact[case.inside]
        if not narrow.isfinite().all():
            broken("finite", f"{name} is not finite for parameters in float32", image=case.spec)
        if size <= MODERATE and not torch.allclose(narrow.double(), exact, rtol=NARROW, atol=NARROW):
            broken("precision", f"{name} in float32 differs from that in float64", float32=narrow, float64=exact)


def _check_channels(case: _Case, found: dict[str, Tensor]) -> None:
    """Checks the law `channels`."""
    if "channel_log_prob" in found:
        total = found["channel_log_prob"].sum(1)
        if not torch.allclose(total, found["log_prob"], rtol=CLOSE, atol=CLOSE):
            broken("channels", "channel_log_prob must add up to log_prob", channels=total, whole=found["log_prob"])
    for channel in range(case.spec.channels):
        for name, nats in found.items():
            # A mass is that of an interval, so it does not depend on the value of its own channel either.
            own = channel if name == "channel_log_mass" else channel + 1
            if name == "log_prob" or own == case.spec.channels:
                continue
            image = case.image.clone()
            image[:, own:] = case.spec.levels - 1 - image[:, own:]
            changed = attrs.evolve(case, image=image).likelihoods()[name]
            if not torch.allclose(changed[:, channel], nats[:, channel], rtol=CLOSE, atol=CLOSE):
                broken(
                    "channels",
                    f"{name} of channel {channel} depends on the values of channels {own} and later",
                    image=case.spec,
                )


def _check_agreement(case: _Case, head: RestrictableHead, found: dict[str, Tensor]) -> None:
    """Checks that the methods of a restrictable head agree, which is possible for any number of levels."""
    with runs("channel_log_mass", image=case.spec):
        single = head.channel_log_mass(case.parameters, case.image, Interval(case.image, case.image))
    if not torch.allclose(single.sum(1), found["log_prob"], rtol=CLOSE, atol=CLOSE):
        broken(
            "mass",
            "channel_log_mass of intervals of a single value must add up to log_prob",
            channels=single.sum(1),
            whole=found["log_prob"],
        )
    difference = (single - found["channel_log_mass"])[case.inside]
    restricted = found["restricted_log_prob"][case.inside]
    # The rounding error of a difference grows with the numbers that are subtracted.
    error = CLOSE * (1 + single[case.inside].abs())
    if ((restricted - difference).abs() > error).any():
        message = "restricted_log_prob must be the log-likelihood of the value minus channel_log_mass"
        broken("restricted", message, image=case.spec, expected=difference, found=restricted)


def _check_channel_values(case: _Case, channel: int, seed: int) -> None:
    """Checks the sums over all values of a channel, given the earlier channels, for the first pixel of each image."""
    head, levels = case.head, case.spec.levels
    parameters = case.parameters[:, :, :1, :1].expand(-1, -1, 1, levels)
    image = case.image[:, :, :1, :1].repeat(1, 1, 1, levels)
    values = torch.arange(levels)
    image[:, channel] = values
    with runs("channel_log_prob", image=case.spec):
        nats = head.channel_log_prob(parameters, image)
        if nats is None and isinstance(head, RestrictableHead):
            nats = head.channel_log_mass(parameters, image, Interval(image, image))
    if nats is None:
        return
    nats = nats[:, channel, 0]
    total = nats.logsumexp(1)
    if not torch.allclose(total, torch.zeros_like(total), rtol=0, atol=CLOSE):
        message = f"the probabilities of all values of channel {channel} must add up to 1, given the earlier channels"
        broken("normalization", message, image=case.spec, sums=total.exp())
    if not isinstance(head, RestrictableHead):
        return
    for bounds in _written(levels, len(image), seed):
        interval = Interval(*(ends[:, None, None, None].expand(image.shape) for ends in (bounds.low, bounds.high)))
        # Intervals are clipped to [0, levels), and an empty interval stands for its lower end.
        low = bounds.low.clamp(0, levels - 1)[:, None]
        high = torch.maximum(bounds.high.clamp(max=levels - 1)[:, None], low)
        expected = nats.masked_fill((values < low) | (values > high), -torch.inf).logsumexp(1)
        example = {"image": case.spec, "low": bounds.low, "high": bounds.high}
        with runs("channel_log_mass", **example):
            # One value is enough: `_check_channels` checks that the mass of a channel does not depend on its value.
            first = Interval(interval.low[..., :1], interval.high[..., :1])
            mass = head.channel_log_mass(parameters[..., :1], image[..., :1], first)[:, channel].flatten()
        if not torch.allclose(mass, expected, rtol=CLOSE, atol=CLOSE):
            message = f"channel_log_mass of channel {channel} must be the log-probability of the values in the interval"
            broken("mass", message, **example, expected=expected, found=mass)
        inside = (values >= bounds.low[:, None]) & (values <= bounds.high[:, None])
        if not inside.any(1).all():
            continue
        with runs("restricted_log_prob", **example):
            restricted = head.restricted_log_prob(parameters, image, interval)[:, channel, 0]
        if (restricted[~inside] != -torch.inf).any():
            broken("restricted", "restricted_log_prob must be -∞ for values outside of their interval", **example)
        sums = restricted.logsumexp(1)
        if not torch.allclose(sums, torch.zeros_like(sums), rtol=0, atol=CLOSE):
            message = f"the probabilities of the values of channel {channel} in the interval must add up to 1"
            broken("restricted", message, **example, sums=sums.exp())


def _check_pixel_values(case: _Case) -> None:
    """Checks that the probabilities of all values of a pixel add up to 1."""
    pixels = all_images(attrs.evolve(case.spec, height=1, width=1)).flatten(1)
    with runs("log_prob", image=case.spec):
        nats = case.head.log_prob(
            case.parameters[:1, :, :1, :1].expand(-1, -1, 1, len(pixels)), pixels.T[None, :, None, :]
        )
    total = nats.double().logsumexp(2).exp().item()
    if abs(total - 1) > 1e-6:
        message = f"the probabilities of all {len(pixels):,} values of a pixel must add up to 1, got {total:.9g}"
        broken("normalization", message, image=case.spec)


def _check_gradients(case: _Case) -> None:
    for dtype in (torch.float32, torch.float64):
        parameters = case.parameters.to(dtype).requires_grad_()
        found = attrs.evolve(case, parameters=parameters).likelihoods()
        if "restricted_log_prob" in found:
            # A restricted decoder is trained on images inside of the intervals.
            found["restricted_log_prob"] = found["restricted_log_prob"][case.inside]
        for name, nats in found.items():
            if not nats.numel():
                continue
            if not nats.requires_grad:
                broken("gradient", f"{name} does not depend on the parameters, so it has no gradient")
            (gradient,) = torch.autograd.grad(nats.sum(), parameters, retain_graph=True)
            if not gradient.isfinite().all():
                broken("gradient", f"the gradient of {name} is not finite in {dtype}", image=case.spec)


def _check_draw(case: _Case, seed: int) -> None:
    """Checks the laws `draw`, `range`, `inside`, `walk`, `determinism`, `batch` and `inputs` of drawn pixels."""
    head, spec = case.head, case.spec
    parameters = case.parameters.permute(0, 2, 3, 1).flatten(0, 2)
    count = len(parameters)
    uniforms = {"draw": random_uniforms((count, head.uniform_count), seed)}
    if isinstance(head, RestrictableHead):
        uniforms["draw_restricted"] = random_uniforms((count, head.restricted_uniform_count), seed)
    possible = Possible.random(count, spec, seed)
    everything, reverse, one = torch.arange(count), torch.arange(count - 1, -1, -1), torch.tensor([count // 2])
    for name, adjustments in itertools.product(uniforms, ADJUSTMENTS):

        def draw(
            rows: Tensor | slice, given: Tensor = parameters, name: str = name, adjustments: Adjustments = adjustments
        ) -> Tensor:
            within = possible.rows(rows) if name == "draw_restricted" else None
            return drawn_pixels(head, spec, given[rows], uniforms[name][rows], adjustments, within)

        drawn = draw(everything)
        if not torch.equal(draw(everything), drawn):
            broken("determinism", f"{name} differs between calls with equal arguments", adjustments=adjustments)
        if not torch.equal(draw(reverse), drawn[reverse]) or not torch.equal(draw(one), drawn[one]):
            broken("batch", f"a pixel of {name} depends on the other pixels", adjustments=adjustments)
        if not torch.equal(draw(slice(None), columns_first(parameters)), drawn):
            broken("layout", f"pixels of {name} depend on the memory layout of the parameters", adjustments=adjustments)
        coarse = parameters.bfloat16()
        exact = draw(slice(None), coarse.double())
        for dtype in (torch.float32, torch.bfloat16):
            differs = (draw(slice(None), coarse.to(dtype)) != exact).any(1)
            # Noise at the very ends of (0, 1) may be rounded to 0 or 1.
            if differs[1:-1].sum() > ROUNDED:
                message = f"{name} draws other pixels for parameters in {dtype} than for the same values in float64"
                broken("precision", message, image=spec, adjustments=adjustments)


def _written(levels: int, count: int, seed: int) -> Iterator[Interval]:
    """Intervals (count,) as supports may give them: random ones, and ones that are empty or extend beyond the range."""
    yield random_intervals((count,), levels, seed)
    found = random_intervals((count,), levels, seed + 1)
    yield Interval(found.low - levels * (found.low == 0), found.high + 7 * (found.high == levels - 1))
    yield Interval(found.low, found.low - 1 - seed % 3)
    yield Interval(torch.full((count,), levels + seed % 3), torch.full((count,), levels + 4))
    yield Interval(torch.full((count,), -5), torch.full((count,), -1 - seed % 3))
