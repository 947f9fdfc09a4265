"""The arithmetic `integer`: frequencies and samples that are the same, bit for bit, on every machine."""

from __future__ import annotations

from auxar import Component, hookimpl
from auxar_integers.arithmetic import IntegerArithmetic
from auxar_integers.conversion import IntegerConfig

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> list[Component]:
    """Registers the arithmetic `integer`."""
    return [Component("arithmetic", "integer", IntegerConfig, IntegerArithmetic)]
