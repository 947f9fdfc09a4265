"""The interface of arithmetics: ways to compute with a trained model other than in floating point."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import attrs
from torch import Tensor

from auxar.interfaces.factor import Factor

FLOAT = "float"
"""The name of floating-point arithmetic, which needs no conversion and is not a component."""


@attrs.frozen(eq=False)
class Converted:
    """A trained factor in the form in which an arithmetic stores it."""

    tensors: Mapping[str, Tensor]
    """Tensors by name."""
    description: Any
    """A JSON value that says how to use the tensors."""


class Arithmetic(abc.ABC):
    """Converts trained factors, once, to a form that is stored beside their weights, and computes with this form.

    A plugin registers an arithmetic as a component of kind `arithmetic`: `build(config) -> Arithmetic`.
    """

    def check(self, factor: Factor) -> None:  # noqa: B027 -- by default, every factor is accepted
        """Raises `UserError`, with the name of the part, if a part of the factor cannot be converted.

        The factor may have tensors without values, on the device "meta". A recipe is checked before training starts.
        """

    @abc.abstractmethod
    def convert(self, factor: Factor, image: Tensor, view: Tensor | None, condition: Tensor | None = None) -> Converted:
        """Converts a trained factor.

        `image` holds training images at the factor's depth, integers (b, *factor.image.shape), and `view` their views;
        None for a prior. `condition` holds the condition of each image; None for a factor without one. Raises
        `UserError` if a part of the factor cannot be converted, with the name of the part."""

    @abc.abstractmethod
    def restore(self, factor: Factor, converted: Converted) -> Factor:
        """The factor that computes with the converted form. `factor` may have any weights, which are not used.

        Raises `UserError` if the form does not belong to such a factor, or if its numbers cannot be proven to be
        computed without error.
        """
