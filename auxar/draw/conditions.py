"""The conditions that a user gives, for drawing images and for likelihoods: as Python values or as texts."""

import hashlib
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs
import numpy as np
import torch
from PIL import Image
from torch import Tensor

from auxar.arguments import as_path, described
from auxar.data.condition_values import vector_values
from auxar.data.conditions import ConditionReader, condition_reader
from auxar.data.decoding import BrokenImage
from auxar.data.sets import ImageSet
from auxar.draw.forms import images_at, integers, picture_of
from auxar.errors import UserError, naming, shown
from auxar.model import CONDITION, Chain, Condition, Sampler, SampleRequest, Values, evaluating
from auxar.model.condition import CONDITION_KINDS
from auxar.recipe import Recipe
from auxar.recipe.building import own_sampler

ALL, NONE, DRAWN = "all", "none", "drawn"
"""The texts that stand for every class of a label in turn, the null condition, and conditions drawn from p(y)."""
DRAWN_AT_ONCE = 256
"""Number of conditions that are drawn at once."""
HELDOUT = 16
"""Number of held-out images whose conditions drawn images are given, if they are no labels."""
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

    def of(self, numbers: Sequence[int] | Tensor) -> Tensor | None:
        """The conditions of the images with these numbers: int64, (len(numbers), …); None if `values` is None."""
        if self.values is None:
            return None
        if not len(self.values):
            raise UserError("condition: expected at least one condition, got none")
        return self.values[(torch.as_tensor(numbers, dtype=torch.int64) - self.first) % len(self.values)]

    @property
    def digest(self) -> str | None:
        """A hash of the values; None if there are none."""
        return None if self.values is None else digest_of(self.values)

    def for_each(self, count: int) -> Tensor | None:
        """The condition of each of `count` images: int64, (count, …); None if `values` is None.

        Raises `UserError` unless there is one condition or one for each image.
        """
        if self.values is not None and len(self.values) not in (1, count):
            raise UserError(f"condition: expected one, or one for each of {count} images, got {len(self.values)}")
        return self.of(range(self.first, self.first + count))


def or_null(value: Any, condition: Condition | None) -> Any:
    """The null condition in place of None, if the model has a condition that may be null; otherwise `value`."""
    return [None] if value is None and condition is not None and condition.optional else value


def check_named(value: Any, condition: Condition | None) -> None:
    """Raises `UserError` if a likelihood is asked for without a condition, though the model has one."""
    if value is None and condition is not None and condition.optional:
        raise UserError(
            f"condition: this model is given a condition of the kind '{condition.kind}'; give that of the images, or "
            f"'{NONE}' for the null condition, with which likelihoods are others"
        )


