"""The data set `noto-emoji`: 1511 emoji and flags in color, 32×32, for trying things out without a download.

Rendered by `render.py` from Noto Color Emoji, copyright Google Inc., under the SIL Open Font License (OFL.txt).
"""

from __future__ import annotations

from pathlib import Path

import attrs

from auxar import Component, hookimpl

AUXAR_INTERFACE = 2


@attrs.frozen
class NotoEmoji:
    """Noto Color Emoji: small color pictures on white, 32×32."""


@hookimpl
def auxar_register_components() -> list[Component]:
    """The data set, by its parquet file."""
    path = Path(__file__).parent / "emoji32.parquet"
    return [Component(kind="dataset", name="noto-emoji", config=NotoEmoji, build=lambda config: path)]
