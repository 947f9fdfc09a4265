"""The interfaces of causal networks, which predict the parameters of each pixel from earlier pixels only."""

import abc
import contextlib
import copy
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from auxar.errors import UserError
from auxar.model.head import Head
from auxar.model.image import ImageSpec, encode_integers, mark, scale
from auxar.numerics.changing import changed


class CausalNetwork(nn.Module, abc.ABC):
    """A network that predicts the parameters of each pixel's distribution from the pixels before it.

    It models p(X | features) = Π p(x_i | x_1 … x_{i-1}, features) in raster order (paper, equations 1 and 3). Samplers
    draw images with such a network.
    """

    image: ImageSpec
    """Shape and range of the images."""
    features_channels: int
    """Number of channels of the features, 0 for a network without conditioning."""
    head: Head
    """The likelihood head, which defines a pixel's distribution given its parameters."""
    marks_pixels: bool = False
    """Whether `encode` appends a channel of ones, which distinguishes pixels from zero padding."""
    encodes_integers: bool = False
    """Whether `encode` gives integers: its other results times levels − 1."""
    compiles: bool = False
    """Whether long trainings compile the network if the recipe does not set `training.compile`."""
    any_size: bool = False
    """Whether the network works for images of any height and width. Then only its attribute `image` depends on them."""

    def at(self, image: ImageSpec) -> Self:
        """The same network, with the same weights, for images of another height and width.

        Raises `UserError` if the network has one size.
        """
        return resized(self, image=image)

    @abc.abstractmethod
    def forward(self, image: Tensor, features: Tensor | None = None) -> Tensor:
        """Predicts the parameters of every pixel's distribution, shape (b, head.parameter_count, h, w).

        The parameters at row r, column c depend only on pixels of `image` that come before (r, c) in raster order.
        `image` is the output of `encode`, and `features` has shape (b, features_channels, h, w).
        """

    def encode(self, image: Tensor) -> Tensor:
        """Converts integers (b, c, h, w) to the network's floating-point input.

        Each pixel is converted alone and in the same way at every place, because samplers encode single pixels.
        The default scales to [-1, 1] and, if `marks_pixels` is true, appends a channel of ones: (b, c + 1, h, w). If
        `encodes_integers` is true, all of these are multiplied by levels − 1.
        """
        if self.encodes_integers:
            return encode_integers(image, self.image.levels, marked=self.marks_pixels)
        scaled = scale(image, self.image.levels, next(self.parameters()).dtype)
        return mark(scaled) if self.marks_pixels else scaled

    def initialize(self, image: Tensor, features: Tensor | None = None, centers: Tensor | None = None) -> None:
        """Initializes the weights from a batch of images (integers) and features. The default does nothing.

        `centers` has the center of each sub-pixel, int64 of the shape of `image`, or is None. The network passes it to
        `Head.initial_parameters`.
        """


Sized = TypeVar("Sized", bound=nn.Module)


def resized(part: Sized, **specs: ImageSpec) -> Sized:
    """A shallow copy of a network or an embedding for another height and width, which shares weights and submodules.

    `specs` are the attributes that change, such as `image`.

    Raises `UserError` if `part.any_size` is false, or if a spec has other channels or levels.
    """
    for name, spec in specs.items():
        own: ImageSpec = getattr(part, name)
        if (spec.channels, spec.levels) != (own.channels, own.levels):
            raise UserError(f"{name}: expected {own.channels} channels of {own.levels} levels, got {spec}")
        if spec != own and not part.any_size:
            raise UserError(f"{type(part).__name__} has one size, {own.size}; got {spec.size}")
    found = copy.copy(part)
    for name, spec in specs.items():
        setattr(found, name, spec)
    return found


