"""Compiled functions for pixel sources, which the C++ library calls in its own loop over the steps."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import attrs
import torch
from torch import Tensor

from auxar import (
    REFERENCES,
    Adjustments,
    DecodeSource,
    DrawSource,
    ForceSource,
    NeighborWalk,
    PixelSource,
    SumWalk,
    Walk,
)
from auxar_samplers.compiler.program import Program
from auxar_samplers.engines.base import BrokenError
from auxar_samplers.engines.native.fitting import check_fits
from auxar_samplers.engines.native.library import compiled, library
from auxar_samplers.engines.native.structures import Kept, structures


@attrs.frozen(eq=False)
class NativeForm:
    """C++ code of a likelihood head for the native engine, which draws and decodes pixels with it."""

    code: str | Path
    """C++17 code that defines `auxar_head`, as pixels.h explains, or the path of a file with it."""
    constants: ctypes.Structure
    """The code's `Constants`, with the same fields in the same order."""
    kept: Any = None
    """Objects that `constants` points to, which must be kept alive."""


class HasNativeForm(Protocol):
    """A likelihood head with C++ code for the native engine.

    The code is used only if the head's own class defines `native_form`. A subclass that does not define it may compute
    something else, so Python then draws at each step.
    """

    def native_form(self, adjustments: Adjustments) -> NativeForm | None:
        """The head's C++ code for draws with adjustments. If it is None, Python draws at each step."""


@attrs.frozen(eq=False)
class NativeSource:
    """A pixel source for the native engine: a compiled function of type `Source` (structures.h) and its state."""

    function: Any
    """A ctypes function or its address."""
    state: ctypes.Structure
    """The structure whose address is the function's first argument."""
    kept: Sequence[Any] = ()
    """Objects that `state` points to, which must be kept alive."""
    threads: int = 1
    """Largest number of threads that can share the work of a step."""


def native_source(source: PixelSource, program: Program, library: ctypes.CDLL) -> NativeSource | None:
    """The compiled source for a program, or None if there is no compiled function for this source.

    `library` is the engine's own. Raises `UserError` if a shipped source does not fit the program's images or its head,
    because compiled code would access memory outside its tensors, and `BrokenError` if a head's code is invalid.
    """
    # Types must be equal, because a subclass may compute something else.
    if type(source) is ForceSource:
        check_fits(source, program)
        kept = Kept()
        forcing = structures.Forcing(*source.image.shape[1:], kept.address(source.image.contiguous()))
        return NativeSource(library.force, forcing, kept)
    if isinstance(source, DrawSource) and source.operation is not None:
        return None  # The rule's own operation runs in Python.
    if isinstance(source, DrawSource | DecodeSource) and type(source) in (DrawSource, DecodeSource):
        return _drawing(source, program)
    return None


def described(source: PixelSource) -> str:
    """A short description of a pixel source for the log."""
    if not isinstance(source, DrawSource):
        return type(source).__name__
    walk = "" if source.walk is None else f" and {type(source.walk).__name__}"
    return f"{type(source).__name__} with {type(source.head).__name__}{walk}"


