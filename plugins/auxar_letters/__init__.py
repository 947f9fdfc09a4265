"""The data set `letters`: the letters A … Z in 571 fonts, 32×32, with their names as labels.

They were rendered from npm packages of fonts. All fonts have the SIL Open Font License; fonts.csv has their
packages and copyrights.
"""

from pathlib import Path

import attrs

from auxar import Component, hookimpl

AUXAR_INTERFACE = 1


@attrs.frozen
class Letters:
    """Capital letters A … Z in 571 fonts, black on white, 32×32 in 16 grays, with the splits train and test.

    All letters of a font are in the same split. The text columns `letter`, `font` and `weight` (400 is regular, 700 is
    bold) can be read as labels.
    """


@hookimpl
def auxar_register_components() -> list[Component]:
    """Registers the data set. Its `build` returns the path of its folder."""
    folder = Path(__file__).parent / "letters"
    return [Component(kind="dataset", name="letters", config=Letters, build=lambda config: folder)]
