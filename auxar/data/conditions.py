"""Reads the condition of each image of a data set: labels, attributes, masks and images."""

from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
from PIL import Image

from auxar.data.condition_values import vector_values
from auxar.data.conversion import Preparation, WrongSize, fitted
from auxar.data.decoding import BrokenImage, opened, warn_of_depth
from auxar.errors import UserError, did_you_mean, naming, one_line
from auxar.files import parse_json
from auxar.model import Condition, ImageSpec
from auxar.recipe import Crop, DataConfig
from auxar.recipe.condition import ConditionConfig

COLUMN = "condition"
"""Name of the column that a folder of images gets: the path of each image's file with its condition, or its label."""
CHANGING = ("GIF", "JPEG", "MPO")
"""Formats of pictures whose values change when they are saved: GIF sorts its palette, and JPEG is lossy."""
MOST_TEXT = 2**20
"""Maximum size of a file with a label or with attributes, in bytes."""
Content = Callable[[Any], bytes]
"""A function that returns the bytes of a file, from the value of a column. It raises `BrokenImage` if it fails."""


@attrs.frozen
class ConditionReader:
    """Converts the values of a data set's columns to conditions."""

    config: ConditionConfig
    condition: Condition
    """The condition that the model gets."""
    data: DataConfig
    """The keys [data]. Masks, and images without a size of their own, are cropped and resized like the images, masks
    without interpolation. `values` is the meaning of the pixels of image files."""
    columns: tuple[str, ...]
    """The columns that the values come from."""

    @property
    def dtype(self) -> type[np.integer[Any]]:
        """The type in which conditions are stored, and its size in bytes."""
        return np.uint8 if self.condition.spec.levels <= 256 else np.int32

    @property
    def identity(self) -> str:
        """A text that changes with the values of conditions, if those in the data set stay the same."""
        config, condition = self.config, self.condition
        places = (config.column, config.columns, config.suffix, config.key, config.folders)
        return repr(
            (condition.kind, condition.spec, condition.names, places, config.own_size, self.data.crop, self.data.resize)
        )

    def __call__(self, values: Sequence[Any], image: bytes, name: str, content: Content) -> np.ndarray:
        """Reads the condition of an image: int32, condition.spec.shape.

        `values` are those of `columns`, `image` is the encoded image, and `name` its name for messages. Raises
        `BrokenImage` if a file is missing or damaged, and `UserError` if a value is wrong.
        """
        kind = self.condition.kind
        if self.condition.usual is not None:
            return np.full(self.condition.spec.shape, self.condition.usual, np.int32)
        try:
            if kind in ("mask", "image"):
                return self._picture(content(values[0]), image, name).astype(np.int32)
            value = self._from_file(content(values[0]), name) if self.config.suffix else values[0]
        except BrokenImage as error:
            raise BrokenImage(f"its {kind} cannot be read: {error}") from error
        with naming(f"condition: {name}"):
            entries = vector_values(list(values) if self.config.columns else value, self.condition)
        return np.array(entries, np.int32).reshape(self.condition.spec.shape)

    def _from_file(self, text: bytes, name: str) -> Any:
        kind, suffix = self.condition.kind, self.config.suffix or ""
        if len(text) > MOST_TEXT:
            raise UserError(f"condition.suffix: the file with the {kind} of {name} has more than {MOST_TEXT:,} bytes")
        try:
            found = parse_json(text) if suffix.lower().endswith(".json") else text.decode("utf-8-sig").strip()
        except ValueError:
            expected = "JSON" if suffix.lower().endswith(".json") else "UTF-8 text"
            raise UserError(f"condition.suffix: the file with the {kind} of {name} is not {expected}") from None
        key = self.config.key
        if key is None:
            return found
        if not isinstance(found, Mapping) or key not in found:
            near = did_you_mean(key, found) if isinstance(found, Mapping) else ""
            raise UserError(f"condition.key: the file with the {kind} of {name} has no key '{key}'{near}")
        return found[key]

    def _picture(self, encoded: bytes, image: bytes, name: str) -> np.ndarray:
        kind = self.condition.kind
        if not self.config.own_size:
            (height, width), (own_height, own_width) = _size(image), _size(encoded)
            if (height, width) != (own_height, own_width):
                raise UserError(
                    f"condition: the {kind} of {name} has {own_height}×{own_width} pixels (height×width), but the "
                    f"image has {height}×{width}"
                )
        return self.picture(encoded, f"the {kind} of {name}")

    def picture(self, source: bytes | Image.Image, name: str) -> np.ndarray:
        """Converts a mask or an image to a condition: condition.spec.shape.

        Raises `BrokenImage` if it cannot be decoded, and `UserError`, with `name` in the message, if it does not fit.
        """
        spec, data = self.condition.spec, self.data
        if self.condition.kind == "image":
            prepare = Preparation(spec, Crop() if self.config.own_size else data.crop, data.resize, data.values)
            if prepare.reduces(source):
                warn_of_depth(f"{data.path} for [condition]")
            try:
                return prepare(source, name)
            except WrongSize as error:
                if not self.config.own_size:
                    raise
                expected = f"condition.height and condition.width are {spec.height} and {spec.width}"
                raise UserError(f"condition: {name} has {error.found}, but {expected}; set data.resize") from None
        with opened(source) as picture:
            size = (spec.width, spec.height)
            found = fitted(_classes(picture, name), size, data.crop, data.resize, name, Image.Resampling.NEAREST)
            values = np.asarray(found)[None]
        if values.min() < 0 or values.max() >= spec.levels:
            wrong = values.min() if values.min() < 0 else values.max()
            raise UserError(f"condition: {name} has the class {wrong}; expected integers from 0 to {spec.levels - 1}")
        return values


