"""`ctypes` structures that the C++ library reads. Their fields must have the order and the types of structures.h."""

from __future__ import annotations

import ctypes


class Clock(ctypes.Structure):
    _fields_ = [
        ("valid", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("origin", ctypes.c_int64),
        ("slots", ctypes.c_int64),
    ]


class Operand(ctypes.Structure):
    _fields_ = [
        ("base", ctypes.c_void_p),
        ("kind", ctypes.c_int32),
        ("clock", ctypes.c_int32),
        ("channels", ctypes.c_int64),
        ("row_stride", ctypes.c_int64),
        ("first_slot", ctypes.c_int64),
        ("slot_stride", ctypes.c_int64),
        ("capacity", ctypes.c_int64),
        ("delay", ctypes.c_int64),
        ("length", ctypes.c_int64),
        ("number", ctypes.c_double),
    ]


class Constants(ctypes.Structure):
    _fields_ = [
        ("table", ctypes.c_void_p),
        ("table_size", ctypes.c_int64),
        ("multiplier", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("constant", ctypes.c_double),
        ("scale", ctypes.c_double),
        ("limit", ctypes.c_double),
        ("rounds", ctypes.c_int64),
    ]


class Pieces(ctypes.Structure):
    _fields_ = [
        ("weights", ctypes.c_void_p),
        ("offsets", ctypes.c_void_p),
        ("inputs", ctypes.c_int64),
    ]


class Instruction(ctypes.Structure):
    _fields_ = [
        ("kind", ctypes.c_int32),
        ("function", ctypes.c_int32),
        ("clock", ctypes.c_int32),
        ("operand_count", ctypes.c_int32),
        ("lead", ctypes.c_int64),
        ("wrapped", ctypes.c_int64),
        ("mirror", ctypes.c_int64),
        ("operands", ctypes.POINTER(Operand)),
        ("output", Operand),
        ("panels", ctypes.c_void_p),
        ("bias", ctypes.c_void_p),
        ("initial", ctypes.POINTER(Operand)),
        ("constants", ctypes.POINTER(Constants)),
        ("pieces", ctypes.POINTER(Pieces)),
    ]


class List(ctypes.Structure):
    _fields_ = [
        ("instructions", ctypes.POINTER(Instruction)),
        ("count", ctypes.c_int64),
        ("threads", ctypes.c_int64),
    ]


class Program(ctypes.Structure):
    _fields_ = [
        ("clocks", ctypes.POINTER(Clock)),
        ("lists", ctypes.POINTER(List)),
        ("steps", ctypes.c_void_p),
        ("draws", ctypes.c_void_p),
        ("places", ctypes.c_void_p),
        ("clock_count", ctypes.c_int64),
        ("slots", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("outside", ctypes.c_int64),
        ("source", ctypes.c_void_p),
        ("source_state", ctypes.c_void_p),
        ("parameters", ctypes.c_void_p),
        ("drawn", ctypes.c_void_p),
        ("image", ctypes.c_void_p),
        ("encoded", ctypes.c_void_p),
        ("pixels", ctypes.c_void_p),
        ("mark", ctypes.c_double),
        ("channels", ctypes.c_int64),
        ("inputs", ctypes.c_int64),
        ("levels", ctypes.c_int64),
        ("source_threads", ctypes.c_int64),
        ("bytes", ctypes.c_void_p),
        ("not_pieces", ctypes.c_void_p),
    ]


class Drawing(ctypes.Structure):
    _fields_ = [
        ("channels", ctypes.c_int64),
        ("levels", ctypes.c_int64),
        ("batch", ctypes.c_int64),
        ("outside", ctypes.c_int64),
        ("constants", ctypes.c_void_p),
        ("restricted", ctypes.c_int64),
        ("groups", ctypes.c_void_p),
        ("weights", ctypes.c_void_p),
        ("least", ctypes.c_void_p),
        ("most", ctypes.c_void_p),
        ("later_images", ctypes.c_int64),
        ("lowest", ctypes.c_void_p),
        ("highest", ctypes.c_void_p),
        ("expected", ctypes.c_void_p),
        ("most_left", ctypes.c_void_p),
        ("neighbors", ctypes.c_void_p),
        ("positions", ctypes.c_int64),
        ("columns", ctypes.c_int64),
        ("uniforms", ctypes.c_void_p),
        ("low", ctypes.c_void_p),
        ("high", ctypes.c_void_p),
        ("bytes", ctypes.c_void_p),
        ("size", ctypes.c_int64),
        ("next", ctypes.c_void_p),
        ("code", ctypes.c_void_p),
        ("width", ctypes.c_void_p),
    ]


class HeadCode(ctypes.Structure):
    _fields_ = [
        ("constants_size", ctypes.c_int64),
        ("count", ctypes.CFUNCTYPE(None, ctypes.POINTER(Drawing), ctypes.POINTER(ctypes.c_int64))),
        ("draw_float", ctypes.c_void_p),
        ("draw_double", ctypes.c_void_p),
        ("decode", ctypes.c_void_p),
    ]


class Forcing(ctypes.Structure):
    _fields_ = [
        ("batch", ctypes.c_int64),
        ("channels", ctypes.c_int64),
        ("image", ctypes.c_void_p),
    ]


STRUCTURES: tuple[type[ctypes.Structure], ...] = (
    Clock,
    Operand,
    Constants,
    Pieces,
    Instruction,
    List,
    Program,
    Drawing,
    HeadCode,
    Forcing,
)
"""All structures, in the order of `structure_sizes` in program.cpp."""


def codes(library: ctypes.CDLL) -> dict[str, int]:
    """The values of the library's enumerations (kinds of instructions, kinds of operands, functions) by name."""
    library.names.restype = ctypes.c_char_p
    enumerations = [library.names(ctypes.c_int64(number)).decode().split() for number in range(3)]
    return {name: code for names in enumerations for code, name in enumerate(names)}


def differing(library: ctypes.CDLL) -> list[str]:
    """The names of the structures that have different sizes in the library and in Python.

    If the library has another number of structures, all names are returned.
    """
    library.structure_count.restype = ctypes.c_int64
    sizes = (ctypes.c_int64 * library.structure_count())()
    library.structure_sizes(sizes)
    if len(sizes) != len(STRUCTURES):
        return [structure.__name__ for structure in STRUCTURES]
    pairs = zip(STRUCTURES, sizes, strict=True)
    return [structure.__name__ for structure, size in pairs if ctypes.sizeof(structure) != size]
