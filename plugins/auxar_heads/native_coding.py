"""The base of integer heads whose ranges of a range coder and their bytes are computed in C++."""

from einops import rearrange
from torch import Tensor

from auxar import IntegerHead, Interval
from auxar_samplers.engines.native.sources import coding_ranges, stream


class NativeIntegerHead(IntegerHead):
    """An integer head with a `native_form`, which also computes likelihoods if there is a C++ library."""

    def coding_ranges(
        self, parameters: Tensor, image: Tensor, interval: Interval | None, centers: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        # The C++ code belongs to the class that names it, and not to subclasses with other frequencies.
        if parameters.device.type != "cpu" or "native_form" not in vars(type(self)):
            return super().coding_ranges(parameters, image, interval, centers)
        values, low, high = map(_by_pixel, self.ends(image, interval))
        around = None if centers is None else _by_pixel(centers)
        found = coding_ranges(self, _by_pixel(parameters.double()), values, low, high, around)
        if found is None:
            return super().coding_ranges(parameters, image, interval, centers)
        height, width = image.shape[2:]
        start, frequency = (rearrange(each, "(b h w) c -> b c h w", h=height, w=width) for each in found)
        return start, frequency

    def stream(self, ranges: Tensor) -> bytes:
        found = stream(ranges)
        return super().stream(ranges) if found is None else found


def _by_pixel(image: Tensor) -> Tensor:
    """The values of each pixel side by side: (b, c, h, w) to (b · h · w, c)."""
    return rearrange(image, "b c h w -> (b h w) c").contiguous()