def _size(source: bytes) -> tuple[int, int]:
    """The height and width of an encoded picture."""
    with opened(source) as picture:
        return picture.height, picture.width


def _classes(picture: Image.Image, name: str) -> Image.Image:
    """A picture whose pixels are numbers of classes: gray values, entries of a palette, or black and white."""
    if picture.format in CHANGING:
        raise UserError(
            f"condition: {name} is a {picture.format} file, which does not keep the numbers of classes; use PNG or TIFF"
        )
    if picture.mode == "P":
        return Image.fromarray(np.asarray(picture))
    if picture.mode == "1":
        return picture.convert("L").point(lambda value: value // 255)
    if picture.mode == "L" or picture.mode.startswith("I"):
        return picture
    raise UserError(
        f"condition: {name} has the colors {picture.mode}; expected a gray picture or one with a palette, "
        "whose values are the numbers of classes"
    )


def condition_reader(config: ConditionConfig | None, image: ImageSpec, data: DataConfig) -> ConditionReader | None:
    """The reader of the conditions of images that `data` converts to the shape `image`; None if there are none."""
    if config is None:
        return None
    columns = config.columns_to_read or ((COLUMN,) if config.augmentation is None else ())
    return ConditionReader(config, config.describe(image), data, columns)


def check_condition_columns(
    columns: Collection[str], images: str | None, existing: Collection[str], where: str
) -> None:
    """Raises `UserError` if a column of conditions does not exist, or is also the column of images, `images`."""
    for column in columns:
        if column not in existing:
            listing = f"the columns are {', '.join(existing)}"
            raise UserError(
                f"condition.column: {where} has no column '{column}'{did_you_mean(column, existing)}; {listing}"
            )
        if column == images:
            raise UserError(f"condition.column: '{column}' is also the column of the images (data.column)")


def check_not_beside(config: ConditionConfig | None, where: str) -> None:
    """Raises `UserError` if conditions are to be found by files or folders, in a data set of another form."""
    if config is not None and (config.suffix or config.folders):
        key = "suffix" if config.suffix else "folders"
        raise UserError(
            f"condition.{key}: {where} is not a folder of images, so it has no files beside them; name the column with "
            "the conditions in condition.column"
        )


def companion(file: Path, suffix: str) -> Path:
    """The path of the file with the condition of the image `file`: its name ends in `suffix` instead of its extension.

    Examples:
        >>> companion(Path("photos/a.jpg"), ".mask.png").as_posix()
        'photos/a.mask.png'
    """
    return file.with_name(file.stem + suffix)


def label_of_folder(file: Path, folder: Path, names: Sequence[str]) -> str:
    """The name of the folder that an image is in, which is its label.

    Raises `UserError` if it is not one of `names`, or if the image lies directly in `folder`, the folder of the set.
    """
    label = file.parent.name
    if file.parent == folder or (names and label not in names):
        inside = file.relative_to(folder).as_posix()
        near = did_you_mean(label, names) if names and file.parent != folder else ""
        raise UserError(
            f"condition.folders: {one_line(inside)} is in no folder with the name of a class{near}; expected one "
            "folder for each class"
        )
    return label
