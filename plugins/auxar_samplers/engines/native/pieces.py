"""Products of integers in 8-bit pieces, which many processors multiply faster than numbers in floating point."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import attrs
import torch
from torch import Tensor

from auxar_samplers.engines.base import BrokenError
from auxar_samplers.engines.native.library import library

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


@attrs.frozen(eq=False)
class Pieces:
    """The weights of a convolution in pieces, one matrix (channels, outputs) for each place of its kernel."""

    weights: Tensor
    offsets: Tensor
    places: tuple[int, ...]
    """Numbers of the places whose weights are not all 0."""
    channels: int

    @classmethod
    def of(cls, matrices: Tensor) -> Pieces | None:
        """The pieces of weights (places, channels, outputs) in float64.

        None if the library cannot be used, or the processor or the weights do not allow it.
        """
        try:
            code = library()
        except BrokenError:
            return None
        places = [place for place, matrix in enumerate(matrices) if bool(matrix.any())] or [0]
        found = weights_in_pieces(code, matrices[places].flatten(0, 1))
        return None if found is None else cls(*found[:2], tuple(places), matrices.shape[1])

    def convolve(self, values: Tensor, rows: int, shifts: Sequence[int], bias: Tensor) -> Tensor | None:
        """Multiplies rows of `values` (n, channels), float64, each shifted by one number for each place of the kernel.

        Row r of the result (rows, outputs) is the bias plus the sum of row r + shift times the matrix of the place, for
        all places. Returns None if a value is not an integer of 16 bits.
        """
        own = torch.tensor([shifts[place] for place in self.places])
        assert values.is_contiguous()
        assert values.dtype == bias.dtype == torch.float64
        assert values.shape[1] == self.channels
        assert rows + int(own[-1]) <= len(values)
        found = values.new_empty(rows, len(bias))
        done = library().convolve(
            values.data_ptr(), rows, self.channels, own.data_ptr(), len(own), self.weights.data_ptr(),
            self.offsets.data_ptr(), bias.data_ptr(), len(bias), found.data_ptr(), torch.get_num_threads(),
        )  # fmt: skip
        return found if done else None
