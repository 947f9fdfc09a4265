"""Shape and range of images, intervals of their values, and pixels that are known."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor

from auxar.arguments import described
from auxar.errors import UserError
from auxar.validation import at_least, at_most, integer, positive

INTEGER_DTYPES = (torch.uint8, torch.int16, torch.int32, torch.int64)
"""The dtypes that an image may have."""
MOST_CHANNELS = 4096
"""The largest number of channels of an image."""
MOST_SIDE = 65_536
"""The largest height and width of an image."""
MOST_LEVELS = 2**24
"""The largest number of levels. Networks usually compute in float32, which is exact for integers up to 2^24."""


@attrs.frozen
class ImageSpec:
    """Shape and range of an image: integers in [0, levels), shape (channels, height, width).

    Raises `UserError` if a value is no integer or out of its range.

    Examples:
        >>> image = ImageSpec(height=32, width=32)
        >>> image.shape, image.dims
        ((3, 32, 32), 3072)
        >>> print(ImageSpec(1, height=8, width=8, levels=16))
        8×8×1 with 16 levels
    """

    channels: int = attrs.field(default=3, validator=[integer, positive, at_most(MOST_CHANNELS)])
    """Number of channels, 1 … 4096; in a recipe 1 (gray) or 3 (RGB)."""
    height: int = attrs.field(kw_only=True, validator=[integer, positive, at_most(MOST_SIDE)])
    """Number of rows, 1 … 65536."""
    width: int = attrs.field(kw_only=True, validator=[integer, positive, at_most(MOST_SIDE)])
    """Number of columns, 1 … 65536."""
    levels: int = attrs.field(default=256, kw_only=True, validator=[integer, at_least(2), at_most(MOST_LEVELS)])
    """Number of values that a sub-pixel can take, 2 … 2^24; in a recipe at most 256. The values are 0 … levels - 1."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Shape of an image, (channels, height, width)."""
        return (self.channels, self.height, self.width)

    @property
    def dims(self) -> int:
        """Number of sub-pixels, the divisor of bits/dim."""
        return self.channels * self.height * self.width

    @property
    def size(self) -> str:
        """Height × width × channels, as text."""
        return f"{self.height}×{self.width}×{self.channels}"

    def __str__(self) -> str:
        return f"{self.size} with {self.levels} levels"

    def check(self, image: Tensor, what: str = "image") -> None:
        """Raises `UserError` unless `image` is an integer tensor of shape (b, channels, height, width).

        Examples:
            >>> ImageSpec(height=8, width=8).check(torch.zeros(2, 8, 8, 3, dtype=torch.uint8))
            Traceback (most recent call last):
            auxar.errors.UserError: image: expected shape (b, 3, 8, 8), got (2, 8, 8, 3)
        """
        if not isinstance(image, Tensor):
            raise UserError(f"{what}: expected a tensor of integers, got {described(image)}")
        if image.dtype not in INTEGER_DTYPES:
            raise UserError(f"{what}: expected integers in [0, {self.levels}), got a tensor of {image.dtype}")
        if image.dim() != 4 or tuple(image.shape[1:]) != self.shape:
            raise UserError(f"{what}: expected shape (b, {', '.join(map(str, self.shape))}), got {tuple(image.shape)}")

    def check_range(self, image: Tensor, what: str = "image") -> None:
        """Raises `UserError` unless every value lies in [0, levels). On a GPU, this waits for the device.

        Examples:
            >>> ImageSpec(height=1, width=1, levels=16).check_range(torch.tensor([[[[3]], [[7]], [[16]]]]))
            Traceback (most recent call last):
            auxar.errors.UserError: image: expected integers in [0, 16), got 3 … 16
        """
        if image.numel() and (int(image.min()) < 0 or int(image.max()) >= self.levels):
            found = f"{int(image.min())} … {int(image.max())}"
            raise UserError(f"{what}: expected integers in [0, {self.levels}), got {found}")


def scale(image: Tensor, levels: int, dtype: torch.dtype) -> Tensor:
    """Scales integers in [0, levels) to floats in [-1, 1].

    Examples:
        >>> scale(torch.tensor([0, 51, 255]), 256, torch.float64).tolist()
        [-1.0, -0.6, 1.0]
    """
    return image.to(dtype) * (2 / (levels - 1)) - 1


def mark(scaled: Tensor) -> Tensor:
    """Appends a channel of ones, which distinguishes pixels from zero padding: (b, c, h, w) to (b, c + 1, h, w)."""
    marked = torch.cat([scaled, torch.ones_like(scaled[:, :1])], dim=1)
    return marked.contiguous(memory_format=torch.channels_last)


def encode_integers(image: Tensor, levels: int, *, marked: bool) -> Tensor:
    """Encodes integers (b, c, h, w) as 2x − (levels − 1), in float64. If `marked`, appends a channel of levels − 1.

    Examples:
        >>> encode_integers(torch.tensor([[[[0, 1, 3]]]]), 4, marked=True).tolist()
        [[[[-3.0, -1.0, 3.0]], [[3.0, 3.0, 3.0]]]]
    """
    scaled = 2 * image.double() - (levels - 1)
    return torch.cat([scaled, torch.full_like(scaled[:, :1], levels - 1)], dim=1) if marked else scaled


