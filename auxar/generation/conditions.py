"""The conditions that a user gives, for drawing images and for likelihoods: as Python values or as text."""

from __future__ import annotations

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
from auxar.conditioning import ConditionFactor
from auxar.data import Examples, ImageSet, evaluation_examples
from auxar.data.conditions import ConditionReader, condition_reader
from auxar.data.conversion import BrokenImage, read_file
from auxar.errors import UserError, did_you_mean, one_line, shown
from auxar.interfaces import Condition, Prior, Sampler, SampleRequest, evaluating
from auxar.recipe import Recipe

ALL, NONE, DRAWN = "all", "none", "drawn"
"""The texts that stand for every class of a label in turn, the null condition, and conditions drawn from p(y)."""
DRAWN_AT_ONCE = 256
"""Number of conditions that are drawn at once."""
HELDOUT = 256
"""Number of held-out images whose conditions drawn images are given, if they are no labels."""
LONGEST_NAME = 40
"""Maximum number of characters of a condition's name on a sheet."""


@attrs.frozen(eq=False)
class Conditions:
    """Conditions that images are given in turn: with k conditions, image number i is given condition i mod k."""

    values: Tensor | None = None
    """The conditions: int64, (k, *condition.spec.shape). None is the null condition, or none for a model without
    one."""
    names: tuple[str, ...] = ()
    """A name for each of the k conditions; empty if `values` is None."""

    def of(self, numbers: Sequence[int]) -> Tensor | None:
        """The conditions of the images with these numbers: int64, (len(numbers), …); None if `values` is None."""
        return None if self.values is None else self.values[torch.tensor(numbers, dtype=torch.int64) % len(self.values)]

    def added(self, request: SampleRequest, device: torch.device, draws: int = 1) -> SampleRequest:
        """The request with the condition of each image. `draws` images in a row have the same condition."""
        found = self.of([number // draws for number in request.numbers])
        return request if found is None else attrs.evolve(request, condition=found.to(device))


def reader_of(condition: Condition | None, recipe: Recipe | None) -> ConditionReader | None:
    """The reader of conditions for a model. None for a model without a condition or without a recipe."""
    if condition is None or recipe is None or recipe.condition is None:
        return None
    return condition_reader(recipe.condition, recipe.image, recipe.data.crop, recipe.data.resize)


def every_class(condition: Condition) -> Conditions:
    """All classes of a label, in turn."""
    values = torch.arange(condition.spec.levels).reshape(-1, 1, 1, 1)
    return Conditions(values, tuple(name_of(condition, row) for row in values))


def usual_conditions(condition: Condition | None, heldout: ImageSet | None = None) -> Conditions:
    """The conditions of images that are drawn without naming any.

    These are all classes of a label in turn, and for other conditions those of the first held-out images. If there are
    no held-out images, it is the null condition. Raises `UserError` if the model does not accept the null condition.
    """
    if condition is None:
        return Conditions()
    if condition.kind == "label":
        return every_class(condition)
    if heldout is not None:
        return of_examples(condition, first_examples(heldout, HELDOUT))
    if not condition.optional:
        raise UserError(f"--condition is required: this model needs the {condition.kind} of each image")
    return Conditions()


def drawn_conditions(model: Prior, sampler: Sampler, count: int, seed: int, first: int = 0) -> Conditions:
    """Draws a condition from p(y) for each of `count` images.

    Together with images that are drawn given them, with the same numbers and seed, they are exact samples of
    p(X, X̂, y). Raises `UserError` if the model's condition is not modelled.
    """
    factor = model.condition_factor
    if not isinstance(factor, ConditionFactor) or model.condition is None:
        raise UserError("condition: this model has no p(y) to draw from; its recipe has no condition.prior")
    found = []
    with evaluating(factor):
        for start in range(first, first + count, DRAWN_AT_ONCE):
            numbers = tuple(range(start, min(start + DRAWN_AT_ONCE, first + count)))
            found.append(factor.draw(SampleRequest(numbers, seed), sampler).cpu())
    values = torch.cat(found) if found else model.condition.nulls(0)
    names = (name_of(model.condition, row) or f"{model.condition.kind} {number}" for number, row in enumerate(values))
    return Conditions(values, tuple(names))


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
        >>> from auxar.interfaces import ImageSpec
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


def from_texts(texts: Sequence[str], condition: Condition | None, reader: ConditionReader | None) -> Conditions:
    """Converts the values of the option `--condition`, such as `label=cat`, to conditions.

    Raises `UserError` if the model has no condition, or if a text names another kind or an unknown value.
    """
    if condition is None:
        raise UserError("--condition: this model has no condition; leave the option out")
    found = []
    for text in texts:
        kind, equals, value = text.partition("=")
        if text == NONE:
            found.append(_nulls(condition, "--condition"))
            continue
        if not equals or kind != condition.kind:
            example = {"label": "label=NAME", "attributes": "attributes=NAME,NAME"}.get(
                condition.kind, f"{condition.kind}=FILE"
            )
            raise UserError(
                f"--condition {shown(text)}: expected {example}, as this model's condition is a {condition.kind}"
            )
        if condition.kind == "label" and value == ALL:
            found.append(every_class(condition))
            continue
        parts: Any = value
        if condition.kind == "label" and value not in condition.names:
            parts = [part.strip() for part in value.split(",")]
        found.append(as_conditions(parts, condition, reader, "--condition"))
    return _joined(found)


def conditions_of(value: Any, condition: Condition | None, reader: ConditionReader | None) -> Conditions:
    """Converts a value to conditions: texts as `from_texts` reads them, or a value as `as_conditions` does."""
    texts = [value] if isinstance(value, str) else value
    is_texts = isinstance(texts, list | tuple) and bool(texts) and all(isinstance(text, str) for text in texts)
    if is_texts and all("=" in text or text == NONE for text in texts):
        return from_texts(texts, condition, reader)
    return as_conditions(value, condition, reader)


def as_conditions(
    value: Any, condition: Condition | None, reader: ConditionReader | None, what: str = "condition"
) -> Conditions:
    """Converts a Python value to conditions.

    A label is an integer or a name, or a list with one for each image. Attributes are a list of the names of those that
    hold, a text with such names and commas, or a table of names and booleans; or a list of these. Masks and images are
    Pillow images or paths, or a list of these. For all kinds, the value may be a tensor or an array of integers with
    the condition's shape, with or without a dimension for several images, or a table whose only key is the kind. None
    is the null condition.

    Raises `UserError`, beginning with `what`, if the value does not fit the model's condition.
    """
    if value is None:
        if condition is not None and not condition.optional:
            condition.given(None, 1)
        return Conditions()
    if condition is None:
        raise UserError(f"{what}: this model has no condition; leave it out")
    if isinstance(value, Conditions):
        return value
    if isinstance(value, Mapping) and list(value) == [condition.kind]:
        value = value[condition.kind]
    if isinstance(value, Mapping) and condition.kind != "attributes":
        raise UserError(f"{what}: expected the key '{condition.kind}', got {', '.join(map(shown, value))}")
    if isinstance(value, Tensor | np.ndarray):
        return _from_array(torch.as_tensor(value), condition, what)
    several = isinstance(value, list | tuple)
    if condition.kind == "attributes" and several and all(isinstance(entry, str) for entry in value):
        several = False
    entries = list(value) if several else [value]
    if not entries:
        raise UserError(f"{what}: expected at least one {condition.kind}, got an empty list")
    return _joined([_one(entry, condition, reader, what) for entry in entries])


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
        return _from_array(torch.as_tensor(value), condition, what)
    if condition.kind == "label":
        row = torch.tensor([[[[_label(value, condition, what)]]]])
    elif condition.kind == "attributes":
        row = torch.tensor(_attributes(value, condition, what)).reshape(1, *condition.spec.shape)
    else:
        return _from_picture(value, condition, reader, what)
    return Conditions(row, (name_of(condition, row[0]),))


def _label(value: Any, condition: Condition, what: str) -> int:
    names, classes = condition.names, condition.spec.levels
    if isinstance(value, str):
        if value in names:
            return names.index(value)
        if not (value.isascii() and value.isdigit() and len(value) < 10):
            near = did_you_mean(value, names) if names else f"; expected a number from 0 to {classes - 1}"
            raise UserError(f"{what}: {shown(value)} is no class of this model{near}")
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or not 0 <= value < classes:
        raise UserError(f"{what}: expected a label from 0 to {classes - 1}, got {described(value)}")
    return int(value)


def _attributes(value: Any, condition: Condition, what: str) -> list[int]:
    names = condition.names
    if isinstance(value, str):
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list | tuple) and len(value) == len(names) and not any(isinstance(e, str) for e in value):
        value = dict(zip(names, value, strict=True))
    if isinstance(value, list | tuple):
        value = dict.fromkeys(value, True)
    if not isinstance(value, Mapping):
        raise UserError(f"{what}: expected the names of the attributes that hold, got {described(value)}")
    for name, holds in value.items():
        if name not in names:
            raise UserError(f"{what}: {shown(name)} is no attribute of this model{did_you_mean(str(name), names)}")
        if not isinstance(holds, bool | int | np.bool_ | np.integer) or holds not in (0, 1):
            raise UserError(f"{what}: the attribute {shown(name)}: expected True or False, got {described(holds)}")
    return [int(value.get(name, 0)) for name in names]


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
    if array.dtype == torch.bool:
        array = array.to(torch.int64)
    condition.check(array, what)
    array = array.to("cpu", torch.int64)
    if not len(array):
        raise UserError(f"{what}: expected at least one {condition.kind}, got none")
    return Conditions(array, tuple(name_of(condition, row) or f"{condition.kind} {k}" for k, row in enumerate(array)))


def _from_picture(value: Any, condition: Condition, reader: ConditionReader | None, what: str) -> Conditions:
    name = "the picture"
    if isinstance(value, str | os.PathLike):
        name = one_line(os.fspath(value))
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
