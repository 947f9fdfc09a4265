"""Functions of integers in the C++ library."""

from typing import Any

import torch

from auxar_samplers.engines.native.library import Kept, structures


def constants_of(function: Any, kept: Kept) -> Any:
    """The structure `Constants` of an `IntegerFunction`."""
    made = structures.Constants(constant=function.constant, scale=2.0**-function.shift, limit=function.bound)
    made.rounds = function.shift > 0
    made.weights = kept.address(torch.tensor(function.weights, dtype=torch.float64))
    if "multiplier" in function.constants:
        made.multiplier = kept.address(function.multiplier.detach().contiguous())
    if "lookup" in function.constants:
        made.table = kept.address(function.lookup.table.detach().float().contiguous())
        made.table_size = len(function.lookup.table)
    return made
