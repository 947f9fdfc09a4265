"""The interfaces of an auxiliary-variable model p(X, X̂) = p(X̂) p(X | X̂), X̂ = ψ(X).

Kolesnikov & Lampert 2017, equations 2 and 3. Axes are `b c h w` (batch, channel, row, column). Images cross every
interface as integers in [0, levels); scaling to [-1, 1] happens inside networks. Log-likelihoods are nats of
shape (b,). A class here is abstract or final: implementations are complete and are not subclassed.
"""

from __future__ import annotations

import abc
import hashlib
import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from auxar.errors import UserError

if TYPE_CHECKING:
    from auxar.support import DrawnPixels, Interval, Support, Walk

INTEGER_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)
Kind = Literal["view", "prior", "embedding", "decoder", "sampler", "dataset"]
RULES = ("ancestral", "reduced", "map")
MOST_CHANNELS = 4096
MOST_SIDE = 65_536
# Up to here float32, in which networks see values, tells them apart.
MOST_LEVELS = 2**24


def positive(instance: object, attribute: attrs.Attribute, value: float) -> None:
    """attrs validator: the value is greater than zero."""
    if not value > 0:
        raise ValueError(f"{attribute.name} must be greater than 0, got {value!r}")


def at_most(limit: float) -> Callable[[object, attrs.Attribute, float], None]:
    """attrs validator: the value is `limit` or less.

    For sizes, so that a slip of the hand is told at once and not by a machine that runs out of time or memory.
    """

    def check(instance: object, attribute: attrs.Attribute, value: float) -> None:
        if value > limit:
            raise ValueError(f"{attribute.name} must be at most {limit}, got {value!r}")

    return check