def _drawing(source: DrawSource | DecodeSource, program: Program) -> NativeSource | None:
    adjustments = source.adjustments if isinstance(source, DrawSource) else Adjustments()
    walk = source.walk.walk if type(source.walk) is NeighborWalk else source.walk
    if "native_form" not in vars(type(source.head)) or type(walk) not in (SumWalk, type(None)):
        return None
    form = cast(HasNativeForm, source.head).native_form(adjustments)
    if form is None:
        return None
    code = _head_code(form, type(source.head).__name__)
    single = program.layout.like.dtype == torch.float32
    if isinstance(source, DrawSource):
        function = code.draw_float if single else code.draw_double
    else:
        function = None if single else code.decode
    if function is None:
        return None
    kept = Kept([form])
    places, batch, channels = program.image.shape
    drawing = structures.Drawing(batch=batch, outside=places - 1, restricted=source.restricted, references=1)
    drawing.image = structures.Image(channels, program.network.image.levels)
    drawing.constants = ctypes.addressof(form.constants)
    counts = (ctypes.c_int64 * 2)()
    ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_void_p)(code.count)(
        ctypes.addressof(drawing), ctypes.addressof(counts)
    )
    check_fits(source, program, *counts)
    _set_walk(drawing, source.walk, kept, centered=source.head.centered)
    if isinstance(source, DecodeSource):
        # The library changes the state of the decoders.
        for name in ("bytes", "next", "code", "width"):
            setattr(drawing, name, kept.address(getattr(source.decoders, name)))
        drawing.size = source.decoders.bytes.shape[1]
        drawing.known, drawing.known_pixels = len(source.known), kept.address(source.known)
        return NativeSource(function, drawing, kept, threads=drawing.batch)
    drawing.uniforms = kept.address(source.uniforms.contiguous())
    if source.limits is not None:
        drawing.low, drawing.high = map(kept.address, (source.limits.low.contiguous(), source.limits.high.contiguous()))
    return NativeSource(function, drawing, kept, threads=drawing.batch * program.places.shape[1])


def coding_ranges(
    head: Any, parameters: Tensor, values: Tensor, low: Tensor, high: Tensor
) -> tuple[Tensor, Tensor] | None:
    """The ranges of pixels as `IntegerHead.coding_ranges` gives them, or None if there is no C++ library.

    `parameters` has shape (n, parameter_count), float64, and all other tensors and results are int64, (n, c).
    """
    form = head.native_form(Adjustments())
    try:
        code, engine = _head_code(form, type(head).__name__), library()
    except BrokenError:
        return None
    kept, (starts, frequencies) = Kept([form]), torch.empty((2, *values.shape), dtype=torch.int64)
    names = ("parameters", "values", "low", "high", "starts", "frequencies")
    tensors = (parameters, values, low, high, starts, frequencies)
    coding = structures.Coding(count=len(values), **dict(zip(names, map(kept.address, tensors), strict=True)))
    coding.image = structures.Image(head.channels, head.levels)
    coding.constants = ctypes.addressof(form.constants)
    engine.compute_ranges(code.ranges, ctypes.addressof(coding), torch.get_num_threads())
    return starts, frequencies


def _head_code(form: NativeForm, name: str) -> Any:
    """The compiled code of a head. Raises `BrokenError` if it cannot be compiled or its constants differ."""
    try:
        code = structures.HeadCode.in_dll(compiled(form.code, f"the C++ code of {name}"), "auxar_head")
    except (BrokenError, ValueError) as error:  # ctypes raises ValueError for a missing variable.
        raise BrokenError(f"the C++ code of {name}: {error}") from None
    size = ctypes.sizeof(form.constants)
    if code.constants_size != size:
        raise BrokenError(f"the constants of {name} have {size} bytes in Python, but {code.constants_size} in C++")
    return code


def _set_walk(drawing: Any, walk: Walk | None, kept: Kept, *, centered: bool) -> None:
    """Sets the fields that describe a walk and, if `centered`, the centers, unless the walk is None.

    The library changes the drawn values and the sums that remain.
    """
    if isinstance(walk, NeighborWalk):
        drawing.neighbors = kept.address(walk.values)
        drawing.positions, drawing.columns = walk.values.shape[1], walk.width
        drawing.references = REFERENCES if walk.append else 1
        walk = walk.walk
    if not isinstance(walk, SumWalk):
        return
    for field in ("groups", "weights", "least", "most", *(["most_left"] if centered else [])):
        setattr(drawing, field, kept.address(getattr(walk, field).contiguous()))
    for field in ("lowest", "highest", *(["expected"] if centered else [])):
        setattr(drawing, field, kept.address(getattr(walk, field)))
    drawing.later_images = walk.least.shape[2]
