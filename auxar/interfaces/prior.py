"""Priors: distributions over images, p(X̂)."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from auxar.errors import UserError
from auxar.interfaces.factor import Factor
from auxar.interfaces.image import ImageSpec
from auxar.interfaces.known import Known
from auxar.interfaces.likelihood import ByChannel, FactorLogProb
from auxar.interfaces.request import DrawRule, SampleRequest
from auxar.interfaces.sampling import Sampler


class Prior(nn.Module, abc.ABC):
    """A distribution over images. A `Chain` is one too: of an image together with its views.

    Whoever uses a model asks it for its `factors`, `specs` and `views` by depth: the image is at depth 0, its k-th view
    at depth k. Here they are those of a model without views.
    """

    image: ImageSpec
    sampler: Sampler | None = None
    """What `sample` draws with; set when a model is built from a recipe."""

    def parts(self) -> tuple[Sequence[Any], Prior]:
        """The stages of a chain and the prior of its coarsest view: here no stages, and this prior itself."""
        return (), self

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is log p(X) and not a bound of it."""
        return True

    @property
    def specs(self) -> list[ImageSpec]:
        """Descriptions of the image and all its views, by depth."""
        return [self.image]

    @property
    def factors(self) -> list[Factor]:
        """The terms that train apart, by depth: `stage0` … and last `prior`. They share the model's weights."""
        return [PriorFactor(self, 0)]

    def views(self, image: Tensor, deepest: int | None = None) -> list[Tensor]:
        """[X, ψ(X), ψ(ψ(X)), …]: integers (b, *image.shape) and all their views, by depth, or none below `deepest`."""
        return [image]

    @abc.abstractmethod
    def log_prob(self, image: Tensor) -> Tensor:
        """Integers (b, *image.shape) to nats, shape (b,)."""

    @abc.abstractmethod
    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        """One image for each number of the request: int64, (b, *image.shape)."""

    def draw_views(self, request: SampleRequest, sampler: Sampler) -> list[Tensor]:
        """The drawn images and the drawn views that they were drawn from, by depth (paper, figure 6)."""
        return [self.draw(request, sampler)]

    def draw_from(self, view: Tensor, request: SampleRequest, sampler: Sampler, *, from_depth: int = 1) -> list[Tensor]:
        """The images at depths 0 … `from_depth`, drawn from a view (b, *specs[from_depth].shape), which comes last.

        Given a view that `draw_views` drew, they are the images that it draws. Raises `UserError` for a depth without
        views.
        """
        raise UserError("this model has no views to draw from")

    def initialize(self, image: Tensor) -> None:
        """Data-dependent initialization on a batch of images; nothing unless an implementation has it."""

    def log_probs(self, image: Tensor) -> tuple[FactorLogProb, ...]:
        """Log-likelihood factor by factor, from the image down to its coarsest view."""
        views = self.views(image)
        return tuple(
            FactorLogProb(factor.name, factor.image, factor(*views[factor.depth : factor.depth + 2]))
            for factor in self.factors
        )

    def log_prob_by_channel(self, image: Tensor) -> ByChannel:
        """`log_prob` and the share of each channel, where the prior can tell channels apart: here the total alone."""
        return ByChannel(self.log_prob(image))

    def bits_per_dim(self, image: Tensor) -> Tensor:
        """-log₂ p of each image over its number of sub-pixels, shape (b,). Raises `UserError` for a bad image."""
        self.image.check(image)
        self.image.check_range(image)
        return self.log_prob(image) / (-math.log(2) * self.image.dims)

    @torch.no_grad()
    def sample(
        self,
        count: int,
        *,
        rule: str | DrawRule = "ancestral",
        seed: int = 0,
        first: int = 0,
        batch_size: int = 16,
        sampler: Sampler | None = None,
        known: Known | None = None,
    ) -> Tensor:
        """Images number first … first + count - 1 of `seed`: int64, shape (count, *image.shape).

        An image is a function of (model, seed, its number, rule): `batch_size` only sets how many are drawn at once,
        and dropout is off. Pixels that are `known`, of one image for each that is drawn, are held fixed.
        Raises `UserError` if the model was built without a sampler and none is given, and for known pixels of another
        shape or range.
        """
        sampler = sampler or self.sampler
        if sampler is None:
            raise UserError("this model has no sampler: pass one as sampler=…")
        rule = rule if isinstance(rule, DrawRule) else DrawRule(rule)
        if known is not None:
            known.check(self.image, count)
        training = self.training
        self.eval()
        images = []
        for start in range(first, first + count, batch_size):
            numbers = tuple(range(start, min(start + batch_size, first + count)))
            given = None if known is None else known.of(slice(start - first, start - first + batch_size))
            images.append(self.draw(SampleRequest(numbers, seed, rule, known=given), sampler).cpu())
        self.train(training)
        return torch.cat(images) if images else torch.empty((0, *self.image.shape), dtype=torch.int64)


class PriorFactor(Factor):
    """p(image) of a prior without views, as a factor; its weights are named `prior.…`."""

    def __init__(self, prior: Prior, depth: int) -> None:
        super().__init__("prior", depth, prior.image, None)
        self.prior = prior

    def forward(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        self.check_inputs(view, condition)
        return self.prior.log_prob(image)

    def log_prob_by_channel(
        self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None
    ) -> ByChannel:
        self.check_inputs(view, condition)
        return self.prior.log_prob_by_channel(image)

    def initialize(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> None:
        self.check_inputs(view, condition)
        self.prior.initialize(image)