@attrs.frozen
class ImageSpec:
    """Shape and range of an image: integers in [0, levels), shape (channels, height, width).

    Examples:
        >>> image = ImageSpec(height=32, width=32)
        >>> image.shape, image.dims
        ((3, 32, 32), 3072)
        >>> print(ImageSpec(1, height=8, width=8, levels=16))
        8×8×1 with 16 levels
    """

    channels: int = attrs.field(default=3, validator=[positive, at_most(MOST_CHANNELS)])
    """Values of a pixel, 1 … 4096."""
    height: int = attrs.field(kw_only=True, validator=[positive, at_most(MOST_SIDE)])
    """Rows, 1 … 65536."""
    width: int = attrs.field(kw_only=True, validator=[positive, at_most(MOST_SIDE)])
    """Columns, 1 … 65536."""
    levels: int = attrs.field(default=256, kw_only=True, validator=[attrs.validators.ge(2), at_most(MOST_LEVELS)])
    """Different values, 0 … levels - 1, that each may take: 2 … 2^24."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """(channels, height, width)."""
        return (self.channels, self.height, self.width)

    @property
    def dims(self) -> int:
        """Number of sub-pixels, the divisor of bits/dim."""
        return self.channels * self.height * self.width

    def __str__(self) -> str:
        return f"{self.height}×{self.width}×{self.channels} with {self.levels} levels"

    def check(self, image: Tensor, what: str = "image") -> None:
        """Raises `UserError` unless `image` is an integer tensor of shape (b, channels, height, width)."""
        if image.dtype not in INTEGER_DTYPES:
            raise UserError(f"{what}: expected integers in [0, {self.levels}), got a tensor of {image.dtype}")
        if image.dim() != 4 or tuple(image.shape[1:]) != self.shape:
            raise UserError(f"{what}: expected shape (b, {', '.join(map(str, self.shape))}), got {tuple(image.shape)}")

    def check_range(self, image: Tensor, what: str = "image") -> None:
        """Raises `UserError` unless every value lies in [0, levels). Waits for the device."""
        if image.numel() and (int(image.min()) < 0 or int(image.max()) >= self.levels):
            found = f"{int(image.min())} … {int(image.max())}"
            raise UserError(f"{what}: expected integers in [0, {self.levels}), got {found}")


def _known_rule(instance: object, attribute: attrs.Attribute, value: str) -> None:
    if value not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, got {value!r}")


def scale(image: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """Integers in [0, levels) to floats in [-1, 1]."""
    return image.to(dtype) * (2 / (levels - 1)) - 1


@attrs.frozen
class DrawRule:
    """How a value is drawn from a pixel's predicted distribution (paper, section 4.2).

    `ancestral`: from the distribution itself, so that images are exact samples of the model. `reduced`: with
    `reduction` subtracted from every predicted log-scale. `map`: a mixture component is drawn and its mode taken.
    A softmax has no scale and its components are the values: there `reduced` and `map` draw as `ancestral`, and
    `temperature` divides the logits under each rule.

    Examples:
        >>> DrawRule("reduced", reduction=0.5)
        DrawRule(name='reduced', reduction=0.5, temperature=1.0)
        >>> DrawRule("map", reduction=0.5)
        Traceback (most recent call last):
        ValueError: reduction is for the rule 'reduced', and the rule is 'map'
    """

    name: str = attrs.field(default="ancestral", validator=_known_rule)
    reduction: float = attrs.field(default=0.0, validator=attrs.validators.ge(0.0))
    temperature: float = attrs.field(default=1.0, validator=positive)

    def __attrs_post_init__(self) -> None:
        if self.reduction and self.name != "reduced":
            raise ValueError(f"reduction is for the rule 'reduced', and the rule is '{self.name}'")


@attrs.frozen
class Draws:
    """Which images to draw: their indices, the seed and the rule, and the level of the chain they are drawn at.

    Noise depends on (seed, index, level) alone, so an image does not depend on the batch it is drawn in, on the
    sampler or on the number of processes.

    Examples:
        >>> together = Draws(seed=0, indices=(3, 7)).uniforms((4,))
        >>> alone = Draws(seed=0, indices=(7,)).uniforms((4,))
        >>> bool((together[1] == alone[0]).all())
        True
    """

    seed: int
    indices: tuple[int, ...]
    rule: DrawRule = attrs.field(factory=DrawRule)
    level: int = 0

    def coarser(self) -> Draws:
        """The same images, one level further down the chain of views."""
        return attrs.evolve(self, level=self.level + 1)

    def uniforms(self, shape: Sequence[int], device: torch.device | str = "cpu") -> Tensor:
        """Uniform noise inside the open interval (0, 1), float64, shape (len(indices), *shape)."""
        rows = []
        for index in self.indices:
            key = hashlib.sha256(f"{self.seed}/{index}/{self.level}".encode()).digest()
            # The raw stream of a bit generator is the one that NumPy promises never to change.
            raw = np.random.Philox(key=int.from_bytes(key[:16])).random_raw(math.prod(shape))
            rows.append((raw >> np.uint64(12)).reshape(tuple(shape)))
        # Odd multiples of 2⁻⁵³, which float64 holds exactly: symmetric, and never 0 or 1.
        return torch.from_numpy((np.stack(rows).astype(np.float64) + 0.5) * 2.0**-52).to(device)


@attrs.frozen(eq=False)
class Known:
    """Pixels that are given and held fixed while the others are drawn given them: image completion.

    The pixels before a given one in raster order are drawn as if it were not there: the model predicts forwards only.
    """

    values: Tensor
    """Integers, (b, c, h, w); what they are where the mask is false is of no account."""
    mask: Tensor
    """Booleans, (b, h, w): true where a pixel, with all of its channels, is given."""
    between: Interval | None = None
    """Integers (b, c, h, w): what the other pixels' values are at least and at most. Without it they are any."""

    def check(self, image: ImageSpec, count: int) -> None:
        """Raises `UserError` unless there are values and a mask for `count` images as `image` describes them."""
        image.check(self.values, "known values")
        if self.mask.dtype != torch.bool or tuple(self.mask.shape) != (count, image.height, image.width):
            found = f"{self.mask.dtype} of shape {tuple(self.mask.shape)}"
            raise UserError(f"known mask: expected booleans of shape {(count, image.height, image.width)}, got {found}")
        if len(self.values) != count:
            raise UserError(
                f"known values: expected {count} images, one for each that is drawn, got {len(self.values)}"
            )
        image.check_range(self.filled(), "known values")
        if self.between is None:
            return
        for name, values in (("lowest", self.between.low), ("highest", self.between.high)):
            if values.shape != self.values.shape:
                expected = tuple(self.values.shape)
                raise UserError(f"{name} values: expected those of {expected}, got {tuple(values.shape)}")
        lowest, highest = self.lowest(), self.highest(image.levels)
        image.check_range(lowest, "lowest values")
        image.check_range(highest, "highest values")
        if (empty := lowest > highest).any():
            at = tuple(empty.nonzero()[0].tolist())
            low, high = int(lowest[at]), int(highest[at])
            raise UserError(f"lowest values: expected none above the highest, got {low} above {high} at {at}")

    def filled(self) -> Tensor:
        """The values, zeros where the mask is false."""
        return torch.where(self.mask[:, None], self.values, torch.zeros_like(self.values))

    def lowest(self) -> Tensor:
        """What every sub-pixel is at least: (b, c, h, w)."""
        other = torch.zeros_like(self.values) if self.between is None else self.between.low
        return torch.where(self.mask[:, None], self.values, other)

    def highest(self, levels: int) -> Tensor:
        """What every sub-pixel is at most: (b, c, h, w)."""
        other = torch.full_like(self.values, levels - 1) if self.between is None else self.between.high
        return torch.where(self.mask[:, None], self.values, other)

    def of(self, images: slice) -> Known:
        """What is known of some of the images."""
        return Known(self.values[images], self.mask[images], self.between and self.between.of(images))


