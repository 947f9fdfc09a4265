"""Weights of products of integers in 8-bit pieces, in the layout of integer_products.h."""

from __future__ import annotations

import ctypes

import torch
from torch import Tensor

INPUTS = 64
"""Number of inputs that are stored together."""


def weights_in_pieces(library: ctypes.CDLL, weight: Tensor) -> tuple[Tensor, Tensor, int] | None:
    """Splits a matrix of weights (inputs, outputs) in float64 into pieces.

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
    return pieces, offsets, -(-inputs // INPUTS) * INPUTS
