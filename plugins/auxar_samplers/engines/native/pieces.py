"""Products of integers in 8-bit pieces, which many processors multiply faster than numbers in floating point."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from auxar_samplers.engines.base import BrokenError
from auxar_samplers.engines.native.library import Kept, library, structures

INPUTS_OF_PIECES = 64
"""Number of inputs whose weights are stored together as pieces of 8 bits."""


def weights_in_pieces(library: ctypes.CDLL, weight: Tensor) -> tuple[Tensor, Tensor, int] | None:
    """Splits a matrix of weights (inputs, outputs) in float64 into 8-bit pieces, in the layout of integer_products.h.

    Returns int8 pieces, 32768 times the sum of each column, in float64, and the number of inputs after padding. Returns
    None if the processor does not multiply pieces, if there are too many inputs, or if a weight is not an integer that
    two pieces can represent.
    """
    inputs, outputs = weight.shape
    if inputs > library.most_inputs_of_pieces():
        return None
    weight = weight.contiguous()
    pieces = torch.zeros(library.bytes_of_pieces(inputs, outputs), dtype=torch.int8)
    offsets = torch.empty(outputs, dtype=torch.float64)
    if not library.pack_pieces(weight.data_ptr(), inputs, outputs, pieces.data_ptr(), offsets.data_ptr()):
        return None
    return pieces, offsets, -(-inputs // INPUTS_OF_PIECES) * INPUTS_OF_PIECES


class Pieces:
    """The weights of a convolution in pieces, which are made when they are first used.

    `kernel` has shape (height, width, channels, outputs), float64.
    """

    def __init__(self, kernel: Tensor) -> None:
        self.kernel = kernel

    @functools.cached_property
    def made(self) -> tuple[Tensor, Tensor, Tensor] | None:
        """The pieces, the offsets, and the rows and columns (n, 2) of the places whose weights are not all 0.

        None if the library cannot be used, or the processor or the weights do not allow it.
        """
        places = self.kernel.flatten(2).any(2).nonzero()
        try:
            code = library()
        except BrokenError:
            return None
        found = weights_in_pieces(code, self.kernel[places[:, 0], places[:, 1]].flatten(0, 1)) if len(places) else None
        return None if found is None else (*found[:2], places)

    def convolve(self, x: Tensor, rows: int, columns: int, padding: int, bias: Tensor) -> Tensor | None:
        """Convolves images (b, c, h, w) in float64 with stride 1: (b, rows, columns, outputs).

        Returns None if a value is not an integer of 16 bits, or if there are no pieces.
        """
        if x.device.type != "cpu" or self.made is None:
            return None
        weights, offsets, places = self.made
        kept, (batch, channels, height, width), outputs = Kept(), x.shape, self.kernel.shape[3]
        found = x.new_empty(batch, rows, columns, outputs)
        job = structures.ImageProduct(batch, height, width, channels, rows, columns, outputs)
        tensors = {"values": x.movedim(1, 3).contiguous(), "places": (places - padding).contiguous(), "bias": bias}
        for name, tensor in {**tensors, "weights": weights, "offsets": offsets, "out": found}.items():
            setattr(job, name, kept.address(tensor))
        job.count = len(places)
        return found if library().convolve(ctypes.addressof(job), torch.get_num_threads()) else None
