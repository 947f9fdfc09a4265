"""The data set `emoji`: 6,269 color images by six vendors, 32×32 RGB, with train and test splits.

They were rendered from npm packages, which vendors.py names. The folder licenses/ has their licenses and copyrights.
"""

from auxar import Component, hookimpl
from auxar_emoji.selection import EmojiConfig, build

AUXAR_INTERFACE = 1


@hookimpl
def auxar_register_components() -> list[Component]:
    """Registers the data set `emoji`."""
    return [Component(kind="dataset", name="emoji", config=EmojiConfig, build=build)]
