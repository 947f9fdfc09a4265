"""The conditions that a user gives, for drawing images and for likelihoods: as Python values or as texts."""

from __future__ import annotations

import hashlib
import os
import re
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
from auxar.data.conversion import BrokenImage
from auxar.draw.image_files import content_of, images_at
from auxar.errors import UserError, one_line, shown
from auxar.model import Chain, Condition, Sampler, SampleRequest, evaluating
from auxar.model.condition import CONDITION_KINDS
from auxar.recipe import Recipe
from auxar.recipe.building import own_sampler

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

    def for_each(self, count: int) -> Tensor | None:
        """The condition of each of `count` images: int64, (count, …); None if `values` is None.

        Raises `UserError` unless there is one condition or one for each image.
        """
        if self.values is not None and len(self.values) not in (1, count):
            raise UserError(f"condition: expected one, or one for each of {count} images, got {len(self.values)}")
        return self.of(range(self.first, self.first + count))


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
        raise UserError(f"condition: required, because this model needs the {condition.kind} of each image")
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


def conditions_of_samples(value: Any, model: Chain, recipe: Recipe, given: int | None = None) -> Conditions:
    """The conditions of a recipe's samples or, with `given`, of a number of given images.

    `value` is one of `as_conditions`, or `DRAWN` for conditions from p(y). None stands for `usual_conditions` or, with
    `given`, for the null condition. Raises `UserError` if the value does not fit the model's condition.
    """
    condition, sampling = model.condition, recipe.sampling
    if isinstance(value, str) and value == DRAWN and (condition is None or DRAWN not in condition.names):
        count = sampling.images if given is None else given
        return drawn_conditions(model, own_sampler(model), count, sampling.seed)
    if value is None and given is None:
        return usual_conditions(condition)
    return as_conditions(value, condition, reader_of(condition, recipe))


def as_conditions(value: Any, condition: Condition | None, reader: ConditionReader | None) -> Conditions:
    """Converts a Python value, or texts of the command line, to conditions.

    A label is an integer or a name, or a list of these. Attributes are a list of the names of those that hold, a text
    with such names and commas, or a table with a boolean for each; or a list of these. Masks and images are Pillow
    images, paths of files or of folders with them, or a list of these. For all kinds, the value may be a tensor
    or an array of integers with the condition's shape, with or without a dimension for several images, or a table whose
    only key is the kind. None is the null condition.

    A text may begin with the kind, such as "label=cat". The text "none" is the null condition. For labels, "all" stands
    for all classes in turn, and commas separate several labels. A class or an attribute whose name is such a text takes
    precedence. A list of texts is a list of conditions, but for attributes without "=" and commas, it is a single one.

    Raises `UserError` if the value does not fit the model's condition.
    """
    if isinstance(value, Conditions):
        if value.values is not None and condition is not None:
            condition.check(value.values)
            return value
        value = value.values
    if value is None:
        if condition is not None and not condition.optional:
            condition.or_null(None, 1)
        return Conditions()
    if condition is None:
        raise UserError("condition: this model has no condition; leave it out")
    if isinstance(value, Mapping) and list(value) == [condition.kind]:
        value = value[condition.kind]
    if isinstance(value, Mapping) and condition.kind != "attributes":
        raise UserError(f"condition: expected the key '{condition.kind}', got {', '.join(map(shown, value))}")
    if isinstance(value, np.ndarray):
        # Arrays of names or of Python objects are lists of them.
        is_integers = value.dtype.kind in "iub"
        value = torch.from_numpy(np.ascontiguousarray(value).astype(np.int64)) if is_integers else value.tolist()
    if isinstance(value, Tensor):
        return _from_array(value, condition)
    several = isinstance(value, list | tuple) and not _are_attributes(value, condition)
    entries = list(value) if several else [value]
    if not entries:
        raise UserError("condition: expected at least one condition, got an empty list")
    return _joined([_one(entry, condition, reader) for entry in entries])


def _are_attributes(values: Sequence[Any], condition: Condition) -> bool:
    """Whether a list has the names of those attributes that hold, and is thus a single condition."""
    return condition.kind == "attributes" and all(
        isinstance(value, str) and (value in condition.names or not re.search(f"[=,]|^{NONE}$", value))
        for value in values
    )


