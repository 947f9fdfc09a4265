"""The version of the interfaces, and the version that a plugin declares it was made for."""

from __future__ import annotations

from auxar.errors import shown

INTERFACE_VERSION = 2
"""Rises when plugins have to be changed: with an abstract method, the arguments of a call, or what is handed over."""
DECLARATION = "AUXAR_INTERFACE"
"""The attribute by which a plugin declares its version. Version 1 had no declarations."""


def interface_problem(plugin: object) -> str | None:
    """Why a plugin cannot be used, as the rest of a sentence about it; None if it is made for this version."""
    declared = getattr(plugin, DECLARATION, None)
    if declared is not None and (type(declared) is not int or declared < 1):
        return f"declares {DECLARATION} = {shown(declared)}, expected a number such as {INTERFACE_VERSION}"
    version = 1 if declared is None else declared
    if version == INTERFACE_VERSION:
        return None
    without = f", as it declares no {DECLARATION}" if declared is None else ""
    advice = "use a newer auxar"
    if version < INTERFACE_VERSION:
        advice = f"adapt it to these, and then write {DECLARATION} = {INTERFACE_VERSION} into it"
    return (
        f"was made for version {shown(version)} of auxar's interfaces{without}, and this auxar has version "
        f"{INTERFACE_VERSION}; {advice}"
    )
