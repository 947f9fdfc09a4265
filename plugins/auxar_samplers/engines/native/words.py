"""Products of integers of 16 bits, which many processors multiply faster than numbers in floating point."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

import torch
from torch import Tensor

from auxar_samplers.engines.base import BrokenError
from auxar_samplers.engines.native.library import Kept, library, structures


def packed_weights(library: ctypes.CDLL, weight: Tensor, kept: Kept) -> Any:
    """The structure `Words` of a matrix of weights (inputs, outputs) in float64, whose memory `kept` keeps alive.

    None if the processor does not multiply integers of 16 bits, if there are too many inputs, or if a weight is no
    integer of 16 bits.
    """
    inputs, outputs = weight.shape
    if inputs > library.most_inputs_of_words():
        return None
    weight = weight.contiguous()
    words = structures.Words(kept.address(torch.zeros(library.bytes_of_weights(inputs, outputs), dtype=torch.uint8)))
    if not library.pack_weights(weight.data_ptr(), inputs, outputs, ctypes.addressof(words)):
        return None
    return words


class Convolver:
    """The weights of a convolution, packed when they are first used.

    `kernel` has shape (height, width, channels, outputs), float64.
    """

    def __init__(self, kernel: Tensor) -> None:
        self.kernel = kernel
        self.kept = Kept()

    def __reduce__(self) -> tuple[type[Convolver], tuple[Tensor]]:
        return Convolver, (self.kernel,)  # Addresses mean nothing in copies and in other processes.

    @functools.cached_property
    def made(self) -> tuple[Any, Tensor] | None:
        """The structure `Words`, and the rows and columns (n, 2) of the places whose weights are not all 0.

        None if the library cannot be used, or the processor or the weights do not allow it.
        """
        places = self.kernel.flatten(2).any(2).nonzero()
        if not len(places):
            return None
        weight = self.kernel[places[:, 0], places[:, 1]].flatten(0, 1)
        try:
            words = packed_weights(library(), weight, self.kept)
        except BrokenError:
            return None
        return None if words is None else (words, places)

    def convolve(self, x: Tensor, rows: int, columns: int, padding: tuple[int, int], bias: Tensor) -> Tensor | None:
        """Convolves images (b, c, h, w) in float64 with stride 1: (b, rows, columns, outputs).

        `padding` has the numbers of rows of zeros above the images and of columns on their left; negative ones
        crop. Returns None if a value is not an integer of 16 bits, or if there are no packed weights.
        """
        if x.device.type != "cpu" or self.made is None:
            return None
        words, places = self.made
        above = places.new_tensor(padding)
        kept, (batch, channels, height, width), outputs = Kept(), x.shape, self.kernel.shape[3]
        found = x.new_empty(batch, rows, columns, outputs)
        job = structures.ImageProduct(batch, height, width, channels, rows, columns, outputs)
        tensors = {"values": x.movedim(1, 3).contiguous(), "places": (places - above).contiguous(), "bias": bias}
        for name, tensor in {**tensors, "out": found, "words": words}.items():
            setattr(job, name, kept.address(tensor))
        job.count = len(places)
        return found if library().convolve(ctypes.addressof(job), torch.get_num_threads()) else None
