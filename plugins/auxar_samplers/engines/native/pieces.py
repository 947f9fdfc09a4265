"""Weights of products of integers in 8-bit pieces, in the layout of integer_products.h."""

from __future__ import annotations

import numpy as np
from torch import Tensor

COLUMNS, INPUTS = 16, 64
"""Numbers of columns and of inputs that are stored together."""
LEAST, MOST = -(2**15) - 2**7, 2**15 - 2**7 - 1
"""Range of weights that two signed 8-bit pieces can represent."""


def weights_in_pieces(weight: Tensor, most_inputs: int) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Splits a matrix of weights (inputs, outputs) in float64 into pieces.

    Returns int8 pieces, 32768 times the sum of each column, in float64, and the number of inputs after padding. Returns
    None if a weight is not an integer of two pieces, or if there are too many inputs.
    """
    matrix = weight.detach().numpy()
    inputs, outputs = matrix.shape
    if inputs > most_inputs or not ((matrix == np.round(matrix)) & (matrix >= LEAST) & (matrix <= MOST)).all():
        return None
    blocks, groups = -(-inputs // INPUTS), -(-outputs // COLUMNS)
    padded = np.zeros((blocks * INPUTS, groups * COLUMNS), dtype=np.int32)
    padded[:inputs, :outputs] = matrix
    lower = (padded + 128 & 255) - 128
    pieces = np.stack([lower, (padded - lower) >> 8])
    # (piece, block, input / 4, input % 4, group, column) to (group, block, piece, input / 4, column, input % 4)
    parts = pieces.reshape(2, blocks, INPUTS // 4, 4, groups, COLUMNS).transpose(4, 1, 0, 2, 5, 3)
    return np.ascontiguousarray(parts, dtype=np.int8), 32768.0 * matrix.sum(0), blocks * INPUTS
