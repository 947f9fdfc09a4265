"""`ctypes` structures that the C++ library reads, with the fields that structures.h declares."""

from __future__ import annotations

import ctypes
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from torch import Tensor


def _declared(header: str) -> dict[str, Any]:
    """The structures of a header by name. A field is a number, a structure, or an address."""
    types: dict[str, Any] = {"int32_t": ctypes.c_int32, "int64_t": ctypes.c_int64, "double": ctypes.c_double}
    types |= dict.fromkeys(re.findall(r"using (\w+) =", header), ctypes.c_void_p)
    text = re.sub(r"//.*|\bconst\b", "", header)
    for name, body in re.findall(r"struct (\w+) \{(.*?)\};", text, re.DOTALL):
        declarations = re.findall(r"(\w+) ([^;]+);", body)
        found = [(kind, field.strip()) for kind, fields in declarations for field in fields.split(",")]
        fields = [(each.lstrip("*"), ctypes.c_void_p if each[0] == "*" else types[kind]) for kind, each in found]
        types[name] = type(name, (ctypes.Structure,), {"_fields_": fields})
    return types


structures = SimpleNamespace(**_declared((Path(__file__).parent / "structures.h").read_text(encoding="utf-8")))
"""The structures of structures.h by name."""


class Kept(list[object]):
    """The objects whose addresses the library gets, which must be kept alive."""

    def address(self, values: Any) -> int:
        """The address of a contiguous tensor or array, or of a structure, from now on kept alive."""
        self.append(values)
        if isinstance(values, Tensor):
            assert values.is_contiguous()
            return values.data_ptr()
        return values.ctypes.data if isinstance(values, np.ndarray) else ctypes.addressof(values)


def codes(library: ctypes.CDLL) -> dict[str, int]:
    """The values of the library's enumerations (kinds of instructions, kinds of operands, functions) by name."""
    enumerations = [library.names(number).decode().split() for number in range(3)]
    return {name: code for names in enumerations for code, name in enumerate(names)}
