"""The version of the plugin interfaces, and the check of the version that a plugin declares."""

from __future__ import annotations

from auxar.errors import shown

INTERFACE_VERSION = 2
"""Version of the plugin interfaces. It is incremented when plugins must be adapted, because an interface has a new
abstract method or a method has other arguments or results."""
DECLARATION = "AUXAR_INTERFACE"
"""Name of the attribute in which a plugin declares the interface version that it supports. A plugin without it counts
as written for version 1."""


def interface_problem(plugin: object) -> str | None:
    """The reason why a plugin cannot be used, as a text to follow its name; None if it supports this version."""
    declared = getattr(plugin, DECLARATION, None)
    if declared is not None and (type(declared) is not int or declared < 1):
        return f"declares {DECLARATION} = {shown(declared)}, expected a positive integer such as {INTERFACE_VERSION}"
    version = 1 if declared is None else declared
    if version == INTERFACE_VERSION:
        return None
    without = f" (it does not declare {DECLARATION})" if declared is None else ""
    advice = "use a newer auxar"
    if version < INTERFACE_VERSION:
        advice = f"adapt it to version {INTERFACE_VERSION}, then set {DECLARATION} = {INTERFACE_VERSION} in it"
    return (
        f"was written for version {shown(version)} of auxar's interfaces{without}, but this auxar has version "
        f"{INTERFACE_VERSION}; {advice}"
    )
