"""Color images of emoji, 32×32 RGB, for experiments without a download, and models that are trained on them.

- `emoji`: 6,269 images by six vendors, with train and test splits. They were rendered from npm packages;
  vendors.py names these packages, and the folder licenses/ has their licenses and copyrights.
- The models `emoji32` and `emoji32_color`: the runs of the recipes of these names, exported in half precision.
"""

from __future__ import annotations

from pathlib import Path

import attrs

from auxar import Component, hookimpl
from auxar_emoji.selection import EmojiConfig, build

AUXAR_INTERFACE = 1


@attrs.frozen
class Emoji32:
    """Emoji of faces, animals and food at 32×32."""


@attrs.frozen
class Emoji32Color:
    """Colors of emoji of faces, animals and food at 32×32, given gray images."""


@hookimpl
def auxar_register_components() -> list[Component]:
    """Registers the data set `emoji` and the trained models. Each `build` returns a path."""
    folder = Path(__file__).parent
    return [
        Component(kind="dataset", name="emoji", config=EmojiConfig, build=build),
        Component(kind="model", name="emoji32", config=Emoji32, build=lambda config: folder / "emoji32"),
        Component(
            kind="model", name="emoji32_color", config=Emoji32Color, build=lambda config: folder / "emoji32_color"
        ),
    ]