def _joined(found: Sequence[Conditions]) -> Conditions:
    values = [each.values for each in found if each.values is not None]
    return Conditions(torch.cat(values), tuple(name for each in found for name in each.names))


def _one(value: Any, condition: Condition, reader: ConditionReader | None) -> Conditions:
    """Converts an entry of a list, which may be a text or a folder that stands for several conditions."""
    if value is None:
        return _nulls(condition)
    if isinstance(value, Tensor | np.ndarray):
        return as_conditions(value, condition, reader)
    if isinstance(value, str) and not (condition.is_vector and value in condition.names):
        if value == NONE:
            return _nulls(condition)
        value = _without_kind(value, condition)
        if condition.kind == "label" and value not in condition.names:
            if value == ALL:
                return every_class(condition)
            return _joined([_from_names(part.strip(), condition) for part in value.split(",")])
    if condition.is_vector:
        return _from_names(value, condition)
    return _joined([_from_picture(each, condition, reader) for each in _files(value)])


def _nulls(condition: Condition) -> Conditions:
    if not condition.optional:
        raise UserError("condition: this model was not trained without a condition (condition.drop = 0)")
    return Conditions(condition.nulls(1), (NONE,))


def _without_kind(text: str, condition: Condition) -> str:
    """The text after the kind and "=". Raises `UserError` if it begins with another kind."""
    kind, equals, value = text.partition("=")
    if not equals or kind == condition.kind:
        return value if equals else text
    # A path may contain "=".
    if not condition.is_vector and kind not in CONDITION_KINDS:
        return text
    form = {"label": "NAME", "attributes": "NAME,NAME"}.get(condition.kind, "FILE")
    others = "" if not condition.optional else f" or {NONE}"
    raise UserError(
        f"condition: expected {condition.kind}={form}{others}, because the model's condition is of the kind "
        f"'{condition.kind}', got {shown(text)}"
    )


def _files(value: Any) -> Sequence[Any]:
    """The image files at a path, which may be a folder; any other value alone."""
    if not isinstance(value, str | os.PathLike) or not os.fspath(value):
        return [value]
    try:
        return images_at(Path(value))
    except UserError as error:
        raise UserError(f"condition: {error}") from None


def _from_names(value: Any, condition: Condition) -> Conditions:
    """The condition of a label, or of attributes."""
    if condition.kind == "attributes" and isinstance(value, str) and value in condition.names:
        value = [value]  # A text is divided at commas.
    try:
        is_label = condition.kind == "label"
        found = [label_number(value, condition)] if is_label else attribute_values(value, condition)
    except UserError as error:
        raise UserError(f"condition: {error}") from None
    row = torch.tensor(found).reshape(1, *condition.spec.shape)
    return Conditions(row, (name_of(condition, row[0]),))


def _from_array(array: Tensor, condition: Condition) -> Conditions:
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
    condition.check(array)
    array = array.to("cpu", torch.int64)
    if not len(array):
        raise UserError("condition: expected at least one condition, got none")
    return Conditions(array, tuple(name_of(condition, row) or f"{condition.kind} {k}" for k, row in enumerate(array)))


def _from_picture(value: Any, condition: Condition, reader: ConditionReader | None) -> Conditions:
    name = "the picture"
    if isinstance(value, str | os.PathLike):
        name = one_line(str(os.fspath(value)))
        if not name:
            raise UserError("condition: expected the path of a picture, got an empty text")
        value = content_of(Path(value), "condition")
    if not isinstance(value, bytes | Image.Image):
        raise UserError(f"condition: expected a picture, its path, or a tensor of integers, got {described(value)}")
    if reader is None:
        raise UserError("condition: this model has no recipe, which says how pictures are converted; give a tensor")
    try:
        values = reader.picture(value, name)
    except BrokenImage as error:
        raise UserError(f"condition: {name} cannot be read as an image: {error}") from None
    except UserError as error:
        raise UserError(f"condition: {str(error).removeprefix('condition: ')}") from None
    return Conditions(torch.from_numpy(values.astype(np.int64))[None], (Path(name).name[:LONGEST_NAME],))