@attrs.frozen
class FactorLogProb:
    """One factor's log-likelihoods: nats, shape (b,), of images described by `image`."""

    factor: str
    image: ImageSpec
    log_prob: Tensor


class View(abc.ABC):
    """ψ: a deterministic function of an image that is itself an image (paper, section 3).

    `image` and `view` describe input and output; a view that does not fit its input raises `UserError` when it is
    built. Each image of a batch is treated alone, and the result has the dtype of the input.
    """

    image: ImageSpec
    view: ImageSpec
    support: Support | None = None
    """Which images have a given view, where intervals can say so. Without it, decoders stay free."""
    monotone: bool = False
    """Whether a sub-pixel that rises by one lets every value of the view stay or rise by one: all values between the
    views of two images, one nowhere darker than the other, are then views of images between them."""

    @abc.abstractmethod
    def __call__(self, image: Tensor) -> Tensor:
        """(b, *image.shape) integers to (b, *view.shape) integers of the same dtype."""

    def known(self, known: Known) -> Known:
        """The pixels of the view that follow from known pixels of the image; without more to go by, all or none."""
        whole = known.mask.flatten(1).all(1)
        mask = whole[:, None, None].expand(-1, self.view.height, self.view.width)
        return Known(self(known.filled()), mask)


class Head(abc.ABC):
    """The distribution of one pixel given the parameters a causal network predicts for it."""

    parameter_count: int
    """Number of predicted values per pixel."""
    uniform_count: int
    """Number of uniform random values that drawing one pixel takes."""

    @abc.abstractmethod
    def log_prob(self, parameters: Tensor, image: Tensor) -> Tensor:
        """(b, parameter_count, h, w) and integers (b, c, h, w) to nats per pixel, shape (b, h, w)."""

    def channel_log_prob(self, parameters: Tensor, image: Tensor) -> Tensor | None:
        """Nats of each channel given those before it, shape (b, c, h, w), which add up to those of `log_prob`.

        None, as here, where the distribution has no such factors in closed form.
        """
        return None

    @abc.abstractmethod
    def draw(self, parameters: Tensor, uniforms: Tensor, rule: DrawRule) -> Tensor:
        """(n, parameter_count) and (n, uniform_count) in (0, 1) to one drawn pixel each: integers, shape (n, c)."""


