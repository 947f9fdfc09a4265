"""The conditions that a user gives, for drawing images and for likelihoods: as Python values or as text."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.arguments import described
from auxar.data import Examples, ImageSet, evaluation_examples
from auxar.data.condition_values import attribute_values, label_number
from auxar.data.conditions import ConditionReader, condition_reader
from auxar.data.conversion import BrokenImage, read_file
from auxar.errors import UserError, one_line, shown
from auxar.generation.image_files import images_at
from auxar.model import Chain, Condition, Sampler, SampleRequest, evaluating
from auxar.recipe import Recipe

ALL, NONE, DRAWN = "all", "none", "drawn"
"""The texts that stand for every class of a label in turn, the null condition, and conditions drawn from p(y)."""
DRAWN_AT_ONCE = 256
"""Number of conditions that are drawn at once."""
HELDOUT = 16
"""Default number of held-out images whose conditions drawn images are given, if they are no labels."""
LONGEST_NAME = 40
"""Maximum number of characters of a condition's name on a sheet."""


@attrs.frozen(eq=False)
class Conditions:
    """Conditions that images are given in turn: with k conditions, image `first` + i is given condition i mod k."""

    values: Tensor | None = None
    """The conditions: int64, (k, *condition.spec.shape). None is the null condition, or none for a model without
    one."""
    names: tuple[str, ...] = ()
    """A name for each of the k conditions; empty if `values` is None."""
    first: int = 0
    """Number of an image that is given the first condition."""

    def of(self, numbers: Sequence[int]) -> Tensor | None:
        """The conditions of the images with these numbers: int64, (len(numbers), …); None if `values` is None."""
        if self.values is None:
            return None
        if not len(self.values):
            raise UserError("condition: expected at least one condition, got none")
        return self.values[(torch.tensor(numbers, dtype=torch.int64) - self.first) % len(self.values)]

    @property
    def digest(self) -> str | None:
        """A hash of the values; None if there are none."""
        if self.values is None:
            return None
        return hashlib.sha256(repr(tuple(self.values.shape)).encode() + self.values.numpy().tobytes()).hexdigest()

    def for_each(self, count: int, what: str = "images") -> Tensor | None:
        """The condition of each of `count` images: int64, (count, …); None if `values` is None.

        Raises `UserError`, which names the images by `what`, unless there is one condition or one for each image.
        """
        if self.values is not None and len(self.values) not in (1, count):
            raise UserError(f"condition: expected one, or one for each of {count} {what}, got {len(self.values)}")
        return self.of(range(self.first, self.first + count))

    def given_to(self, request: SampleRequest, device: torch.device, draws: int = 1) -> SampleRequest:
        """The request with the condition of each image. `draws` images in a row have the same condition."""
        found = self.of([number // draws for number in request.numbers])
        return request if found is None else attrs.evolve(request, condition=found.to(device))


def reader_of(condition: Condition | None, recipe: Recipe | None) -> ConditionReader | None:
    """The reader of conditions for a model. None for a model without a condition or without a recipe."""
    if condition is None or recipe is None or recipe.condition is None:
        return None
    return condition_reader(recipe.condition, recipe.image, recipe.data)


def every_class(condition: Condition) -> Conditions:
    """All classes of a label, in turn."""
    values = torch.arange(condition.spec.levels).reshape(-1, 1, 1, 1)
    return Conditions(values, tuple(name_of(condition, row) for row in values))


def usual_conditions(condition: Condition | None, heldout: ImageSet | None = None, count: int = HELDOUT) -> Conditions:
    """The conditions of images that are drawn without naming any.

    These are all classes of a label in turn, and for other conditions those of the first `count` held-out images. If
    there are no held-out images, it is the null condition. Raises `UserError` if the model does not accept the null
    condition.
    """
    if condition is None:
        return Conditions()
    if condition.kind == "label":
        return every_class(condition)
    if heldout is not None:
        return of_examples(condition, first_examples(heldout, count))
    if not condition.optional:
        raise UserError(f"--condition is required: this model needs the {condition.kind} of each image")
    return Conditions()


def drawn_conditions(model: Chain, sampler: Sampler, count: int, seed: int, first: int = 0) -> Conditions:
    """Draws a condition from p(y) for each of `count` images.

    Together with images that are drawn given them, with the same numbers and seed, they are exact samples of
    p(X, X̂, y). Raises `UserError` if the model's condition is not modelled.
    """
    factor = model.condition_factor
    if factor is None or model.condition is None:
        raise UserError("condition: this model has no p(y) to draw from; its recipe has no condition.prior")
    found = []
    with evaluating(factor):
        for start in range(first, first + count, DRAWN_AT_ONCE):
            numbers = tuple(range(start, min(start + DRAWN_AT_ONCE, first + count)))
            found.append(factor.draw(SampleRequest(numbers, seed), sampler).cpu())
    values = torch.cat(found) if found else model.condition.nulls(0)
    names = (name_of(model.condition, row) or f"{model.condition.kind} {number}" for number, row in enumerate(values))
    return Conditions(values, tuple(names), first)


def of_examples(condition: Condition | None, examples: Examples) -> Conditions:
    """The conditions of given images."""
    if condition is None or examples.condition is None:
        return Conditions()
    values = examples.condition.to(torch.int64)
    names = (name_of(condition, row) or f"{condition.kind} {number}" for number, row in enumerate(values))
    return Conditions(values, tuple(names))


def first_examples(images: ImageSet, count: int) -> Examples:
    """The first `count` examples of a set, or all if there are fewer."""
    _, found = next(iter(evaluation_examples(images, batch_size=count, limit=count)))
    return found


def name_of(condition: Condition, row: Tensor) -> str:
    """The name of a label or of attributes, given as a row of conditions; empty for masks and images.

    Examples:
        >>> from auxar.model import ImageSpec
        >>> label = Condition("label", ImageSpec(1, height=1, width=1, levels=2), ("cat", "dog"))
        >>> name_of(label, torch.tensor([[[1]]]))
        'dog'
    """
    if not condition.is_vector:
        return ""
    if int(row.flatten()[0]) < 0:
        return NONE
    if condition.kind == "label":
        number = int(row)
        return condition.names[number] if condition.names else str(number)
    held = [name for name, value in zip(condition.names, row.flatten().tolist(), strict=True) if value]
    return ", ".join(held) or "no attributes"


def _texts(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(texts)


@attrs.frozen
class ConditionTexts:
    """The values of the option `--condition`, such as `label=cat`. They are converted when the model is known."""

    texts: Sequence[str] = attrs.field(converter=_texts)
    """The texts, in their order."""

    def read(self, condition: Condition | None, reader: ConditionReader | None) -> Conditions:
        """Converts the texts to conditions.

        Raises `UserError` if the model has no condition, or if a text names another kind or an unknown value.
        """
        if condition is None:
            raise UserError("--condition: this model has no condition; leave the option out")
        return _joined([self._one(text, condition, reader) for text in self.texts])

    def _one(self, text: str, condition: Condition, reader: ConditionReader | None) -> Conditions:
        if text == NONE:
            return _nulls(condition, "--condition")
        kind, equals, value = text.partition("=")
        if not equals or kind != condition.kind:
            form = {"label": "NAME", "attributes": "NAME,NAME"}.get(condition.kind, "FILE")
            others = "" if not condition.optional else f" or {NONE}"
            raise UserError(
                f"--condition {shown(text)}: expected {condition.kind}={form}{others}, because the model's condition "
                f"is of the kind '{condition.kind}'"
            )
        if condition.kind != "label" or value in condition.names:
            return as_conditions(value, condition, reader, "--condition")
        if value == ALL:
            return every_class(condition)
        return as_conditions([part.strip() for part in value.split(",")], condition, reader, "--condition")


def as_conditions(
    value: Any, condition: Condition | None, reader: ConditionReader | None, what: str = "condition"
) -> Conditions:
    """Converts a Python value to conditions.

    A label is an integer or a name, or a list of these. Attributes are a list of the names of those that hold, a text
    with such names and commas, or a table with a boolean for each; or a list of these. Masks and images are Pillow
    images, paths of files or of folders with them, or a list of these. For all kinds, the value may be a tensor
    or an array of integers with the condition's shape, with or without a dimension for several images, or a table whose
    only key is the kind. None is the null condition.

    Raises `UserError`, beginning with `what`, if the value does not fit the model's condition.
    """
    if isinstance(value, ConditionTexts):
        return value.read(condition, reader)
    if isinstance(value, Conditions):
        if value.values is not None and condition is not None:
            condition.check(value.values, what)
            return value
        value = value.values
    if value is None:
        if condition is not None and not condition.optional:
            condition.or_null(None, 1)
        return Conditions()
    if condition is None:
        raise UserError(f"{what}: this model has no condition; leave it out")
    if isinstance(value, Mapping) and list(value) == [condition.kind]:
        value = value[condition.kind]
    if isinstance(value, Mapping) and condition.kind != "attributes":
        raise UserError(f"{what}: expected the key '{condition.kind}', got {', '.join(map(shown, value))}")
    if isinstance(value, np.ndarray):
        # Arrays of names or of Python objects are lists of them.
        is_integers = value.dtype.kind in "iub"
        value = torch.from_numpy(np.ascontiguousarray(value).astype(np.int64)) if is_integers else value.tolist()
    if isinstance(value, Tensor):
        return _from_array(value, condition, what)
    several = isinstance(value, list | tuple)
    if condition.kind == "attributes" and several and all(isinstance(entry, str) for entry in value):
        several = False
    entries = list(value) if several else [value]
    if not condition.is_vector:
        entries = [each for entry in entries for each in _files(entry, what)]
    if not entries:
        raise UserError(f"{what}: expected at least one condition, got an empty list")
    return _joined([_one(entry, condition, reader, what) for entry in entries])


def _files(entry: Any, what: str) -> Sequence[Any]:
    """The image files at a path, which may be a folder; any other value alone."""
    if not isinstance(entry, str | os.PathLike) or not os.fspath(entry):
        return [entry]
    try:
        return images_at(Path(entry))
    except UserError as error:
        raise UserError(f"{what}: {error}") from None


def _joined(found: Sequence[Conditions]) -> Conditions:
    values = [each.values for each in found if each.values is not None]
    return Conditions(torch.cat(values), tuple(name for each in found for name in each.names))


def _nulls(condition: Condition, what: str) -> Conditions:
    if not condition.optional:
        raise UserError(f"{what}: this model was not trained without a condition (condition.drop = 0)")
    return Conditions(condition.nulls(1), (NONE,))


def _one(value: Any, condition: Condition, reader: ConditionReader | None, what: str) -> Conditions:
    if value is None:
        return _nulls(condition, what)
    if isinstance(value, Tensor | np.ndarray):
        return as_conditions(value, condition, reader, what)
    if not condition.is_vector:
        return _from_picture(value, condition, reader, what)
    try:
        is_label = condition.kind == "label"
        found = [label_number(value, condition)] if is_label else attribute_values(value, condition)
    except UserError as error:
        raise UserError(f"{what}: {error}") from None
    row = torch.tensor(found).reshape(1, *condition.spec.shape)
    return Conditions(row, (name_of(condition, row[0]),))


def _from_array(array: Tensor, condition: Condition, what: str) -> Conditions:
    shape = condition.spec.shape
    if condition.is_vector and array.dim() <= 1 and condition.spec.channels == 1:
        array = array.reshape(-1, 1, 1, 1)
    elif condition.is_vector and array.dim() in (1, 2) and array.shape[-1:] == shape[:1]:
        array = array.reshape(-1, *shape)
    elif array.dim() == 2 and shape[0] == 1:
        array = array[None, None]
    elif array.dim() == 3 and tuple(array.shape) == shape:
        array = array[None]
    if not array.is_floating_point() and not array.is_complex():
        array = array.to(torch.int64)
    condition.check(array, what)
    array = array.to("cpu", torch.int64)
    if not len(array):
        raise UserError(f"{what}: expected at least one condition, got none")
    return Conditions(array, tuple(name_of(condition, row) or f"{condition.kind} {k}" for k, row in enumerate(array)))


def _from_picture(value: Any, condition: Condition, reader: ConditionReader | None, what: str) -> Conditions:
    name = "the picture"
    if isinstance(value, str | os.PathLike):
        name = one_line(str(os.fspath(value)))
        if not name:
            raise UserError(f"{what}: expected the path of a picture, got an empty text")
        try:
            value = read_file(Path(value))
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise UserError(f"{what}: {name} cannot be read: {reason}") from None
    if not isinstance(value, bytes | Image.Image):
        raise UserError(f"{what}: expected a picture, its path, or a tensor of integers, got {described(value)}")
    if reader is None:
        raise UserError(f"{what}: this model has no recipe, which says how pictures are converted; give a tensor")
    try:
        values = reader.picture(value, name)
    except BrokenImage as error:
        raise UserError(f"{what}: {name} cannot be read as an image: {error}") from None
    except UserError as error:
        raise UserError(f"{what}: {str(error).removeprefix('condition: ')}") from None
    return Conditions(torch.from_numpy(values.astype(np.int64))[None], (Path(name).name[:LONGEST_NAME],))