def digest_of(*tensors: Tensor | None, text: str = "") -> str:
    """A hash of tensors and of a text."""
    found = hashlib.sha256(text.encode())
    for tensor in tensors:
        found.update(b"none" if tensor is None else repr(tuple(tensor.shape)).encode())
        found.update(b"" if tensor is None else tensor.cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


def reader_of(condition: Condition | None, recipe: Recipe | None) -> ConditionReader | None:
    """The reader of conditions for a model. None for a model without a condition or without a recipe."""
    if condition is None or recipe is None or recipe.condition is None:
        return None
    return condition_reader(recipe.condition, recipe.image, recipe.data)


def usual_conditions(condition: Condition | None, heldout: ImageSet | None = None) -> Conditions:
    """The conditions of images that are drawn without naming any.

    These are all classes of a label in turn, and for other conditions those of the first `HELDOUT` held-out images. If
    there are no held-out images, it is the null condition. Images are drawn with the usual condition if the model has
    one. Raises `UserError` if the model does not accept the null condition.
    """
    if condition is None or condition.usual is not None:
        return Conditions()
    if condition.kind != "label" and heldout is not None:
        return of_examples(condition, heldout.first_examples(HELDOUT))
    return as_conditions([*range(condition.spec.levels)] if condition.kind == "label" else None, condition, None)


def drawn_conditions(model: Chain, sampler: Sampler, numbers: range, seed: int) -> Conditions:
    """Draws a condition from p(y) for each image with one of these numbers.

    Together with images that are drawn given them, with the same numbers and seed, they are exact samples of
    p(X, X̂, y). Raises `UserError` if the model's condition is not modeled.
    """
    factor = model.condition_factor
    if factor is None or model.condition is None:
        raise UserError("condition: this model has no p(y) to draw from; its recipe has no condition.prior")
    found = []
    with evaluating(factor):
        for start in range(0, len(numbers), DRAWN_AT_ONCE):
            request = SampleRequest(tuple(numbers[start : start + DRAWN_AT_ONCE]), seed, depth=factor.depth)
            found.append(factor.given(Values()).draw(request, sampler).cpu())
    values = torch.cat(found) if found else model.condition.nulls(0)
    return attrs.evolve(named(model.condition, values), first=numbers.start)


def of_examples(condition: Condition | None, examples: Values) -> Conditions:
    """The conditions of given images."""
    values = examples.get(CONDITION)
    return Conditions() if condition is None or values is None else named(condition, values.to(torch.int64))


def named(condition: Condition, values: Tensor) -> Conditions:
    """Conditions with their names: classes, attributes, or numbers of masks and images."""
    names = (name_of(condition, row) or f"{condition.kind} {number}" for number, row in enumerate(values))
    return Conditions(values, tuple(names))


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


def drawn_if_asked(value: Any, model: Chain, recipe: Recipe, count: int) -> Any:
    """Conditions from p(y) for `count` images, with the recipe's seed, if `value` is `DRAWN`; otherwise `value`.

    Raises `UserError` if the model's condition is not modeled.
    """
    condition = model.condition
    if isinstance(value, str) and value == DRAWN and (condition is None or DRAWN not in condition.names):
        return drawn_conditions(model, own_sampler(model), range(count), recipe.sampling.seed)
    return value


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
        if condition is not None:
            condition.or_null(None, 1)  # It raises an error if the model needs a condition.
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
        value = integers(value.astype(np.int64), 0, "condition") if is_integers else value.tolist()
        if is_integers:  # In tensors, -1 stands for the null condition, but not in arrays, as in data sets.
            condition.spec.check_range(value, "condition")
    if isinstance(value, Tensor):
        return named(condition, _from_array(value, condition))
    parts = value if isinstance(value, list | tuple) and not _are_attributes(value, condition) else [value]
    found = [_one(entry, condition, reader) for part in parts for entry in _entries(part, condition)]
    if not found:
        raise UserError("condition: expected at least one condition, got an empty list")
    values = torch.cat([each.values for each in found if each.values is not None])
    return Conditions(values, tuple(name for each in found for name in each.names))


def _are_attributes(values: Sequence[Any], condition: Condition) -> bool:
    """Whether a list has the names of those attributes that hold, and is thus a single condition."""
    return condition.kind == "attributes" and all(
        isinstance(value, str) and (value in condition.names or not re.search(f"[=,]|^{NONE}$", value))
        for value in values
    )


def _entries(value: Any, condition: Condition) -> Iterable[Any]:
    """The single conditions that an entry of a list stands for, which may be a text or a folder; None for null."""
    if isinstance(value, str) and not (condition.is_vector and value in condition.names):
        if value == NONE:
            return [None]
        value = _without_kind(value, condition)
        if condition.kind == "label" and value not in condition.names:
            return range(condition.spec.levels) if value == ALL else [part.strip() for part in value.split(",")]
    if not condition.is_vector and isinstance(value, str | os.PathLike):
        return images_at(as_path(value, "condition"), "condition")
    return [value]


def _one(value: Any, condition: Condition, reader: ConditionReader | None) -> Conditions:
    if value is None:
        return Conditions(condition.or_null(None, 1), (NONE,))
    if isinstance(value, Tensor | np.ndarray):
        return as_conditions(value, condition, reader)
    if condition.is_vector:
        if condition.kind == "attributes" and isinstance(value, str) and value in condition.names:
            value = [value]  # A text is divided at commas.
        with naming("condition"):
            entries = vector_values(value, condition)
        return named(condition, torch.tensor(entries).reshape(1, *condition.spec.shape))
    return _from_picture(value, reader)


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


def _from_array(array: Tensor, condition: Condition) -> Tensor:
    if array.layout != torch.strided or array.is_meta or array.is_nested or array.is_quantized:
        raise UserError("condition: expected a dense tensor, got a sparse, nested, quantized or meta tensor")
    shape = condition.spec.shape
    sides = (shape, tuple(side for side in shape if side > 1))  # Sides of length 1 may be left out.
    if tuple(array.shape) in sides or tuple(array.shape[1:]) in sides:
        array = array.reshape(-1, *shape)
    if not array.is_floating_point() and not array.is_complex():
        array = array.to("cpu", torch.int64)
    condition.check(array)
    if not len(array):
        raise UserError("condition: expected at least one condition, got none")
    return array


def _from_picture(value: Any, reader: ConditionReader | None) -> Conditions:
    if not isinstance(value, Path | Image.Image):
        raise UserError(f"condition: expected a picture, its path, or a tensor of integers, got {described(value)}")
    if reader is None:
        raise UserError("condition: this model has no recipe, which says how pictures are converted; give a tensor")
    picture, name = picture_of(value, "condition")
    try:
        values = reader.picture(picture, name)
    except BrokenImage as error:
        raise UserError(f"condition: {name} cannot be read as an image: {error}") from None
    return Conditions(torch.from_numpy(values.astype(np.int64))[None], (Path(name).name[:LONGEST_NAME],))
