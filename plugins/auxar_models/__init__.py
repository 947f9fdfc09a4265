"""Trained models: runs of the recipes of their names, exported in half precision.

Each folder contains one model. The header of its `recipe.toml` says what it is, its license, and whose images it was
trained on.
"""

from pathlib import Path

import attrs

from auxar import Component, hookimpl

AUXAR_INTERFACE = 1
MODELS = {
    "emoji32": "Emoji of faces, animals and food at 32×32.",
    "emoji32_color": "Colors of emoji of faces, animals and food at 32×32, given gray images.",
    "letters32": "Letters A … Z at 32×32, given the letter.",
    "photos": "Photographs of any size.",
}
"""The models, and their images."""


@hookimpl
def auxar_register_components() -> list[Component]:
    """Registers the models. Each `build` returns the folder of the model."""
    return [_component(name, text) for name, text in MODELS.items()]


def _component(name: str, text: str) -> Component:
    config = attrs.make_class(name, [], class_body={"__doc__": text}, frozen=True)
    return Component("model", name, config, lambda _: Path(__file__).parent / name)
