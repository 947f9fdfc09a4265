"""The interface of factors: the independently trained terms of a model's log-likelihood."""

from __future__ import annotations

import abc
from collections.abc import Sequence

from torch import Tensor, nn

from auxar.errors import UserError
from auxar.interfaces.condition import Condition
from auxar.interfaces.image import ImageSpec
from auxar.interfaces.likelihood import ByChannel
from auxar.interfaces.summary import summary


class Factor(nn.Module, abc.ABC):
    """An independently trained term of a model: p(image | view) at one depth of a chain, or the prior p(image).

    Factors share no parameters (paper, section 3). A factor gets the image at its own depth and the view at the next
    depth. If it has a `condition`, such as a label of the image, it also gets its values. A factor without a condition
    raises `UserError` if one is given, because ignoring it would give the likelihood of a different model.
    """

    name: str
    """Name of the factor: `stage0`, `stage1`, … or `prior`."""
    depth: int
    """Depth of the factor's image."""
    image: ImageSpec
    """Shape and range of the factor's image."""
    view_spec: ImageSpec | None
    """Shape and range of the view that the factor is conditioned on; None for a prior."""
    condition: Condition | None = None
    """The condition y that the factor is given; None if it has none."""
    restricted: bool = False
    """Whether the factor gives probability only to images with the given view."""

    def __init__(self, name: str, depth: int, image: ImageSpec, view_spec: ImageSpec | None) -> None:
        super().__init__()
        self.name = name
        self.depth = depth
        self.image = image
        self.view_spec = view_spec

    @property
    def exact(self) -> bool:
        """Whether log-likelihoods are exact terms of log p(X). If not, they are terms of a lower bound."""
        return self.view_spec is None or self.restricted

    def __str__(self) -> str:
        given = [] if self.view_spec is None else [self.view_spec.size]
        given += [] if self.condition is None else [self.condition.kind]
        return f"p({self.image.size} | {', '.join(given)})" if given else f"p({self.image.size})"

    def __repr__(self) -> str:
        """A line with the factor and its number of parameters. The modules of a network are listed by its own repr."""
        return summary(type(self).__name__, [self], self)

    @abc.abstractmethod
    def forward(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        """Computes the log-likelihood of images given their views, in nats, shape (b,).

        `image` and `view` have integers of shapes (b, *image.shape) and (b, *view_spec.shape). For a prior, `view` is
        None. `condition` has integers of shape (b, *condition.spec.shape); None is the null condition, or no condition
        if the factor has none.
        """

    @abc.abstractmethod
    def log_prob_by_channel(
        self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None
    ) -> ByChannel:
        """Computes log-likelihoods in nats: the total, as `forward` does, and, if the factor can, one for each channel.

        With a free decoder, the result also has `ByChannel.inside` if the factor can compute it. The network is
        evaluated once.
        """

    @abc.abstractmethod
    def initialize(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> None:
        """Initializes the weights of the factor's networks from a batch of data."""

    def inputs(
        self, views: Sequence[Tensor], condition: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """The arguments of `forward` for images and their views by depth, as `Prior.views` returns them."""
        return views[self.depth], None if self.view_spec is None else views[self.depth + 1], condition

    def check_inputs(self, view: Tensor | None, condition: Tensor | None) -> None:
        """Raises `UserError` if a view is missing or unexpected, or if a condition is given to a factor without one."""
        if (view is None) != (self.view_spec is None):
            raise UserError(f"{self.name}: {self} {'requires a' if view is None else 'does not accept a'} view")
        if condition is not None and self.condition is None:
            raise UserError(f"{self.name}: {self} does not accept a condition")
