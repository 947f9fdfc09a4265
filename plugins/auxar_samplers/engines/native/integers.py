"""Weights of products of integers, and constants of functions of integers, in the library's structures."""

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
    words = structures.Words(
        kept.address(torch.zeros(library.bytes_of_weights(inputs, outputs), dtype=torch.uint8, device="cpu"))
    )
    packed = library.pack_weights(weight.data_ptr(), inputs, outputs, ctypes.addressof(words))
    return words if packed else None


def constants_of(function: Any, kept: Kept) -> Any:
    """The structure `Constants` of an `IntegerFunction`."""
    made = structures.Constants(constant=function.constant, scale=2.0**-function.shift, limit=function.bound)
    made.rounds = function.shift > 0
    made.weights = kept.address(torch.tensor(function.weights, dtype=torch.float64, device="cpu"))
    if "multiplier" in function.constants:
        made.multiplier = kept.address(function.multiplier.detach().contiguous())
    if "lookup" in function.constants:
        made.table = kept.address(function.lookup.table.detach().float().contiguous())
        made.table_size = len(function.lookup.table)
    return made
