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
    library.most_inputs_of_pieces.restype = library.bytes_of_pieces.restype = ctypes.c_int64
    if inputs > library.most_inputs_of_pieces():
        return None
    weight, size = weight.contiguous(), (ctypes.c_int64(inputs), ctypes.c_int64(outputs))
    pieces = torch.zeros(library.bytes_of_pieces(*size), dtype=torch.int8)
    offsets = torch.empty(outputs, dtype=torch.float64)
    if not library.pack_pieces(_address(weight), *size, _address(pieces), _address(offsets)):
        return None
    return pieces, offsets, -(-inputs // INPUTS) * INPUTS


def _address(tensor: Tensor) -> ctypes.c_void_p:
    return ctypes.c_void_p(tensor.data_ptr())
