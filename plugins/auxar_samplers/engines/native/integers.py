"""The constants of functions of integers, as the C++ library reads them."""

from __future__ import annotations

from typing import Any

import torch

from auxar_layers.integer_functions import IntegerFunction, IntegerGate, IntegerSum, Requantize
from auxar_samplers.engines.native.structures import Kept, structures


def constants(function: IntegerFunction, kept: Kept) -> Any:
    """The structure `Constants` of a function. `kept` keeps the arrays whose addresses it has."""
    shift = getattr(function, "shift", 0)
    made = structures.Constants(scale=2.0**-shift, limit=getattr(function, "bound", 0), rounds=shift > 0)
    if isinstance(function, Requantize):
        made.multiplier = kept.address(function.multiplier.detach().contiguous())
    elif isinstance(function, IntegerSum):
        made.weights = kept.address(torch.tensor(function.weights, dtype=torch.float64))
        made.constant = function.constant
    lookup = function.sigmoid.lookup if isinstance(function, IntegerGate) else getattr(function, "lookup", None)
    if lookup is not None:
        made.table, made.table_size = kept.address(lookup.table.detach().contiguous()), len(lookup.table)
    return made