class RestrictableHead(Head):
    """A head whose channels can each be restricted to an interval of values."""

    restricted_uniform_count: int
    """Number of uniform random values that drawing one restricted pixel takes."""

    @abc.abstractmethod
    def channel_log_mass(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        """log P(a channel lies in its interval | the channels before it) of the free head: nats, (b, c, h, w).

        `interval` has the image's shape; where it is empty or leaves [0, levels), so much of it as is inside counts.
        """

    @abc.abstractmethod
    def restricted_log_prob(self, parameters: Tensor, image: Tensor, interval: Interval) -> Tensor:
        """log P(a channel | the channels before it, and that it lies in its interval): nats, (b, c, h, w).

        That is `channel_log_prob` less `channel_log_mass`, but as precise where both are tiny; -∞ of values outside.
        """

    @abc.abstractmethod
    def draw_restricted(self, parameters: Tensor, uniforms: Tensor, rule: DrawRule, pixels: DrawnPixels) -> Tensor:
        """As `draw`, with (n, restricted_uniform_count) uniforms: every channel from its distribution in its interval.

        Asks `pixels` for the interval of one channel after the other, and tells what each has become.
        """


class CausalNetwork(nn.Module, abc.ABC):
    """p(X | features) = Π p(x_i | x_1 … x_{i-1}, features) in raster order (paper, equations 1 and 3).

    What samplers work on. `features_channels` is 0 for a network without conditioning.
    """

    image: ImageSpec
    features_channels: int
    head: Head

    @abc.abstractmethod
    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Parameters of every pixel's distribution, shape (b, head.parameter_count, h, w).

        Those at row r, column c depend on `image` before that pixel in raster order only. `image` is what `encode`
        gives; `features` has shape (b, features_channels, h, w).
        """

    def encode(self, image: Tensor) -> Tensor:
        """Integers (b, c, h, w) to the network's floating-point input, each pixel by itself: here to [-1, 1]."""
        return scale(image, self.image.levels, next(self.parameters()).dtype)

    def initialize(self, image: Tensor, features: Tensor | None = None) -> None:
        """Data-dependent initialisation on a batch of integers; nothing unless an implementation has it."""


class Sampler(abc.ABC):
    """Draws images from a causal network, pixel after pixel, each an integer in range before it is fed back."""

    restricts: bool = False
    """Whether `sample` takes a walk: others are not given one."""

    @abc.abstractmethod
    def sample(
        self,
        network: CausalNetwork,
        features: Tensor | None,
        draws: Draws,
        known: Known | None = None,
        walk: Walk | None = None,
    ) -> Tensor:
        """Integers, int64, shape (len(draws.indices), *network.image.shape). Known pixels are not drawn but taken.

        Along a walk, every channel is drawn by the network's `RestrictableHead` from what the walk leaves possible.
        """

    def check(self, network: CausalNetwork) -> None:  # noqa: B027 (most samplers take every network)
        """Raises `UserError` for a network that this sampler cannot draw from; nothing unless it is choosy."""


class Embedding(nn.Module, abc.ABC):
    """f_w: what the decoder learns of the view (paper, equation 3)."""

    image: ImageSpec
    view: ImageSpec
    features_channels: int

    @abc.abstractmethod
    def forward(self, view: Tensor) -> Tensor:
        """Integers (b, *view.shape) to floats (b, features_channels, image.height, image.width)."""

    def initialize(self, view: Tensor) -> None:
        """Data-dependent initialisation on a batch of views; nothing unless an implementation has it."""


class Decoder(nn.Module, abc.ABC):
    """p(X | X̂), given the features of X̂."""

    image: ImageSpec
    features_channels: int
    restricts: bool = False
    """Whether `log_prob` takes an interval and `draw` a walk: others are not given any."""

    @abc.abstractmethod
    def log_prob(self, image: Tensor, features: Tensor, interval: Interval | None = None) -> Tensor:
        """Integers (b, *image.shape) and features (b, features_channels, h, w) to nats, shape (b,).

        With an interval for every sub-pixel, of the image's shape, each is given that it lies in its own.
        """

    @abc.abstractmethod
    def draw(
        self,
        features: Tensor,
        draws: Draws,
        sampler: Sampler,
        known: Known | None = None,
        walk: Walk | None = None,
    ) -> Tensor:
        """One image for each index of `draws` and row of `features`: int64, (b, *image.shape).

        Along a walk, an image of which every value is one that the walk leaves possible.
        """

    def initialize(self, image: Tensor, features: Tensor) -> None:
        """Data-dependent initialisation on a batch; nothing unless an implementation has it."""


class Prior(nn.Module, abc.ABC):
    """A distribution over images. An `AuxiliaryModel` is one too, which is how stages nest."""

    image: ImageSpec
    sampler: Sampler | None = None
    """What `sample` draws with; set when a model is built from a recipe."""

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is log p(X) and not a bound of it."""
        return True

    @abc.abstractmethod
    def log_prob(self, image: Tensor) -> Tensor:
        """Integers (b, *image.shape) to nats, shape (b,)."""

    @abc.abstractmethod
    def draw(self, draws: Draws, sampler: Sampler, known: Known | None = None) -> Tensor:
        """One image for each index of `draws`: int64, (b, *image.shape)."""

    def initialize(self, image: Tensor) -> None:
        """Data-dependent initialisation on a batch of images; nothing unless an implementation has it."""

    def log_probs(self, image: Tensor) -> tuple[FactorLogProb, ...]:
        """Log-likelihood factor by factor, from the image down to its coarsest view."""
        return (FactorLogProb("prior", self.image, self.log_prob(image)),)

    def bits_per_dim(self, image: Tensor) -> Tensor:
        """-log₂ p of each image over its number of sub-pixels, shape (b,). Raises `UserError` for a bad image."""
        self.image.check(image)
        self.image.check_range(image)
        return self.log_prob(image) / (-math.log(2) * self.image.dims)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        rule: str | DrawRule = "ancestral",
        seed: int = 0,
        first: int = 0,
        batch_size: int = 16,
        sampler: Sampler | None = None,
        known: Known | None = None,
    ) -> Tensor:
        """Images number first … first + count - 1 of `seed`: int64, shape (count, *image.shape).

        An image is a function of (model, seed, its number, rule): `batch_size` only sets how many are drawn at once,
        and dropout is off. Pixels that are `known`, of one image for each that is drawn, are held fixed.
        Raises `UserError` if the model was built without a sampler and none is given, and for known pixels of another
        shape or range.
        """
        sampler = sampler or self.sampler
        if sampler is None:
            raise UserError("this model has no sampler: pass one as sampler=…")
        rule = rule if isinstance(rule, DrawRule) else DrawRule(rule)
        if known is not None:
            known.check(self.image, count)
        training = self.training
        self.eval()
        images = []
        for start in range(first, first + count, batch_size):
            indices = tuple(range(start, min(start + batch_size, first + count)))
            given = None if known is None else known.of(slice(start - first, start - first + batch_size))
            images.append(self.draw(Draws(seed, indices, rule), sampler, given).cpu())
        self.train(training)
        return torch.cat(images) if images else torch.empty((0, *self.image.shape), dtype=torch.int64)
