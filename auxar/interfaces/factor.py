"""Factors: the terms of a model that train apart."""

from __future__ import annotations

import abc

from torch import Tensor, nn

from auxar.errors import UserError
from auxar.interfaces.image import ImageSpec
from auxar.interfaces.likelihood import ByChannel


class Factor(nn.Module, abc.ABC):
    """One of the terms that train apart: p(image | view) at some depth of a chain, or p(image) of its coarsest view.

    Factors share no parameters (paper, section 3). A factor sees the image at its own depth, the view at the next one
    and, if it takes any, a condition that comes with the image, such as a label. It refuses a condition that it does
    not take: to ignore one would give the likelihood of another model.
    """

    name: str
    depth: int
    image: ImageSpec
    view_spec: ImageSpec | None
    """Describes the view that the factor is given; None for a prior, which is given none."""
    restricted: bool = False
    """Whether only images with the given view have a probability."""

    def __init__(self, name: str, depth: int, image: ImageSpec, view_spec: ImageSpec | None) -> None:
        super().__init__()
        self.name = name
        self.depth = depth
        self.image = image
        self.view_spec = view_spec

    def __str__(self) -> str:
        return f"p({self.image.size})" if self.view_spec is None else f"p({self.image.size} | {self.view_spec.size})"

    @abc.abstractmethod
    def forward(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Integers (b, *image.shape) and (b, *view_spec.shape) to nats, shape (b,)."""

    @abc.abstractmethod
    def log_prob_by_channel(
        self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None
    ) -> ByChannel:
        """The nats that a call gives, the share of each channel and, for a free decoder, `ByChannel.inside`, where the
        factor can tell, in one pass of its network."""

    @abc.abstractmethod
    def initialize(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> None:
        """Data-dependent initialization of the factor's networks on one batch."""

    def check_inputs(self, view: Tensor | None, condition: Tensor | None) -> None:
        """Raises `UserError` for a view where none belongs, for none where one does, and for a condition."""
        if (view is None) != (self.view_spec is None):
            raise UserError(f"{self.name}: {self} {'needs a' if view is None else 'takes no'} view")
        if condition is not None:
            raise UserError(f"{self.name}: {self} takes no condition")
