"""The interface of conditions: variables y that come with each image, such as its label."""

from __future__ import annotations

from typing import Literal, get_args

import attrs
import torch
from torch import Tensor

from auxar.arguments import described
from auxar.errors import UserError, shown
from auxar.interfaces.image import INTEGER_DTYPES, ImageSpec

ConditionKind = Literal["label", "attributes", "mask", "image"]
CONDITION_KINDS: tuple[str, ...] = get_args(ConditionKind)
"""The kinds of conditions, as the key `condition.kind` of a recipe gives them."""
NULL = -1
"""The value that every place of the null condition has. It stands for an image without a condition."""


@attrs.frozen
class Condition:
    """A variable y that comes with each image, and that all factors are given: p(X, X̂ | y) = p(X̂ | y) p(X | X̂, y).

    Its values are those of an image: integers of the shape and range that `spec` gives. A label is an image of one
    pixel with as many levels as classes, and attributes are an image of one pixel with a channel for each.

    The null condition, an image whose values are all `NULL`, stands for "no condition". A model accepts it if it was
    trained with it. p(X | null) is then what the model learned from the images whose condition was left out; it is not
    the sum of p(X | y) p(y) over the conditions.

    Raises `UserError` if the kind is unknown, or if a label or attributes have more than one pixel.

    Examples:
        >>> label = Condition("label", ImageSpec(1, height=1, width=1, levels=3), ("cat", "dog", "owl"))
        >>> label.check(torch.tensor([2, 0]).reshape(2, 1, 1, 1))
        >>> label.check(torch.tensor([3]).reshape(1, 1, 1, 1))
        Traceback (most recent call last):
        auxar.errors.UserError: condition: expected integers in [0, 3), got 3 … 3
    """

    kind: ConditionKind = attrs.field()
    """The kind: `label`, `attributes`, `mask` or `image`."""
    spec: ImageSpec = attrs.field()
    """Shape and range of the condition."""
    names: tuple[str, ...] = ()
    """Names of the classes of a label or a mask, or of the attributes; empty if they have no names."""
    optional: bool = False
    """Whether the null condition is accepted."""

    @kind.validator
    def _known_kind(self, attribute: attrs.Attribute[ConditionKind], value: ConditionKind) -> None:
        if value not in CONDITION_KINDS:
            raise UserError(f"kind: expected one of {', '.join(CONDITION_KINDS)}, got {shown(value)}")

    @spec.validator
    def _one_pixel(self, attribute: attrs.Attribute[ImageSpec], value: ImageSpec) -> None:
        if self.is_vector and (value.height, value.width) != (1, 1):
            raise UserError(f"condition: a condition of the kind '{self.kind}' has one pixel, got {value.size}")

    @property
    def is_vector(self) -> bool:
        """Whether the condition has a single pixel, so that it belongs to no place in the image."""
        return self.kind in ("label", "attributes")

    @property
    def is_categorical(self) -> bool:
        """Whether values are numbers of categories, without an order. The values of an image are ordered."""
        return self.kind != "image"

    def nulls(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """The null condition for `count` images: int64, (count, *spec.shape)."""
        return torch.full((count, *self.spec.shape), NULL, dtype=torch.int64, device=device)

    def check(self, values: Tensor, what: str = "condition") -> None:
        """Raises `UserError` unless `values` has conditions of this shape and range: integers, (b, *spec.shape).

        Rows with the null condition are accepted if `optional`. On a GPU, this waits for the device.
        """
        self.check_shape(values, what)
        null = is_null(values)
        if bool(null.any()) and not self.optional:
            raise UserError(f"{what}: this model was not trained with the null condition (condition.drop = 0)")
        self.spec.check_range(values[~null], what)

    def check_shape(self, values: Tensor, what: str = "condition") -> None:
        """Raises `UserError` unless `values` is a tensor of integers of the shape (b, *spec.shape)."""
        if not isinstance(values, Tensor) or values.dtype not in INTEGER_DTYPES:
            raise UserError(f"{what}: expected a tensor of integers, got {described(values)}")
        if values.dim() != 4 or tuple(values.shape[1:]) != self.spec.shape:
            shape = ", ".join(map(str, self.spec.shape))
            raise UserError(f"{what}: expected shape (b, {shape}), got {tuple(values.shape)}")

    def or_null(self, values: Tensor | None, count: int, device: torch.device | str = "cpu") -> Tensor:
        """`values`, or the null condition for `count` images if it is None.

        Raises `UserError` if `values` is None and the null condition is not accepted, or if the number of images
        differs from `count`.
        """
        if values is None:
            if not self.optional:
                raise UserError(
                    f"condition: this model requires a condition ({self.kind}) for each image, because it was not "
                    "trained with the null condition (condition.drop = 0)"
                )
            return self.nulls(count, device)
        self.check_shape(values)
        if len(values) != count:
            raise UserError(f"condition: expected one for each of {count} images, got {len(values)}")
        return values


def is_null(values: Tensor) -> Tensor:
    """Marks the rows of conditions (b, c, h, w) that are the null condition: bool, (b,). All their values are `NULL`.

    Examples:
        >>> is_null(torch.tensor([[[[4]]], [[[-1]]]])).tolist()
        [False, True]
    """
    return (values == NULL).flatten(1).all(1)
