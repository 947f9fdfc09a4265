"""The demo page: Gradio components and the actions that they call."""

import functools
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio
from PIL import ImageOps
from torch import Tensor

from auxar import ImageModel, UserError, load_plugins
from auxar_demo.actions import Box, Demo, Made

MOST_IMAGES, MOST_DRAWS = 64, 8
"""Maximum number of images, and of draws from a given picture."""
MOST_SEED = 2**53 - 1
"""Largest seed: the largest integer that browsers keep exactly."""
ROOM = 40
"""Height of the room above a sheet, where the buttons are, in pixels."""
PICTURE: dict[str, Any] = {"format": "png", "interactive": False, "buttons": ["download", "fullscreen"]}
"""Options of shown pictures. Gradio has one more button, which uploads a picture to another server."""
EVENT: dict[str, Any] = {"api_visibility": "private", "concurrency_id": "model"}
"""Options of actions: only one of them runs at a time, because they share the model."""
ABOUT = "Upload a picture: it is resized to the model's size, and its margins are cut off. Then choose what to do."


def page(model: ImageModel, uploads: Path) -> gradio.Blocks:
    """The page of a model. `uploads` is the folder of uploaded files."""
    demo, name = Demo(model), "model" if model.run is None else model.run.name
    exact = "exact likelihoods" if model.exact else "bounds of likelihoods"
    registry = load_plugins() if model.recipe is None else model.recipe.registry
    rules = sorted(registry.names("rule"), key=lambda rule: rule != "map")
    with gradio.Blocks(title=f"auxar: {name}", analytics_enabled=False) as blocks:
        gradio.Markdown(f"# auxar\n\n{name}: images of {model.image}, {exact}")
        with gradio.Row():
            rule = gradio.Dropdown(rules, value=rules[0], label="rule", allow_custom_value=True, elem_id="rule")
            seed = gradio.Number(0, label="seed", precision=0, minimum=0, maximum=MOST_SEED, elem_id="seed")
            condition = _condition(demo)
        with gradio.Tab("Sample"):
            count = gradio.Slider(1, MOST_IMAGES, value=16, step=1, label="images", elem_id="count")
            _action("sample", demo.sample, [count, rule, seed, condition], seed)
        with gradio.Tab("A picture of yours"):
            _picture(demo, uploads, rule, seed, condition)
    blocks.queue(default_concurrency_limit=1, max_size=20, api_open=False)
    return blocks


def _condition(demo: Demo) -> Any:
    """The control that chooses a label or attributes; without them, a value that is always None."""
    if demo.classes:
        return gradio.Dropdown(demo.classes, value=demo.classes[0], label="label", elem_id="condition")
    if demo.attributes:
        return gradio.CheckboxGroup(demo.attributes, value=[], label="attributes", elem_id="condition")
    return gradio.State(None)


def _picture(demo: Demo, uploads: Path, rule: gradio.Dropdown, seed: gradio.Number, condition: Any) -> None:
    spec = demo.model.image
    image, corner = gradio.State(None), gradio.State(None)
    part = gradio.State((0, spec.height // 2, spec.width, spec.height))
    gradio.Markdown(ABOUT)
    with gradio.Row():
        upload = gradio.Image(label="picture", sources=["upload", "clipboard"], elem_id="upload")
        seen = gradio.Image(label="the model's size", elem_id="seen", **PICTURE)
    draws = gradio.Slider(1, MOST_DRAWS, value=4, step=1, label="draws", elem_id="draws")
    given = [draws, rule, seed, condition]
    if demo.colorizes:
        with gradio.Tab("Colorize"):
            _action("colorize", demo.colorize, [image, *given], seed)
    if demo.enlarges:
        with gradio.Tab("Enlarge"):
            _action("enlarge", demo.enlarge, [image, *given], seed)
    with gradio.Tab("Complete"):
        gradio.Markdown("Click two corners of the part that is drawn anew. It is gray.")
        target = gradio.Image(label="part", elem_id="part", **PICTURE)
        _action("complete", demo.complete, [image, part, *given], seed)
    with gradio.Tab("Likelihood"):
        _action("likelihood", demo.measure, [image, condition])
    if demo.classes:
        with gradio.Tab("Classify"):
            _action("classify", demo.classify, [image])
    _prepare(demo, uploads, upload, image, corner, part, seen, target)


def _prepare(
    demo: Demo, uploads: Path, upload: Any, image: Any, corner: Any, part: Any, seen: Any, target: Any
) -> None:
    """Prepares an uploaded picture, and lets the user click two corners of the part that is drawn anew."""

    def prepared(file: dict[str, Any] | None, part: Box) -> tuple[Any, ...]:
        # An earlier picture and corner are forgotten, also if the new picture cannot be read.
        try:
            found = None if file is None else demo.prepare(_uploaded(Path(file["path"]), uploads))
        except UserError as error:
            gradio.Warning(str(error), duration=None)
            found = None
        return (None,) * 4 if found is None else (found, None, demo.picture(found), demo.picture(found, part))

    def clicked(event: gradio.SelectData, image: Tensor, corner: Any, part: Box) -> tuple[Any, ...]:
        column, row = (int(place) // demo.zoom for place in event.index)
        first, again = corner or (column, row), corner is not None
        columns, rows = sorted((first[0], column)), sorted((first[1], row))
        box = (columns[0], rows[0], columns[1] + 1, rows[1] + 1)
        # The first corner is shown as a gray pixel.
        return None if again else first, box if again else part, demo.picture(image, box)

    # Without `preprocess`, Gradio does not open the file itself.
    upload.change(prepared, [upload, part], [image, corner, seen, target], preprocess=False, **EVENT)
    target.select(clicked, [image, corner, part], [corner, part, target], **EVENT)


def _uploaded(path: Path, uploads: Path) -> Path:
    """The path of an uploaded file. Gradio accepts requests that name any other file."""
    if not path.resolve().is_relative_to(uploads.resolve()):
        raise UserError("this is not an uploaded file")
    return path


def _action(name: str, action: Callable[..., Made], inputs: list[Any], seed: gradio.Number | None = None) -> None:
    """A button for an action, and its result."""
    button = gradio.Button(name.capitalize(), variant="primary", elem_id=name)
    drawn = gradio.Image(show_label=False, elem_id=f"{name}-result", **PICTURE)
    about = gradio.Markdown(elem_id=f"about-{name}")

    @functools.wraps(action)  # Gradio reads the types of the arguments.
    def answer(first: Any, *values: Any) -> Made:
        began = time.monotonic()
        try:
            if first is None:
                raise UserError("upload a picture first")
            picture, text = action(first, *values)
        except UserError as error:
            raise gradio.Error(str(error), duration=None, print_exception=False) from None
        return ImageOps.expand(picture, (0, ROOM, 0, 0), fill="white"), f"{text}\n\n{time.monotonic() - began:.1f} s"

    done = button.click(answer, inputs, [drawn, about], **EVENT)
    if seed is not None:  # Another click draws other images.
        done.success(lambda value: (value + 1) % (MOST_SEED + 1), seed, seed, api_visibility="private")
