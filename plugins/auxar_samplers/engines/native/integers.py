"""The constants of functions of integers, as the C++ library reads them."""

from __future__ import annotations

import torch
from torch import Tensor

from auxar_layers.integer_functions import IntegerFunction, IntegerGate, IntegerSum, Requantize
from auxar_samplers.engines.native.structures import Constants


def constants(function: IntegerFunction) -> tuple[Constants, dict[str, Tensor]]:
    """The constants of a function, and the arrays to whose addresses fields of `Constants` must be set."""
    shift = getattr(function, "shift", 0)
    made = Constants(scale=2.0**-shift, limit=getattr(function, "bound", 0), rounds=shift > 0)
    arrays: dict[str, Tensor] = {}
    if isinstance(function, Requantize):
        arrays["multiplier"] = function.multiplier
    elif isinstance(function, IntegerSum):
        arrays["weights"] = torch.tensor(function.weights, dtype=torch.float64)
        made.constant = function.constant
    lookup = function.sigmoid.lookup if isinstance(function, IntegerGate) else getattr(function, "lookup", None)
    if lookup is not None:
        arrays["table"] = lookup.table
        made.table_size = len(lookup.table)
    return made, {name: array.detach().contiguous() for name, array in arrays.items()}
