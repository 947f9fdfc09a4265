"""Arithmetics, to which trained factors are converted, and the converted factors."""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import Any

import attrs
from torch import Tensor

from auxar.errors import UserError, shown
from auxar.model.factor import Factor
from auxar.model.values import Values

LIMITS = "limits"
"""The entry of a converted factor's description that has the limits of its parameters."""
FLOAT = "float"
"""The name of floating-point arithmetic, which needs no conversion and is not a component."""


@attrs.frozen(eq=False)
class Converted:
    """A trained factor in the form in which an arithmetic stores it."""

    tensors: Mapping[str, Tensor]
    """Tensors by name."""
    description: Any
    """A JSON value that says how to use the tensors. If it is an object, its entry `limits` has the limits of the
    factor's parameters (`Factor.limits`) and is missing if there are none."""

    def with_limits(self, limits: Mapping[str, float]) -> Converted:
        """The same factor with these limits of its parameters in place of its own; {} for none.

        A description without limits is the same as before factors had limits. Raises `UserError` if the description is
        no object.

        Examples:
            >>> integers = Converted({}, {"factor": "prior"})
            >>> integers.with_limits({"log_scales": -2.0}).description
            {'factor': 'prior', 'limits': {'log_scales': -2.0}}
            >>> integers.with_limits({"log_scales": -2.0}).with_limits({}).description
            {'factor': 'prior'}
        """
        if not isinstance(self.description, Mapping):
            if limits:
                raise UserError(
                    f"the description of a factor with limits must be an object, got {shown(self.description)}"
                )
            return self
        kept = {key: value for key, value in self.description.items() if key != LIMITS}
        return attrs.evolve(self, description=kept | ({LIMITS: dict(limits)} if limits else {}))


class Arithmetic(abc.ABC):
    """Converts trained factors, once, to a form that is stored beside their weights, and computes with this form.

    A plugin registers an arithmetic as a component of kind `arithmetic`: `build(config) -> Arithmetic`.
    """

    def check(self, factor: Factor) -> None:  # noqa: B027 -- by default, every factor is accepted
        """Raises `UserError`, with the name of the part, if a part of the factor cannot be converted.

        The factor may have tensors without values, on the device "meta". A recipe is checked before training starts.
        """

    @abc.abstractmethod
    def convert(self, factor: Factor, values: Values) -> Converted:
        """Converts a trained factor.

        `values` holds training images at the factor's depth, integers (b, *factor.image.shape), and the variables that
        the factor is given. Raises `UserError` if a part of the factor cannot be converted, with the name of the part.
        """

    @abc.abstractmethod
    def restore(self, factor: Factor, converted: Converted) -> Factor:
        """The factor that computes with the converted form. `factor` may have any weights, which are not used.

        Raises `UserError` if the form does not belong to such a factor, or if its numbers cannot be proven to be
        computed without error.
        """
