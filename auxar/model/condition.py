"""Conditions y, variables that come with each image, such as its label, and their features."""

from __future__ import annotations

import copy
from typing import Literal, get_args

import attrs
import torch
from torch import Tensor, nn

from auxar.errors import UserError, shown
from auxar.model.embedding import Embedding
from auxar.model.image import ImageSpec
from auxar.model.network import device_of
from auxar.model.values import NULL

ConditionKind = Literal["label", "attributes", "mask", "image"]
CONDITION_KINDS: tuple[str, ...] = get_args(ConditionKind)
"""The kinds of conditions, as the key `condition.kind` of a recipe gives them."""


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

    kind: ConditionKind
    """The kind: `label`, `attributes`, `mask` or `image`."""
    spec: ImageSpec
    """Shape and range of the condition."""
    names: tuple[str, ...] = ()
    """Names of the classes of a label or a mask, or of the attributes; empty if they have no names."""
    optional: bool = False
    """Whether the null condition is accepted."""
    usual: int | None = None
    """The value of a label that images have whose condition is not given; None if there is no such value."""

    def __attrs_post_init__(self) -> None:
        if self.kind not in CONDITION_KINDS:
            raise UserError(f"kind: expected one of {', '.join(CONDITION_KINDS)}, got {shown(self.kind)}")
        if self.is_vector and (self.spec.height, self.spec.width) != (1, 1):
            raise UserError(f"condition: a condition of the kind '{self.kind}' has one pixel, got {self.spec.size}")

    @property
    def is_vector(self) -> bool:
        """Whether the condition has a single pixel, so that it belongs to no place in the image."""
        return self.kind in ("label", "attributes")

    def nulls(self, count: int, device: torch.device | str = "cpu") -> Tensor:
        """The null condition for `count` images: int64, (count, *spec.shape)."""
        return torch.full((count, *self.spec.shape), NULL, dtype=torch.int64, device=device)

    def check(self, values: Tensor) -> None:
        """Raises `UserError` unless `values` has conditions of this shape and range: integers, (b, *spec.shape).

        Rows with the null condition are accepted if `optional`. On a GPU, this waits for the device.
        """
        self.spec.check(values, "condition")
        null = is_null(values)
        if bool(null.any()) and not self.optional:
            raise UserError("condition: this model was not trained with the null condition (condition.drop = 0)")
        self.spec.check_range(values[~null], "condition")

    def or_null(self, values: Tensor | None, count: int, device: torch.device | str = "cpu") -> Tensor:
        """`values` or, if it is None, the usual or the null condition for `count` images.

        Raises `UserError` if `values` is None and the null condition is not accepted, or if the number of images
        differs from `count`.
        """
        if values is None:
            if self.usual is not None:
                return torch.full_like(self.nulls(count, device), self.usual)
            if not self.optional:
                raise UserError(
                    f"condition: this model requires a condition ({self.kind}) for each image, because it was not "
                    "trained with the null condition (condition.drop = 0)"
                )
            return self.nulls(count, device)
        self.spec.check(values, "condition")
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


class Conditioning(nn.Module):
    """The features of a condition y for one factor: those of an embedding, or learned ones for the null condition.

    The features join those of the factor's view. Any embedding whose `view` is the condition's shape and range can be
    used, so third parties can replace it. If the condition is optional, the features of the null condition are a
    learned vector, the same at all places; the embedding never sees the null condition.

    Raises `UserError` if the embedding is one of another condition.
    """

    def __init__(self, condition: Condition, embedding: Embedding) -> None:
        super().__init__()
        if embedding.view != condition.spec:
            raise UserError(f"the condition is {condition.spec}, but its embedding expects {embedding.view}")
        self.condition = condition
        self.embedding = embedding
        self.image = embedding.image
        self.features_channels = embedding.features_channels
        self.any_size = condition.is_vector and embedding.any_size
        self.null = nn.Parameter(torch.zeros(embedding.features_channels)) if condition.optional else None

    def forward(self, values: Tensor | None, count: int) -> Tensor:
        """Computes the features of conditions: floats, (count, features_channels, image.height, image.width).

        `values` has integers of shape (count, *condition.spec.shape); None is the usual or the null condition for all
        images.
        Raises `UserError` if the shape is wrong, or if the null condition is not accepted.
        """
        if values is None and self.null is not None:
            return self._nulls(count)
        values = self.condition.or_null(values, count, device_of(self))
        if self.null is None:
            found: Tensor = self.embedding(values)
            return found
        features = self.embedding(values.clamp_min(0))
        return torch.where(is_null(values)[:, None, None, None], self._nulls(count).to(features.dtype), features)

    def initialize(self, values: Tensor | None) -> None:
        """Initializes the weights of the embedding from a batch of conditions."""
        if values is not None:
            self.embedding.initialize(values.clamp_min(0))

    def at(self, image: ImageSpec) -> Conditioning:
        """The same features, with the same weights, for images of another height and width.

        Raises `UserError` if the embedding has one size.
        """
        found = copy.copy(self)
        found.image = image
        found._modules = {**self._modules, "embedding": self.embedding.at(self.embedding.view, image)}
        return found

    @property
    def knows_null(self) -> bool:
        """Whether the null condition was trained: its features start at zero, and change with the first gradient."""
        return self.null is not None and bool(self.null.any())

    def _nulls(self, count: int) -> Tensor:
        assert self.null is not None
        return self.null[None, :, None, None].expand(count, -1, self.image.height, self.image.width)


def row_spec(condition: Condition) -> ImageSpec:
    """Shape and range of the images that the prior of a condition is over.

    Attributes become a row of pixels with one channel. Other conditions are images already.

    Examples:
        >>> print(row_spec(Condition("attributes", ImageSpec(40, height=1, width=1, levels=2))))
        1×40×1 with 2 levels
    """
    spec = condition.spec
    return ImageSpec(1, height=1, width=spec.channels, levels=spec.levels) if condition.is_vector else spec
