"""The demo page: Gradio components and the actions that they call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gradio
from PIL import Image, ImageOps
from torch import Tensor

from auxar.errors import UserError
from auxar.web.actions import MOST_DRAWS, MOST_IMAGES, MOST_SEED, Demo, Rectangle

Made = tuple[Image.Image, str]
"""A picture and a sentence about it."""
FONTS = ("system-ui", "sans-serif")
"""Fonts of the user's system. The fonts of Gradio's themes are loaded from another server."""
BUTTONS = ["download", "fullscreen"]
"""The buttons of a picture. Gradio has one more, which uploads it to another server."""
ROOM = 40
"""Height of the room above a sheet, where the buttons are, in pixels."""
ABOUT = """Upload a picture: it is resized to the model's size, and its margins are cut off. Then choose what to do."""


def page(demo: Demo, uploads: Path) -> gradio.Blocks:
    """The page of a demo. `uploads` is the folder of uploaded files."""
    blocks = gradio.Blocks(title=f"auxar: {demo.name}", analytics_enabled=False)
    with blocks:
        gradio.Markdown(f"# auxar\n\n{demo.description}")
        with gradio.Row():
            rule = gradio.Dropdown(demo.rules, value=demo.rules[0], label="rule", elem_id="rule")
            seed = gradio.Number(0, label="seed", precision=0, elem_id="seed")
            condition = _condition(demo)
        with gradio.Tab("Sample"):
            _sampling(demo, rule, seed, condition)
        with gradio.Tab("A picture of yours"):
            _picture(demo, rule, seed, condition, uploads)
    blocks.queue(default_concurrency_limit=1, max_size=20)
    return blocks


def _condition(demo: Demo) -> Any:
    """The control that chooses a label or attributes; without them, a value that is always None."""
    if demo.classes:
        return gradio.Dropdown(demo.classes, value=demo.classes[0], label="label", elem_id="condition")
    if demo.attributes:
        return gradio.CheckboxGroup(demo.attributes, value=[], label="attributes", elem_id="condition")
    return gradio.State(None)


def _sampling(demo: Demo, rule: gradio.Dropdown, seed: gradio.Number, condition: Any) -> None:
    count = gradio.Slider(1, MOST_IMAGES, value=16, step=1, label="images", elem_id="count")
    button = gradio.Button("Draw", variant="primary", elem_id="draw")
    drawn = gradio.Image(label="samples", format="png", interactive=False, buttons=BUTTONS, elem_id="samples")
    about = gradio.Markdown(elem_id="about-samples")
    inputs = [count, rule, seed, condition]
    button.click(_answered(demo.sample), inputs, [drawn, about], api_visibility="private").success(
        _next, seed, seed, api_visibility="private"
    )


def _picture(demo: Demo, rule: gradio.Dropdown, seed: gradio.Number, condition: Any, uploads: Path) -> None:
    image, corner, erased = gradio.State(None), gradio.State(None), gradio.State(_lower_half(demo))
    gradio.Markdown(ABOUT)
    with gradio.Row():
        upload = gradio.Image(label="picture", sources=["upload", "clipboard"], elem_id="upload")
        seen = gradio.Image(label="the model's size", format="png", interactive=False, buttons=BUTTONS, elem_id="seen")
    draws = gradio.Slider(1, MOST_DRAWS, value=4, step=1, label="draws", elem_id="draws")
    given = [image, draws, rule, seed, condition]
    if demo.colorizes:
        with gradio.Tab("Colorize"):
            _drawing("colorize", demo.colorize, given, seed)
    if demo.enlarges:
        with gradio.Tab("Enlarge"):
            _drawing("enlarge", demo.enlarge, given, seed)
    with gradio.Tab("Complete"):
        gradio.Markdown("Click two corners of the part that is drawn anew. It is gray.")
        target = gradio.Image(label="part", format="png", interactive=False, buttons=BUTTONS, elem_id="part")
        _drawing("complete", demo.complete, [image, erased, draws, rule, seed, condition], seed)
    with gradio.Tab("Likelihood"):
        _drawing("likelihood", demo.measure, [image, condition], None)
    if demo.classes:
        with gradio.Tab("Classify"):
            _drawing("classify", demo.classify, [image], None)

    def prepared(file: dict[str, Any] | None, part: Rectangle) -> tuple[Tensor | None, Any, Any, Any]:
        # An earlier picture and corner are forgotten, also if the new picture cannot be read.
        if file is None:
            return None, None, None, None
        path = Path(file["path"])
        if not (path.is_file() and path.resolve().is_relative_to(uploads.resolve())):
            gradio.Warning("this is not an uploaded file")
            return None, None, None, None
        try:
            found = demo.prepare(path)
        except UserError as error:
            gradio.Warning(str(error), duration=None)
            return None, None, None, None
        return found, None, demo.shown(found), demo.shown(found, part)

    def clicked(event: gradio.SelectData, found: Tensor | None, first: Any, part: Rectangle) -> tuple[Any, Any, Any]:
        place = demo.pixel_at(event.index)
        if first is None:
            # The first corner is shown as a gray pixel.
            return place, part, None if found is None else demo.shown(found, Rectangle.between(place, place))
        part = Rectangle.between(first, place)
        return None, part, None if found is None else demo.shown(found, part)

    # Without `preprocess`, Gradio does not open the file itself.
    outputs = [image, corner, seen, target]
    upload.change(prepared, [upload, erased], outputs, preprocess=False, api_visibility="private")
    target.select(_answered(clicked), [image, corner, erased], [corner, erased, target], api_visibility="private")


def _drawing(name: str, action: Callable[..., Made], inputs: list[Any], seed: gradio.Number | None) -> None:
    """A button for an action, and its result."""
    button = gradio.Button(name.capitalize(), variant="primary", elem_id=name)
    drawn = gradio.Image(show_label=False, format="png", interactive=False, buttons=BUTTONS, elem_id=f"{name}-result")
    about = gradio.Markdown(elem_id=f"about-{name}")

    def answer(image: Tensor | None, *values: Any) -> Made:
        if image is None:
            raise UserError("upload a picture first")
        picture, text = action(image, *values)
        return ImageOps.expand(picture, (0, ROOM, 0, 0), fill="white"), text

    done = button.click(_answered(answer), inputs, [drawn, about], api_visibility="private")
    if seed is not None:
        done.success(_next, seed, seed, api_visibility="private")


def _answered(action: Callable[..., Any]) -> Callable[..., Any]:
    """Wraps an action so that a `UserError` is shown on the page."""

    @functools.wraps(action)  # Gradio reads the types of the arguments.
    def answered(*values: Any) -> Any:
        try:
            return action(*values)
        except UserError as error:
            raise gradio.Error(str(error), duration=None, print_exception=False) from None

    return answered


def _next(seed: int) -> int:
    """The next seed, so that another click draws other images."""
    return seed + 1 if seed < MOST_SEED else 0


def _lower_half(demo: Demo) -> Rectangle:
    image = demo.model.image
    return Rectangle(image.height // 2, 0, image.height, image.width)


def theme() -> Any:
    """A theme with fonts of the user's system."""
    return gradio.themes.Default(font=FONTS, font_mono=("ui-monospace", "monospace"))
