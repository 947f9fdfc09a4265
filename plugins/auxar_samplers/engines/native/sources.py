"""Converts pixel sources to compiled functions that the C++ library calls in its own loop over the steps."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from auxar import Adjustments, DecodeSource, DrawSource, ForceSource, Head, PixelSource, Walk
from auxar.model.support import SumWalk
from auxar.numerics.logistic import SMALLEST_REDUCED_LOG_SCALE
from auxar_heads.fixed_point import POWER_BITS, ROUNDED_LOG2_E, tables
from auxar_heads.logistic_mixture import LARGEST_LOG_SCALE, SMALLEST_LOG_SCALE, LogisticMixtureHead
from auxar_heads.logistic_mixture_frequencies import IntegerLogisticMixtureHead, is_exact, rounded_reduction
from auxar_heads.softmax import SoftmaxHead
from auxar_heads.softmax_frequencies import IntegerSoftmaxHead, rounded_temperature
from auxar_samplers.compiler.program import Program
from auxar_samplers.engines.native.fitting import check_fits
from auxar_samplers.engines.native.structures import Decoding, Drawing, Forcing, IntegerTables


@attrs.frozen(eq=False)
class NativeSource:
    """A pixel source for the native engine: a compiled function of type `Source` (structures.h) and its state."""

    function: str | Any
    """The name of a function in auxar's C++ library, or a ctypes function from another library."""
    state: ctypes.Structure
    """The structure whose address is the function's first argument."""
    kept: list[Any]
    """Objects that `state` points to. This list keeps them alive."""


@runtime_checkable
class HasNativeForm(Protocol):
    """A pixel source, or the head of a `DrawSource`, that provides compiled code for the native engine.

    The code is used only if the object's own class defines `native_source`. A subclass that does not define it may
    compute something else, so Python then calls the source at each step.
    """

    def native_source(self, source: PixelSource, dtype: torch.dtype) -> NativeSource | None:
        """The compiled source for parameters of `dtype`. If it is None, Python calls the source at each step.

        Compiled code accesses memory by address, so this method must check that the source fits the network.
        """


def native_source(source: PixelSource, program: Program) -> NativeSource | None:
    """The compiled source for a program, or None if there is no compiled function for this source.

    Raises `UserError` if a shipped source does not fit the program's images or its head, because the library would
    access memory outside its tensors.
    """
    if isinstance(source, DrawSource) and source.operation is not None:
        return None  # The rule's own operation runs in Python.
    for part in (source, source.head if type(source) is DrawSource else None):
        if isinstance(part, HasNativeForm) and "native_source" in vars(type(part)):
            return part.native_source(source, program.layout.like.dtype)
    # Types must be equal, because a subclass may compute something else.
    if type(source) is ForceSource:
        check_fits(source, program)
        return _forcing(source)
    if type(source) is DrawSource and type(source.head) in HEADS and type(source.walk) in (SumWalk, type(None)):
        check_fits(source, program)
        return _drawing(source, program)
    if type(source) is DecodeSource and type(source.head) in DECODED and type(source.walk) in (SumWalk, type(None)):
        if program.layout.like.dtype != torch.float64:
            return None
        check_fits(source, program)
        return _decoding(source)
    return None


def described(source: PixelSource) -> str:
    """A short description of a pixel source for the log."""
    if not isinstance(source, DrawSource):
        return type(source).__name__
    walk = "" if source.walk is None else f" and {type(source.walk).__name__}"
    return f"{type(source).__name__} with {type(source.head).__name__}{walk}"


def _mixture(head: Head, adjustments: Adjustments, drawing: Drawing) -> str:
    assert isinstance(head, LogisticMixtureHead)
    drawing.channels = head.channels
    drawing.components, drawing.centers = head.components, adjustments.centers
    drawing.min_weight = adjustments.min_weight
    drawing.smallest_log_scale, drawing.largest_log_scale = SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE
    drawing.reduction, drawing.smallest_reduced_log_scale = adjustments.reduction, SMALLEST_REDUCED_LOG_SCALE
    return "mixture"


def _softmax(head: Head, adjustments: Adjustments, drawing: Drawing) -> str:
    assert isinstance(head, SoftmaxHead)
    drawing.channels = head.channels
    return "softmax"


def _integer_mixture(head: Head, adjustments: Adjustments, drawing: Drawing) -> str:
    assert isinstance(head, IntegerLogisticMixtureHead)
    drawing.channels, drawing.components, drawing.centers = head.channels, head.components, adjustments.centers
    smallest, largest = head.log_scales
    made = IntegerTables(
        spare=head.spare,
        exact=is_exact(adjustments),
        min_weight=round(adjustments.min_weight * 2**POWER_BITS),
        smallest_log_scale=smallest,
        largest_log_scale=largest,
        reduction=rounded_reduction(adjustments),
        log_of_unit=head.log_of_unit,
    )
    drawing.tables = ctypes.pointer(_filled(made))
    return "integer_mixture"


