"""Shipped sources in the form in which the library runs them itself, inside of its loop over the steps."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import attrs
import torch
from torch import Tensor

from auxar import DrawSource, ForceSource, Head, PixelSource
from auxar.support import SumWalk
from auxar_heads.logistic_mixture import (
    LARGEST_LOG_SCALE,
    SMALLEST_LOG_SCALE,
    SMALLEST_REDUCED_LOG_SCALE,
    LogisticMixtureHead,
)
from auxar_heads.softmax import SoftmaxHead
from auxar_samplers.compiler.program import Program
from auxar_samplers.engines.native.fitting import check_fits
from auxar_samplers.engines.native.structures import Drawing, Forcing


@attrs.frozen(eq=False)
class NativeSource:
    """A compiled function of the type `Source` in structures.h, and the state that it is called with."""

    function: str | Any
    """The name of a function of auxar's library, or a ctypes function of another one."""
    state: ctypes.Structure
    kept: list[Any]
    """Tensors and others that the structure points to, kept alive."""


@runtime_checkable
class HasNativeForm(Protocol):
    """A source, or the head of a `DrawSource`, that brings compiled code of its own for the native engine.

    The code is used for the class that defines `native_source` itself. A subclass may have other formulas, so it is
    called back unless it defines the method, too.
    """

    def native_source(self, source: PixelSource, dtype: torch.dtype) -> NativeSource | None:
        """The compiled form for parameters of that dtype; None where there is none, and the source is called back.

        The code reads and writes memory by address: it has to check that the source fits by itself.
        """


def native_source(source: PixelSource, program: Program) -> NativeSource | None:
    """The source for a program, or None for one that the library has no function for.

    Raises `UserError` for a source of other images or of another head than the program's: the library would read
    memory that is not theirs.
    """
    for part in (source, source.head if type(source) is DrawSource else None):
        if isinstance(part, HasNativeForm) and "native_source" in vars(type(part)):
            return part.native_source(source, program.layout.like.dtype)
    # Exact types: a subclass may have other formulas.
    if type(source) is ForceSource:
        check_fits(source, program)
        return _forcing(source)
    if type(source) is DrawSource and type(source.head) in HEADS and type(source.walk) in (SumWalk, type(None)):
        check_fits(source, program)
        return _drawing(source, program)
    return None


def described(source: PixelSource) -> str:
    """Words for a source that the library has no function for."""
    if not isinstance(source, DrawSource):
        return type(source).__name__
    along = "" if source.walk is None else f" along {type(source.walk).__name__}"
    return f"draws from {type(source.head).__name__}{along}"


def _mixture(head: Head, source: DrawSource, drawing: Drawing) -> str:
    assert isinstance(head, LogisticMixtureHead)
    drawing.channels = head.channels
    drawing.components, drawing.modes = head.components, source.rule.name == "map"
    drawing.smallest_log_scale, drawing.largest_log_scale = SMALLEST_LOG_SCALE, LARGEST_LOG_SCALE
    drawing.reduction, drawing.smallest_reduced_log_scale = source.rule.reduction, SMALLEST_REDUCED_LOG_SCALE
    return "draw_mixture"


def _softmax(head: Head, source: DrawSource, drawing: Drawing) -> str:
    assert isinstance(head, SoftmaxHead)
    drawing.channels = head.channels
    return "draw_softmax"


HEADS: dict[type[Head], Callable[[Head, DrawSource, Drawing], str]] = {
    LogisticMixtureHead: _mixture,
    SoftmaxHead: _softmax,
}
"""Heads that drawing.cpp has a class for. Each function fills in the head's part and names the library's function."""


def _drawing(source: DrawSource, program: Program) -> NativeSource:
    kept: list[Tensor] = []

    def address(tensor: Tensor, dtype: torch.dtype = torch.int64) -> int:
        return _address(tensor, dtype, kept)

    places, batch, _ = source.uniforms.shape
    drawing = Drawing(
        batch=batch,
        levels=source.levels,
        outside=places - 1,
        uniforms=address(source.uniforms, torch.float64),
        temperature=source.rule.temperature,
    )
    if isinstance(source.walk, SumWalk):
        walk = source.walk
        drawing.groups, drawing.weights = address(walk.groups), address(walk.weights)
        drawing.least, drawing.most = address(walk.least), address(walk.most)
        drawing.later_images = walk.least.shape[2]
        drawing.lowest, drawing.highest = (
            _address(sums, torch.int64, kept, copied=False) for sums in (walk.lowest, walk.highest)
        )
    if source.limits is not None:
        drawing.low, drawing.high = address(source.limits.low), address(source.limits.high)
    function = HEADS[type(source.head)](source.head, source, drawing)
    suffix = "float" if program.layout.like.dtype == torch.float32 else "double"
    return NativeSource(f"{function}_{suffix}", drawing, kept)


def _forcing(source: ForceSource) -> NativeSource:
    kept: list[Tensor] = []
    _, batch, channels = source.image.shape
    forcing = Forcing(batch=batch, channels=channels, image=_address(source.image, torch.int64, kept))
    return NativeSource("force", forcing, kept)


def _address(tensor: Tensor, dtype: torch.dtype, kept: list[Tensor], *, copied: bool = True) -> int:
    """The address of a tensor's values. One that the library changes must not be copied."""
    tensor = tensor.contiguous() if copied else tensor
    assert tensor.is_contiguous()
    assert tensor.dtype == dtype
    kept.append(tensor)
    return tensor.data_ptr()
