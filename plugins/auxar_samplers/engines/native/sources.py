"""Compiled functions for pixel sources, which the C++ library calls in its own loop over the steps.

The library accesses memory by address and checks no index, so `check_fits` checks shapes, dtypes and ranges before.
"""

import ctypes
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, cast

import attrs
import numpy as np
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
    UserError,
    Walk,
)
from auxar.numerics.range_coder import TOTAL_BITS
from auxar_samplers.compiler.program import Program
from auxar_samplers.engines.base import BrokenError
from auxar_samplers.engines.native.library import Kept, compiled, library, structures


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
    floats, doubles = (code.draw_float, code.draw_double) if isinstance(source, DrawSource) else (None, code.decode)
    function = floats if single else doubles
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
    head: Any, parameters: Tensor, values: Tensor, low: Tensor, high: Tensor, centers: Tensor | None
) -> tuple[Tensor, Tensor] | None:
    """The ranges of pixels as `IntegerHead.coding_ranges` gives them, or None if there is no C++ library.

    `parameters` has shape (n, parameter_count), float64, and all other tensors and results are int64, (n, c), but for
    the centers, int64, (n, c or 4 · c).
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
    if centers is not None:
        coding.centers, coding.center_count = kept.address(centers), centers.shape[1]
    coding.constants = ctypes.addressof(form.constants)
    engine.compute_ranges(code.ranges, ctypes.addressof(coding), torch.get_num_threads())
    return starts, frequencies


def stream(ranges: Tensor) -> bytes | None:
    """The bytes that `IntegerHead.stream` makes of ranges, int64, (2, n), or None if there is no C++ library."""
    try:
        engine = library()
    except BrokenError:
        return None
    out = np.empty(TOTAL_BITS // 8 * ranges.shape[1] + 1, dtype=np.uint8)
    kept = Kept()
    count = engine.encode(kept.address(ranges.to("cpu", torch.int64).contiguous()), ranges.shape[1], kept.address(out))
    return out[:count].tobytes()


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


def check_fits(source: PixelSource, program: Program, parameters: int = 0, noise: int = 0) -> None:
    """Raises `UserError` if a shipped source does not fit the program's images or its head.

    The head's compiled code reads the given numbers of parameters and of random numbers for each pixel.
    """
    shape, most = tuple(program.image.shape), program.network.image.levels - 1
    if isinstance(source, ForceSource):
        _check("the images", source.image, shape, most=most)
        return
    assert isinstance(source, DrawSource | DecodeSource)
    levels = source.levels if isinstance(source, DrawSource) else source.image.levels
    _expect("the number of levels", levels, most + 1)
    _expect("the number of parameters of a pixel", parameters, program.output.values.shape[1])
    if isinstance(source, DecodeSource):
        _check_order(source, program)
    else:
        _check("the random numbers", source.uniforms, (*shape[:2], noise), torch.float64)
        for values in () if source.limits is None else (source.limits.low, source.limits.high):
            _check("the limits", values, shape, most=most)
    _check_walk(source.walk, program)


def _check_order(source: DecodeSource, program: Program) -> None:
    """Checks the images of a source, and the order of their pixels: the library decodes in the order of places."""
    image, shape = source.image, program.image.shape
    _check("the known pixels", source.known, (min(len(source.known), shape[0] - 1), *shape[1:]), most=image.levels - 1)
    found = image.height * image.width + 1, source.count, image.channels
    _expect("the shape (height · width + 1, images, channels)", found, tuple(shape))
    order = np.sort(program.places[program.draws[program.draws >= 0]], axis=1)
    if not np.array_equal(order[order < len(program.image) - 1], source.order.numpy()):
        raise UserError(
            f"the sampler asks for pixels in another order than that of the file, which has a lag of {source.lag}"
        )


def _check_walk(walk: Walk | None, program: Program) -> None:
    places, count, channels = program.image.shape
    if isinstance(walk, NeighborWalk):
        image = program.network.image
        _check("the drawn values", walk.values, (channels, (image.height + 2) * (image.width + 1), count))
        walk = walk.walk
    if not isinstance(walk, SumWalk):
        return
    groups, of_pixels = len(walk.lowest), (channels, places)
    for sums in (walk.lowest, walk.highest, walk.expected):
        _check("the sums", sums, (groups, count))
    _check("the group numbers", walk.groups, of_pixels, most=groups - 1)
    # What is left of sums follows from the groups and weights.
    _check("the weights in sums", walk.weights, of_pixels, least=1)


def _check(
    what: str,
    values: Tensor,
    shape: Sequence[int],
    dtype: torch.dtype = torch.int64,
    *,
    least: int = 0,
    most: int | None = None,
) -> None:
    """Raises `UserError` if a tensor has another dtype or shape, is not on the CPU, or has values out of range.

    The range is least … most. If `most` is None, it has no upper end; if also `least` is 0, it is not checked.
    """
    found = values.dtype, tuple(values.shape), values.device.type
    _expect(f"dtype, shape and device of {what}", found, (dtype, tuple(shape), "cpu"))
    if (most is None and not least) or not values.numel():
        return
    low, high = map(int, values.aminmax())
    if low < least or (most is not None and high > most):
        _expect(f"values of {what}", f"{low} … {high}", f"{least} …" if most is None else f"{least} … {most}")


def _expect(what: str, found: object, expected: object) -> None:
    if found != expected:
        raise UserError(f"the source does not fit the network: {what} must be {expected}, got {found}")
