"""The choice of a component by a recipe."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs


@attrs.frozen
class ComponentChoice:
    """The choice of a component: its name and its options."""

    name: str
    options: Mapping[str, Any] = attrs.field(factory=dict)
