"""Actions of the demo page: each draws with a model or measures a picture, and returns a picture and a sentence."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.arguments import as_integer
from auxar.draw.conditions import ALL, NONE, every_class
from auxar.draw.given import gray_view, smaller_views
from auxar.draw.image_model import ImageModel
from auxar.draw.sheets import to_uint8
from auxar.errors import UserError, shown
from auxar.evaluation.codecs import codec_sizes, has_codec
from auxar.plugins import load_plugins
from auxar.recipe.json_values import has_required

MOST_IMAGES = 64
"""Maximum number of images that are drawn at once."""
MOST_SEED = 2**53 - 1
"""Largest seed: the largest integer that browsers keep exactly."""
MOST_CLASSES = 5
"""Number of classes that are shown for a picture."""
MOST_DRAWS = 8
"""Maximum number of draws from a given picture."""
SHOWN_SIDE = 384
"""Approximate longer side of an enlarged picture, in pixels."""
COLORS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
"""Colors of a map of bits, from 0 to the largest value."""
ERASED = 128
"""The gray of pixels that are drawn anew, in a picture that shows them."""


@attrs.frozen
class Rectangle:
    """A part of an image: rows top … bottom - 1 and columns left … right - 1."""

    top: int
    left: int
    bottom: int
    right: int

    @classmethod
    def between(cls, one: tuple[int, int], other: tuple[int, int]) -> Rectangle:
        """The rectangle with two pixels (row, column) as its opposite corners."""
        (top, bottom), (left, right) = (sorted(pair) for pair in zip(one, other, strict=True))
        return cls(top, left, bottom + 1, right + 1)


class Demo:
    """The actions of the demo page with a model. Only one of them runs at a time, because they share the model."""

    def __init__(self, model: ImageModel, name: str) -> None:
        self.model = model
        self.name = name
        self._lock = threading.Lock()

    @property
    def colorizes(self) -> bool:
        """Whether the model has a gray view of a color image."""
        return gray_view(self.model.chain) is not None

    @property
    def enlarges(self) -> bool:
        """Whether the model has a view that is smaller than its images."""
        return bool(smaller_views(self.model.chain))

    @property
    def description(self) -> str:
        """A sentence about the model."""
        exact = "exact likelihoods" if self.model.exact else "bounds of likelihoods"
        return f"{self.name}: images of {self.model.image}, {exact}"

    @property
    def rules(self) -> list[str]:
        """The drawing rules without required options, beginning with `map`."""
        registry = self.model.registry or load_plugins()
        names = [each for each in registry.names("rule") if not has_required(registry.get("rule", each, "rule").config)]
        return sorted(names, key=lambda name: name != "map")

    @property
    def classes(self) -> list[str]:
        """The choices of a label: all classes in turn, none if the model accepts it, and each class.

        Empty if the model's condition is no label.
        """
        condition = self.model.condition
        if condition is None or condition.kind != "label":
            return []
        return [ALL, *([NONE] if condition.optional else []), *every_class(condition).names]

    @property
    def attributes(self) -> list[str]:
        """The names of the attributes that the model is given; empty if its condition is no attributes."""
        condition = self.model.condition
        return list(condition.names) if condition is not None and condition.kind == "attributes" else []

    # The page's limits do not bind other programs that send requests, so each action checks its numbers.

    def sample(self, count: int, rule: str, seed: int, condition: Any = None) -> tuple[Image.Image, str]:
        """Draws images. Returns their sheet, and a sentence about it.

        `condition` is one of `classes`, or a list of `attributes`; None for models without them.
        """
        count, seed = as_integer(count, "images", 1, MOST_IMAGES), as_integer(seed, "seed", 0, MOST_SEED)
        with self._working() as elapsed:
            given = self._given(condition, several=True)
            drawn = self.model.sample(count, rule=rule, seed=seed, condition=given, progress=False)
            about = f"{_counted(count, 'image')}{_of(given)}, rule {rule}, seed {seed}, {elapsed()}"
            return drawn.sheet(), about

    def prepare(self, path: Path) -> Tensor:
        """Converts an uploaded picture to an image of the model, uint8 (1, c, h, w). Its margins are cut off.

        Raises `UserError` if it is not a picture that auxar reads.
        """
        try:
            with self._lock:  # Several large pictures at once could need too much memory.
                return self.model.prepare(path, resize="cover")
        except UserError as error:
            # The user knows the name of the file, and not the place where the server keeps it.
            raise UserError(str(error).replace(f"{path.parent}/", "").removeprefix("images: ")) from None

    def shown(self, image: Tensor, erased: Rectangle | None = None) -> Image.Image:
        """An image (1, c, h, w) as an enlarged picture, in which the pixels to erase are gray."""
        pixels = to_uint8(image, self.model.image)[0]
        if erased is not None:
            pixels[erased.top : erased.bottom, erased.left : erased.right] = ERASED
        return self._enlarged(pixels)

    def pixel_at(self, place: Any) -> tuple[int, int]:
        """The row and the column of the pixel at a place (x, y) of a picture that `shown` made.

        Raises `UserError` if the place is not two finite numbers.
        """
        try:
            x, y = map(float, place)
            row, column = int(y), int(x)
        except (TypeError, ValueError, OverflowError):
            raise UserError("expected the place of a click") from None
        zoom, image = self._zoom, self.model.image
        return min(max(row // zoom, 0), image.height - 1), min(max(column // zoom, 0), image.width - 1)

    def colorize(
        self, image: Tensor, draws: int, rule: str, seed: int, condition: Any = None
    ) -> tuple[Image.Image, str]:
        """Draws images with the gray view of an image. Returns a sheet, and a sentence about it."""
        draws, seed = as_integer(draws, "draws", 1, MOST_DRAWS), as_integer(seed, "seed", 0, MOST_SEED)
        with self._working() as elapsed:
            given = self._given(condition)
            drawn = self.model.colorize(image, draws, rule=rule, seed=seed, condition=given, progress=False)
            return drawn.sheet(), _about(draws, given, rule, seed, elapsed())

    def enlarge(
        self, image: Tensor, draws: int, rule: str, seed: int, condition: Any = None
    ) -> tuple[Image.Image, str]:
        """Draws images with the first smaller view of an image. Returns a sheet, and a sentence about it."""
        draws, seed = as_integer(draws, "draws", 1, MOST_DRAWS), as_integer(seed, "seed", 0, MOST_SEED)
        with self._working() as elapsed:
            given = self._given(condition)
            drawn = self.model.enlarge(image, draws, rule=rule, seed=seed, condition=given, progress=False)
            return drawn.sheet(), _about(draws, given, rule, seed, elapsed())

    def complete(
        self, image: Tensor, erased: Rectangle, draws: int, rule: str, seed: int, condition: Any = None
    ) -> tuple[Image.Image, str]:
        """Draws a part of an image anew. Returns a sheet, and a sentence about it."""
        draws, seed = as_integer(draws, "draws", 1, MOST_DRAWS), as_integer(seed, "seed", 0, MOST_SEED)
        keep = torch.ones(self.model.image.height, self.model.image.width, dtype=torch.bool)
        keep[erased.top : erased.bottom, erased.left : erased.right] = False
        with self._working() as elapsed:
            given = self._given(condition)
            drawn = self.model.complete(image, keep, draws, rule=rule, seed=seed, condition=given, progress=False)
            return drawn.sheet(), _about(draws, given, rule, seed, elapsed())

    def measure(self, image: Tensor, condition: Any = None) -> tuple[Image.Image, str]:
        """Measures an image. Returns a map of the bits of its pixels, and a table of sizes in Markdown."""
        with self._working() as elapsed:
            bits = self.model.pixel_bits(image, condition=self._given(condition))[0]
            duration = elapsed()
        total, dims = float(bits.sum()), self.model.image.dims
        at_most = "" if self.model.exact else "at most "
        most = max(float(bits.max()), 1e-9)
        lines = [
            f"**{at_most}{total / dims:.3f} bits/dim**. The map shows the bits of each pixel, from 0 (dark) to "
            f"{most:.1f} (bright), {duration}.",
            "",
            "| file | bytes | bits/dim |",
            "|---|---|---|",
            f"| this model ({at_most}−log₂ p) | {math.ceil(total / 8):,} | {total / dims:.3f} |",
        ]
        if has_codec(self.model.image):
            sizes = codec_sizes(image[0])
            lines += [f"| {name} | {size:,} | {8 * size / dims:.3f} |" for name, size in sizes.items()]
        lines.append(
            f"| uncompressed | {math.ceil(dims * math.log2(self.model.image.levels) / 8):,} | "
            f"{math.log2(self.model.image.levels):.3f} |"
        )
        return self._enlarged(_map(bits.numpy() / most)), "\n".join(lines)

    def classify(self, image: Tensor) -> tuple[Image.Image, str]:
        """Classifies an image. Returns it as a picture, and a table of the most probable classes in Markdown."""
        with self._working() as elapsed:
            found = self.model.classify(image)
            duration = elapsed()
        values, places = found.probabilities[0].topk(min(MOST_CLASSES, len(found.names)))
        rows = [
            f"| {found.names[place]} | {value:.3f} |"
            for value, place in zip(values.tolist(), places.tolist(), strict=True)
        ]
        kind = "exact p(X \\| y)" if found.exact else "lower bounds of p(X \\| y)"
        return self.shown(image), "\n".join(
            ["| class | p(y \\| X) |", "|---|---|", *rows, "", f"from {kind}, {duration}"]
        )

    def _given(self, choice: Any, *, several: bool = False) -> Any:
        """The argument `condition` of the model's functions. Without `several`, one condition is needed.

        Raises `UserError` if the choice is not one of the page's.
        """
        if self.attributes:
            chosen = choice if isinstance(choice, list) else []
            if unknown := [each for each in chosen if each not in self.attributes]:
                raise UserError(f"there is no attribute {shown(unknown[0])}")
            return [chosen]
        if not self.classes:
            return None
        if choice not in self.classes:
            raise UserError(f"there is no class {shown(choice)}")
        assert self.model.condition is not None
        if choice == ALL and several:
            return every_class(self.model.condition)
        if choice == ALL and not self.model.condition.optional:
            raise UserError("choose a class: this model needs one for each picture")
        return None if choice in (ALL, NONE) else choice

    @contextmanager
    def _working(self) -> Iterator[Any]:
        """Holds the model. Yields a function that returns the time since then, in words."""
        with self._lock:
            began = time.monotonic()
            yield lambda: f"{time.monotonic() - began:.1f} s"

    @property
    def _zoom(self) -> int:
        return max(1, SHOWN_SIDE // max(self.model.image.height, self.model.image.width))

    def _enlarged(self, pixels: np.ndarray) -> Image.Image:
        return Image.fromarray(pixels.repeat(self._zoom, axis=0).repeat(self._zoom, axis=1))


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _of(given: Any) -> str:
    """A clause that names one condition; empty if there is none, or if there are several."""
    if isinstance(given, list):
        return f" of {', '.join(given[0]) or 'no attributes'}"
    return f" of {given}" if isinstance(given, str) else ""


def _about(draws: int, given: Any, rule: str, seed: int, duration: str) -> str:
    columns = f"columns: the picture, its given part, and {_counted(draws, 'draw')}{_of(given)}"
    return f"{columns}; rule {rule}, seed {seed}, {duration}"


def _map(shares: np.ndarray) -> np.ndarray:
    """Colors of values from 0 to 1: uint8, (h, w, 3)."""
    places = np.linspace(0, 1, len(COLORS))
    channels = [np.interp(shares, places, [color[channel] for color in COLORS]) for channel in range(3)]
    return np.stack(channels, axis=2).round().astype(np.uint8)
