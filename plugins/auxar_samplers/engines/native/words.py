"""Products of integers of 16 bits, which many processors multiply faster than numbers in floating point."""

import ctypes
from typing import Any

import torch
from torch import Tensor

from auxar_samplers.engines.native.library import Kept, structures


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
