"""The data set `noto-emoji`: 1511 color images of emoji and flags, 32×32 RGB, for experiments without a download.

The images were rendered by `render.py` from the font Noto Color Emoji, copyright Google Inc., licensed under the SIL
Open Font License (OFL.txt).
"""

from __future__ import annotations

from pathlib import Path

import attrs

from auxar import Component, hookimpl

AUXAR_INTERFACE = 2


@attrs.frozen
class NotoEmoji:
    """Color images of Noto emoji and flags on white, 32×32 RGB."""


@hookimpl
def auxar_register_components() -> list[Component]:
    """Registers the data set `noto-emoji`. Its `build` returns the path of the parquet file."""
    path = Path(__file__).parent / "emoji32.parquet"
    return [Component(kind="dataset", name="noto-emoji", config=NotoEmoji, build=lambda config: path)]
