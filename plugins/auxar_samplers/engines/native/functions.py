"""Functions of integers for whole images in the C++ library."""

import ctypes
from collections.abc import Sequence
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor

from auxar_samplers.engines.base import BrokenError
from auxar_samplers.engines.native.library import Kept, codes, library, structures


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


_MADE: WeakKeyDictionary[Any, tuple[Any, Kept]] = WeakKeyDictionary()
"""The structure `Constants` of each function that was applied, and what it points to."""


def applied(function: Any, *inputs: Tensor, overwritten: Sequence[int] = ()) -> Tensor | None:
    """The values of an `IntegerFunction` for images (b, c, h, w) in float64, or None if the library cannot be used.

    They may be written into the memory of the inputs with the numbers `overwritten`, which saves memory and time.
    """
    # Samplers trace graphs with values that are no tensors.
    if not function.constants or not all(type(x) is Tensor for x in inputs):
        return None
    first = max(inputs, key=lambda x: x.shape[1])
    if any(x.device.type != "cpu" or x.dim() != 4 or x.shape[2:] != first.shape[2:] for x in inputs):
        return None
    if any(len(x) != len(first) or x.dtype != torch.float64 for x in inputs):
        return None
    try:
        code = library()
    except BrokenError:
        return None
    if len(inputs) > code.most_operands():
        return None
    if function not in _MADE:
        own = Kept()
        _MADE[function] = constants_of(function, own), own
    kept, values = Kept(), [x.movedim(1, 3).contiguous() for x in inputs]
    channels = function.channels(*(x.shape[1] for x in inputs))
    room = [values[number] for number in overwritten if values[number].shape[3] == channels]
    found = room[0] if room else values[0].new_empty(len(first), *first.shape[2:], channels)
    operands = (structures.Operand * len(values))(*(structures.Operand(channels=x.shape[3]) for x in values))
    instruction = structures.Instruction(
        function=codes(code)[function.kind],
        operand_count=len(values),
        operands=kept.address(operands),
        output=structures.Operand(channels=channels),
        constants=kept.address(_MADE[function][0]),
    )
    addresses = (ctypes.c_void_p * len(values))(*(x.data_ptr() for x in values))
    count = found.numel() // max(1, channels)
    code.apply_to_images(
        ctypes.addressof(instruction), ctypes.addressof(addresses), found.data_ptr(), count, torch.get_num_threads()
    )
    return found.movedim(3, 1)
