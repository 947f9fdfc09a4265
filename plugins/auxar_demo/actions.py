"""Actions of the demo page: each draws with a model or measures a picture, and returns a picture and a text."""

import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar import ImageModel, Images, UserError, codec_sizes

Made = tuple[Image.Image, str]
"""A picture and a text about it, in Markdown."""
Box = tuple[int, int, int, int]
"""A part of an image: left, top, right and bottom, as Pillow gives it."""
ALL, NONE = "all", "none"
"""The choices of a label that stand for all classes in turn, and for no class."""
MOST_CLASSES = 5
"""Number of classes that are shown for a picture."""
SHOWN_SIDE = 384
"""Approximate longer side of an enlarged picture, in pixels."""
COLORS = ((0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164))
"""Colors of a map of bits, from 0 to the largest value."""


@attrs.frozen
class Demo:
    """The actions of the demo page with a model."""

    model: ImageModel

    @property
    def colorizes(self) -> bool:
        """Whether the model has a gray view of a color image."""
        return any((one.channels, other.channels) == (3, 1) for one, other in pairwise(self.model.chain.specs))

    @property
    def enlarges(self) -> bool:
        """Whether the model has a view that is smaller than its images."""
        return len({(spec.height, spec.width) for spec in self.model.chain.specs}) > 1

    @property
    def classes(self) -> list[str]:
        """The choices of a label: all classes in turn, none if the model accepts it, and each class.

        Empty if the model's condition is no label.
        """
        condition = self.model.condition
        if condition is None or condition.kind != "label":
            return []
        names = condition.names or map(str, range(condition.spec.levels))
        return [ALL, *([NONE] if condition.optional else []), *names]

    @property
    def attributes(self) -> list[str]:
        """The names of the attributes that the model is given; empty if its condition is no attributes."""
        condition = self.model.condition
        return list(condition.names) if condition is not None and condition.kind == "attributes" else []

    def sample(self, count: int, rule: str, seed: int, condition: Any = None) -> Made:
        """Draws images. `condition` is one of `classes`, or a list of `attributes`; None for models without them."""
        drawn = self.model.sample(count, rule=rule, seed=seed, condition=[condition] if self.attributes else condition)
        return drawn.sheet(), f"{_counted(count, 'image')}, rule {rule}, seed {seed}"

    def colorize(self, image: Tensor, draws: int, rule: str, seed: int, condition: Any = None) -> Made:
        """Draws images with the gray view of an image."""
        return self._draws(self.model.colorize, (image, draws), rule, seed, condition)

    def enlarge(self, image: Tensor, draws: int, rule: str, seed: int, condition: Any = None) -> Made:
        """Draws images with the first smaller view of an image."""
        return self._draws(self.model.enlarge, (image, draws), rule, seed, condition)

    def complete(self, image: Tensor, part: Box, draws: int, rule: str, seed: int, condition: Any = None) -> Made:
        """Draws a part of an image anew."""
        left, top, right, bottom = part
        keep = torch.ones(image.shape[-2:], dtype=torch.bool)
        keep[top:bottom, left:right] = False
        return self._draws(self.model.complete, (image, keep, draws), rule, seed, condition)

    def measure(self, image: Tensor, condition: Any = None) -> Made:
        """Measures an image. Returns a map of the bits of its pixels, and a table of sizes."""
        given = self._given(condition)
        if given is None and self.model.condition is not None and self.model.condition.optional:
            given = [None]  # The null condition.
        bits = self.model.pixel_bits(image, condition=given)[0].numpy()
        spec, at_most = self.model.image, "" if self.model.exact else "at most "
        sizes = {f"this model ({at_most}−log₂ p)": float(bits.sum())}
        if spec.levels == 256:
            sizes |= {name: 8.0 * size for name, size in codec_sizes(image[0]).items()}
        sizes["uncompressed"] = spec.dims * math.log2(spec.levels)
        most = max(float(bits.max()), 1e-9)
        rows = [f"| {name} | {math.ceil(size / 8):,} | {size / spec.dims:.3f} |" for name, size in sizes.items()]
        about = (
            f"**{at_most}{bits.sum() / spec.dims:.3f} bits/dim**. The map shows the bits of each pixel, from 0 (dark) "
            f"to {most:.1f} (bright)."
        )
        text = "\n".join([about, "", "| file | bytes | bits/dim |", "|---|---|---|", *rows])
        return self._enlarged(colored(bits / most)), text

    def classify(self, image: Tensor) -> Made:
        """Classifies an image. Returns it as a picture, and a table of the most probable classes."""
        found = self.model.classify(image)
        likely = found.probabilities[0].sort(descending=True).indices[:MOST_CLASSES].tolist()
        rows = [f"| {found.names[place]} | {found.probabilities[0, place]:.3f} |" for place in likely]
        kind = "exact p(X \\| y)" if found.exact else "lower bounds of p(X \\| y)"
        return self.picture(image), "\n".join(["| class | p(y \\| X) |", "|---|---|", *rows, "", f"from {kind}"])

    def prepare(self, path: Path) -> Tensor:
        """Converts an uploaded picture to an image of the model, uint8 (1, c, h, w). Its margins are cut off.

        Raises `UserError` if it is not a picture that auxar reads.
        """
        try:
            return self.model.prepare(path, resize="cover")
        except UserError as error:
            # The user knows the name of the file, and not the place where the server keeps it.
            raise UserError(str(error).replace(f"{path.parent}/", "").removeprefix("images: ")) from None

    def picture(self, image: Tensor, erased: Box | None = None) -> Image.Image:
        """An image (1, c, h, w) as an enlarged picture, in which a part that is drawn anew is gray."""
        shown = Images(image, self.model.image)[0].to_pil()
        if erased is not None:
            shown.paste("gray", erased)
        return self._enlarged(shown)

    @property
    def zoom(self) -> int:
        """Number of pixels of an enlarged picture for each row and column of an image."""
        return max(1, SHOWN_SIDE // max(self.model.image.height, self.model.image.width))

    def _enlarged(self, picture: Image.Image) -> Image.Image:
        return picture.resize((self.zoom * picture.width, self.zoom * picture.height), Image.Resampling.NEAREST)

    def _draws(self, method: Callable[..., Images], given: tuple[Any, ...], rule: str, seed: int, choice: Any) -> Made:
        drawn = method(*given, rule=rule, seed=seed, condition=self._given(choice))
        columns = f"columns: the picture, its given part, and {_counted(given[-1], 'draw')}"
        return drawn.sheet(), f"{columns}; rule {rule}, seed {seed}"

    def _given(self, choice: Any) -> Any:
        """The condition of one picture: attributes, a class, or none instead of all classes in turn."""
        if self.attributes:
            return [choice]
        return None if choice == ALL else choice


def _counted(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def colored(shares: np.ndarray) -> Image.Image:
    """A picture with a color for each value from 0 to 1."""
    places = np.linspace(0, 1, len(COLORS))
    channels = [np.interp(shares, places, channel) for channel in zip(*COLORS, strict=True)]
    return Image.fromarray(np.stack(channels, axis=2).round().astype(np.uint8))