@attrs.frozen(eq=False)
class Interval:
    """Intervals of possible values, from `low` to `high` inclusive.

    Examples:
        >>> interval = Interval(torch.tensor([0, 3]), torch.tensor([7, 3]))
        >>> interval.of(slice(1, 2))
        Interval(low=tensor([3]), high=tensor([3]))
        >>> interval.outside(torch.tensor([8, 3]))
        tensor([ True, False])
    """

    low: Tensor
    """Lowest values, integers."""
    high: Tensor
    """Highest values, integers of the same shape."""

    def outside(self, values: Tensor) -> Tensor:
        """Whether values lie outside of their intervals, booleans. All shapes must broadcast."""
        return (values < self.low) | (values > self.high)

    def of(self, images: slice) -> Interval:
        """The intervals of a slice of the images, along the first dimension."""
        return Interval(self.low[images], self.high[images])


@attrs.frozen(eq=False)
class Known:
    """Known pixels for image completion: they are held fixed while the other pixels are drawn.

    A causal network conditions a pixel only on earlier pixels in raster order. A known pixel therefore influences the
    pixels before it only through a restriction or the views of a chain.

    Examples:
        The upper row of two images is known to be black:

        >>> mask = torch.tensor([[True, True], [False, False]]).expand(2, 2, 2)
        >>> known = Known(torch.zeros(2, 1, 2, 2, dtype=torch.uint8), mask)
        >>> known.check(ImageSpec(1, height=2, width=2, levels=4), count=2)
        >>> known.of(slice(0, 1)).lowest().tolist(), known.of(slice(0, 1)).highest(levels=4).tolist()
        ([[[[0, 0], [0, 0]]]], [[[[0, 0], [3, 3]]]])
        >>> known.check(ImageSpec(1, height=2, width=2, levels=4), count=3)
        Traceback (most recent call last):
        auxar.errors.UserError: known mask: expected booleans of shape (3, 2, 2), got torch.bool of shape (2, 2, 2)
    """

    values: Tensor
    """Values of the known pixels, integers (b, c, h, w). Values where `mask` is false are ignored."""
    mask: Tensor
    """Booleans (b, h, w), true where a pixel is known. All channels of such a pixel are known."""
    limits: Interval | None = None
    """Lowest and highest allowed values of the other pixels, integers (b, c, h, w); None allows all values."""

    def check(self, image: ImageSpec, count: int) -> None:
        """Raises `UserError` unless values, mask and limits fit `count` images of the shape and range of `image`."""
        image.check(self.values, "known values")
        if not isinstance(self.mask, Tensor):
            raise UserError(f"known mask: expected a tensor of booleans, got {described(self.mask)}")
        if self.mask.dtype != torch.bool or tuple(self.mask.shape) != (count, image.height, image.width):
            found = f"{self.mask.dtype} of shape {tuple(self.mask.shape)}"
            raise UserError(f"known mask: expected booleans of shape {(count, image.height, image.width)}, got {found}")
        if len(self.values) != count:
            raise UserError(
                f"known values: expected {count} images (one for each image to draw), got {len(self.values)}"
            )
        image.check_range(self.filled(), "known values")
        if self.limits is None:
            return
        for name, values in (("lowest", self.limits.low), ("highest", self.limits.high)):
            if values.shape != self.values.shape:
                expected = tuple(self.values.shape)
                raise UserError(f"known limits ({name}): expected shape {expected}, got {tuple(values.shape)}")
        lowest, highest = self.lowest(), self.highest(image.levels)
        image.check_range(lowest, "known limits (lowest)")
        image.check_range(highest, "known limits (highest)")
        if (empty := lowest > highest).any():
            at = tuple(empty.nonzero()[0].tolist())
            low, high = int(lowest[at]), int(highest[at])
            raise UserError(f"known limits: the lowest value {low} is above the highest value {high} at index {at}")

    def filled(self) -> Tensor:
        """The values, with zeros where the mask is false.

        Examples:
            >>> Known(torch.tensor([[[[5, 6]]]]), torch.tensor([[[True, False]]])).filled().tolist()
            [[[[5, 0]]]]
        """
        return torch.where(self.mask[:, None], self.values, torch.zeros_like(self.values))

    def lowest(self) -> Tensor:
        """The lowest allowed value of every sub-pixel, (b, c, h, w). For a known pixel, it is the pixel's value."""
        other = torch.zeros_like(self.values) if self.limits is None else self.limits.low
        return torch.where(self.mask[:, None], self.values, other)

    def highest(self, levels: int) -> Tensor:
        """The highest allowed value of every sub-pixel, (b, c, h, w). For a known pixel, it is the pixel's value."""
        other = torch.full_like(self.values, levels - 1) if self.limits is None else self.limits.high
        return torch.where(self.mask[:, None], self.values, other)

    def of(self, images: slice) -> Known:
        """The known pixels of a slice of the images."""
        return Known(self.values[images], self.mask[images], self.limits and self.limits.of(images))


def term(image: object, *given: object) -> str:
    """The notation of a factor: the image, and all that it is given, without None.

    Examples:
        >>> term("X_0", "X_1", "label"), term("8×8×1", None, None)
        ('p(X_0 | X_1, label)', 'p(8×8×1)')
    """
    names = ", ".join(str(each) for each in given if each is not None)
    return f"p({image} | {names})" if names else f"p({image})"