class StepwiseNetwork(CausalNetwork):
    """A causal network that can also predict one pixel at a time, given values that it keeps of earlier pixels.

    A transformer keeps the keys and values of its attention layers, and a recurrent network its state. The sampler
    `stepwise` uses this to draw images without running the whole network for each pixel.
    """

    @abc.abstractmethod
    def stepper(self, count: int, features: Tensor | None) -> Callable[[Tensor | None], Tensor]:
        """Begins `count` images and returns a function that predicts their pixels one by one, in raster order.

        Each call of the function takes the preceding pixel as `encode` converts it, shape (count, channels of
        `encode`), or None for the first pixel. It returns the parameters of the next pixel, shape (count,
        head.parameter_count), which equal those of `forward` up to rounding. `features` has shape (count,
        features_channels, h, w), or is None.

        The network is in evaluation mode and gradients are off. Several such functions may be in use at the same time.
        """


class RecomputableBlock(nn.Module):
    """A part of a network that training can compute again instead of keeping its inner values.

    PyTorch keeps the values inside of a network for the backward pass. With `training.recompute`, it keeps only the
    inputs of such a block, and computes the block a second time when the backward pass reaches it (gradient
    checkpointing). Derive a block, such as a residual block, from this class instead of `nn.Module`; nothing else is
    needed. The names in the state dict and the gradients stay the same.

    In a training step, `forward` is then called twice with the same inputs. It must compute the same values both times,
    so it may draw random numbers from torch only, and must change neither its inputs nor the block, such as the
    running averages of `nn.BatchNorm2d`. A block inside of another block is computed together with the outer one.
    """

    recomputed: bool = False
    """Whether the block is recomputed in training. `recomputing` sets it."""

    def __call__(self, *inputs: Any, **named: Any) -> Any:
        if self.recomputed and self.training:
            # Without gradients, `checkpoint` only calls the function.
            return checkpoint(super().__call__, *inputs, use_reentrant=False, **named)
        return super().__call__(*inputs, **named)


def recomputable_blocks(module: nn.Module) -> list[RecomputableBlock]:
    """Returns the blocks in a module that can be recomputed, except blocks inside of other blocks."""
    if isinstance(module, RecomputableBlock):
        return [module]
    found: dict[RecomputableBlock, None] = {}
    for child in module.children():
        found |= dict.fromkeys(recomputable_blocks(child))
    return list(found)


def recomputing(module: nn.Module) -> contextlib.AbstractContextManager[None]:
    """A context in which the blocks of a module are recomputed in the backward pass.

    It has an effect on blocks in training mode, while gradients are recorded.
    """
    return changed(recomputable_blocks(module), recomputed=True)


@contextlib.contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """A context for likelihoods and samples: evaluation mode (without dropout), no gradients, and no `torch.autocast`.

    Each part of the module then gets its own mode back.

    Examples:
        >>> network = nn.Sequential(nn.Linear(1, 1), nn.Dropout())
        >>> with evaluating(network):
        ...     network.training
        False
        >>> network.training
        True
    """
    # Modes are stored for each part, because a frozen part may be in evaluation mode while the others are trained.
    with torch.no_grad(), changed(module.modules(), training=False), contextlib.ExitStack() as stack:
        for device in filter(torch.is_autocast_enabled, ("cpu", "cuda")):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def device_of(module: nn.Module) -> torch.device:
    """The device of a module's weights; the CPU if it has none."""
    return next((parameter.device for parameter in module.parameters()), torch.device("cpu"))


def summary(name: str, terms: Iterable[object], module: nn.Module) -> str:
    """A line with the factors of a model, its number of parameters and their device.

    Examples:
        >>> summary("Chain", ["p(8×8×3 | 4×4×3)", "p(4×4×3)"], nn.Linear(2, 3))
        'Chain(p(8×8×3 | 4×4×3) · p(4×4×3), 9 parameters, cpu)'
    """
    parameters = list(module.parameters())
    count = sum(parameter.numel() for parameter in parameters)
    devices = ", ".join(sorted({str(parameter.device) for parameter in parameters})) or "cpu"
    return f"{name}({' · '.join(map(str, terms))}, {count:,} parameters, {devices})"