def _integer_softmax(head: Head, adjustments: Adjustments, drawing: Drawing) -> str:
    assert isinstance(head, IntegerSoftmaxHead)
    drawing.channels = head.channels
    temperature = 0 if adjustments.temperature == 1.0 else rounded_temperature(adjustments)
    drawing.tables = ctypes.pointer(_filled(IntegerTables(spare=head.spare, temperature=temperature)))
    return "integer_softmax"


def _filled(made: IntegerTables) -> IntegerTables:
    """Sets the tables, which `fixed_point` keeps alive, and the constant log₂ e."""
    for name, table in attrs.asdict(tables(), recurse=False).items():
        setattr(made, name, table.data_ptr())
    made.log2_e = ROUNDED_LOG2_E
    return made


HEADS: dict[type[Head], Callable[[Head, Adjustments, Drawing], str]] = {
    LogisticMixtureHead: _mixture,
    SoftmaxHead: _softmax,
    IntegerLogisticMixtureHead: _integer_mixture,
    IntegerSoftmaxHead: _integer_softmax,
}
"""The heads that drawing.cpp implements. Each function sets the head's fields of `Drawing` and returns the head's name,
which is a part of the names of the library's functions."""
DECODED = (IntegerLogisticMixtureHead, IntegerSoftmaxHead)
"""The heads that decoding.cpp implements."""


def _drawing(source: DrawSource, program: Program) -> NativeSource:
    kept: list[Any] = []

    def address(tensor: Tensor, dtype: torch.dtype = torch.int64) -> int:
        return _address(tensor, dtype, kept)

    places, batch, _ = source.uniforms.shape
    drawing = Drawing(
        batch=batch,
        levels=source.levels,
        outside=places - 1,
        uniforms=address(source.uniforms, torch.float64),
        temperature=source.adjustments.temperature,
    )
    _set_walk(drawing, source.walk, kept)
    if source.limits is not None:
        drawing.low, drawing.high = address(source.limits.low), address(source.limits.high)
    name = HEADS[type(source.head)](source.head, source.adjustments, drawing)
    suffix = "float" if program.layout.like.dtype == torch.float32 else "double"
    return NativeSource(f"draw_{name}_{suffix}", drawing, kept)


def _decoding(source: DecodeSource) -> NativeSource:
    kept: list[Any] = [source.decoders]
    image, decoders = source.image, source.decoders
    drawing = Drawing(batch=source.count, levels=image.levels, outside=image.height * image.width)
    _set_walk(drawing, source.walk, kept)
    name = HEADS[type(source.head)](source.head, Adjustments(), drawing)
    # The library changes the state of the decoders.
    decoding = Decoding(
        drawing=drawing,
        bytes=decoders.bytes.ctypes.data,
        size=decoders.bytes.shape[1],
        next=decoders.next.ctypes.data,
        code=decoders.code.ctypes.data,
        width=decoders.width.ctypes.data,
    )
    return NativeSource(f"decode_{name}_double", decoding, [*kept, drawing])


def _set_walk(drawing: Drawing, walk: Walk | None, kept: list[Any]) -> None:
    """Sets the fields that describe the sums of a walk, unless it is None."""
    if not isinstance(walk, SumWalk):
        return
    for field, values in (
        ("groups", walk.groups),
        ("weights", walk.weights),
        ("least", walk.least),
        ("most", walk.most),
    ):
        setattr(drawing, field, _address(values, torch.int64, kept))
    drawing.later_images = walk.least.shape[2]
    drawing.lowest, drawing.highest = (
        _address(sums, torch.int64, kept, copied=False) for sums in (walk.lowest, walk.highest)
    )


def _forcing(source: ForceSource) -> NativeSource:
    kept: list[Any] = []
    _, batch, channels = source.image.shape
    forcing = Forcing(batch=batch, channels=channels, image=_address(source.image, torch.int64, kept))
    return NativeSource("force", forcing, kept)


def _address(tensor: Tensor, dtype: torch.dtype, kept: list[Any], *, copied: bool = True) -> int:
    """The address of a tensor's values. `kept` keeps the tensor alive.

    A tensor that the library writes to needs `copied=False`; it must be contiguous.
    """
    tensor = tensor.contiguous() if copied else tensor
    assert tensor.is_contiguous()
    assert tensor.dtype == dtype
    kept.append(tensor)
    return tensor.data_ptr()
