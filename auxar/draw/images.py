"""Drawn images as users see them: integers that show themselves as pictures and can be saved."""

from __future__ import annotations

import io
import operator
from collections.abc import Iterator, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, ClassVar

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.arguments import as_integer, as_path, described
from auxar.data.pixels import pixels
from auxar.draw.sheets import SHEET_DRAWS, SHEET_ROWS, Column, can_be_shown, labeled, save_png, sheet, with_note
from auxar.errors import UserError, one_line
from auxar.files import FOLDER, entries, kind
from auxar.model import INTEGER_DTYPES, ImageSpec
from auxar.numerics.levels import SCALED
from auxar.recipe.paths import EXTENSIONS


def _integers(values: Any) -> Tensor:
    """The values as int64 on the CPU. Raises `UserError` if they are not a tensor or an array of integers."""
    if not isinstance(values, Tensor | np.ndarray):
        raise UserError(f"images: expected a tensor or an array of integers, got {described(values)}")
    tensor = torch.as_tensor(values)
    return tensor.to("cpu", torch.int64) if tensor.dtype in INTEGER_DTYPES else tensor


@attrs.frozen(eq=False, repr=False)
class Images:
    """Images of a model: integers, with the views that they were drawn from. A notebook shows them as pictures.

    An index selects images: `images[0]` is a single image, and `images[:4]` and `images[[0, 2]]` are several. Iteration
    gives single images. `numpy.asarray(images)` and `images.numpy()` give the integers as an array. Raises `UserError`
    if the integers do not match `spec`.

    Examples:
        >>> images = Images(torch.arange(4 * 48).view(4, 3, 4, 4), ImageSpec(height=4, width=4))
        >>> images
        <Images: 4 images of 4×4×3 with 256 levels>
        >>> images.shape, images[1:].shape, images[0].shape
        ((4, 3, 4, 4), (3, 3, 4, 4), (3, 4, 4))
        >>> images[0].to_pil().size, images.sheet(columns=2).size
        ((4, 4), (262, 262))
        >>> images.numpy().dtype, [image.shape for image in images[:2]]
        (dtype('int64'), [(3, 4, 4), (3, 4, 4)])
        >>> images.save("images.png")
        PosixPath('images.png')
        >>> images.save("images.png")
        Traceback (most recent call last):
        auxar.errors.UserError: images.png exists; images are saved to a new file .png, or to a new or empty folder
    """

    most_shown: ClassVar[int] = 64
    """Maximum number of images that a notebook shows."""

    tensor: Tensor = attrs.field(converter=_integers)
    """The values, int64 on the CPU, 0 … levels - 1, shape (n, channels, height, width). For a single image, the shape
    is (channels, height, width)."""
    spec: ImageSpec
    """Shape and range of an image."""
    view: Images | None = None
    """The views that the images were drawn from, one for each image; None if they were drawn without a view."""
    values: str = attrs.field(default=SCALED, kw_only=True)
    """The meaning of the pixels of picture files, as `data.values` of the model's recipe: "scaled" or "levels"."""

    @tensor.validator
    def _fits(self, attribute: attrs.Attribute[Any], tensor: Tensor) -> None:
        flat = tensor.reshape(-1, *tensor.shape[-3:])
        self.spec.check(flat, "images")
        self.spec.check_range(flat, "images")

    @property
    def views(self) -> tuple[Images, ...]:
        """The images and their views by depth: `views[0]` are the images, `views[k]` the views at depth k."""
        return (self, *(() if self.view is None else self.view.views))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `tensor`."""
        return tuple(self.tensor.shape)

    def __len__(self) -> int:
        if self.tensor.dim() == 3:
            raise TypeError("a single image has no length")
        return len(self.tensor)

    def __iter__(self) -> Iterator[Images]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int | slice | Sequence[int]) -> Images:
        chosen = self._index(index)
        view = None if self.view is None else self.view[chosen]
        return Images(self.tensor[chosen], self.spec, view, values=self.values)

    def _index(self, index: Any) -> Any:
        """The index of a tensor for an index of images: an integer, a slice, or a tensor."""
        if self.tensor.dim() == 3:
            raise TypeError("a single image cannot be indexed; its pixels are in `tensor`")
        if isinstance(index, slice):  # Tensors have no negative steps.
            return index if (index.step or 1) > 0 else torch.tensor(range(len(self))[index], dtype=torch.int64)
        if isinstance(index, list | np.ndarray | Tensor) and np.ndim(index):
            return torch.as_tensor(index, dtype=None if len(index) else torch.int64)
        return operator.index(index)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.tensor.numpy(), dtype=dtype)

    def numpy(self) -> np.ndarray:
        """The values as an array: int64, shape (n, channels, height, width)."""
        return self.tensor.numpy()

    def to_pil(self) -> Any:
        """The images as a list of Pillow images of their own size, or one Pillow image for a single image.

        One channel gives mode "L", three channels give "RGB". A value x becomes 255·x / (levels - 1), rounded up, or
        stays x if `values` is "levels"; `sheet` always shows the whole range. The model accepts these pictures as the
        same images. Raises `UserError` if the number of channels is not 1 or 3.
        """
        if self.tensor.dim() > 3:
            return [images.to_pil() for images in self]
        return Image.fromarray(pixels(self.tensor[None], self.spec, self.values)[0])

    def sheet(self, columns: int | None = None, zoom: int | None = None) -> Image.Image:
        """All images side by side in one Pillow image, with `columns` images in each row.

        Each pixel is enlarged to `zoom` × `zoom` pixels. Without `columns`, the sheet is about square. Without `zoom`,
        small images are enlarged. Raises `UserError` if there are no images, if they cannot be shown, if `columns` is
        no integer from 1 to 10,000, or if `zoom` is none of at least 1.
        """
        return sheet(self.tensor.reshape(-1, *self.spec.shape), self.spec, columns, zoom)

    def save(self, path: str | PathLike[str], columns: int | None = None) -> Path:
        """Saves the images as PNG and returns the path. Existing files are never replaced.

        If `path` ends in .png, it is one picture: a single image in its own size, or the sheet of several images, with
        `columns` as for `sheet`. Otherwise it is a new folder with one file for each image, in its own size:
        `000000.png`, `000001.png`, …

        Raises `UserError` if the file or a folder with files exists, if it cannot be written, or if the images cannot
        be shown.
        """
        file = as_path(path, "path")
        is_sheet = file.suffix.lower() == ".png"
        if file.suffix.lower() in EXTENSIONS and not is_sheet:
            raise UserError(
                f"{one_line(str(file))}: images are saved as PNG; expected a name that ends in .png, or a folder"
            )
        if kind(file) is not None and (is_sheet or kind(file, follow_links=True) != FOLDER or entries(file)):
            raise UserError(f"{file} exists; images are saved to a new file .png, or to a new or empty folder")
        if is_sheet:
            save_png(self.to_pil() if self.tensor.dim() == 3 else self.sheet(columns), file)
        else:
            for name, picture in self._pictures():
                save_png(picture, file / f"{name}.png")
        return file

    def _pictures(self) -> Iterator[tuple[str, Image.Image]]:
        """Yields the name and the picture of each image."""
        for index, image in enumerate([self] if self.tensor.dim() == 3 else self):
            yield f"{index:06d}", image.to_pil()

    def __repr__(self) -> str:
        views = ", ".join(str(view.spec) for view in self.views[1:])
        return f"<{type(self).__name__}: {self._count()} of {self.spec}{views and f', drawn from {views}'}>"

    def _count(self) -> str:
        return "one image" if self.tensor.dim() == 3 else f"{len(self)} image{'s' * (len(self) != 1)}"

    def _repr_png_(self) -> bytes | None:
        """The picture that a notebook shows; None, so that it shows the text, if there are no images to show."""
        if not can_be_shown(self.spec) or not self.tensor.numel():
            return None
        buffer = io.BytesIO()
        shown = self if self.tensor.dim() == 3 or len(self) <= self.most_shown else self[: self.most_shown]
        note = "" if shown is self else f"the first {len(shown)} of {len(self):,}"
        (with_note(shown.sheet(), note) if note else shown.sheet()).save(buffer, format="PNG")
        return buffer.getvalue()


@attrs.frozen(eq=False, repr=False)
class Draws(Images):
    """Images that were drawn from given images: from their views, or from known parts of them.

    `tensor` has shape (g, draws, channels, height, width) for g given images. `draws[0]` has the draws of the first
    given image, and `draws[0][1]` is a single image. The sheet has a row for each given image. Draw j of given image i
    has the noise of image number i · draws + j, as in the command `auxar sample --given`.

    Examples:
        >>> import auxar
        >>> model = auxar.load("runs/quickstart")
        >>> draws = model.enlarge(model.sample(3), draws=2)
        >>> draws
        <Draws: 2 draws for each of 3 images of 32×32×3 with 256 levels, drawn from 16×16×3 with 256 levels>
        >>> draws.sheet().height > draws[:1].sheet().height
        True
    """

    most_shown: ClassVar[int] = SHEET_ROWS

    given: Images | None = None
    """The given images, g of them; None if views were given."""
    known: Tensor | None = None
    """The pixels of the given images that were kept: booleans (g, height, width); None if images were drawn from
    views."""
    condition: Images | None = None
    """The masks or images that the draws have as their condition, g of them; None if there are none."""

    def __getitem__(self, index: int | slice | Sequence[int]) -> Images:
        chosen = self._index(index)
        found = super().__getitem__(index)
        if isinstance(chosen, int):
            return found
        own = {name: getattr(self, name) for name in ("given", "known", "condition")}
        chosen_too = {name: each[chosen] for name, each in own.items() if each is not None}
        return Draws(found.tensor, self.spec, found.view, values=self.values, **chosen_too)

    def sheet(self, columns: int | None = None, zoom: int | None = None) -> Image.Image:
        """A sheet with a row for each given image: the image, its view or its known part, and `columns` draws.

        Without `columns`, it shows at most 8 draws of each given image. Conditions that are masks or images have a
        column, too. Each pixel is enlarged to `zoom` × `zoom` pixels; without `zoom`, small images are enlarged.
        """
        given, deepest = self.given, self.views[-1]
        shown: list[Column] = [] if given is None else [("given", given.tensor, given.spec)]
        if given is not None and self.known is not None:
            # Unknown pixels are gray, so that they differ from known black pixels.
            known = torch.where(self.known[:, None], given.tensor, given.spec.levels // 2)
            shown.append(("known", known, given.spec))
        elif deepest is not self:
            shown.append(("view", deepest.tensor[:, 0], deepest.spec))
        if self.condition is not None:
            shown.append(("condition", self.condition.tensor, self.condition.spec))
        draws = range(min(self.tensor.shape[1], SHEET_DRAWS if columns is None else as_integer(columns, "columns", 1)))
        return labeled([*shown, *((f"draw {draw}", self.tensor[:, draw], self.spec) for draw in draws)], zoom=zoom)

    def _pictures(self) -> Iterator[tuple[str, Image.Image]]:
        for row, images in enumerate(self):
            for draw, image in enumerate(images):
                yield f"{row:06d}-{draw:03d}", image.to_pil()

    def _count(self) -> str:
        draws = self.tensor.shape[1]
        return f"{draws} draw{'s' * (draws != 1)} for each of {super()._count()}"
