"""The interface of priors p(X̂), which are distributions over images."""

from __future__ import annotations

import abc
import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from auxar.arguments import as_integer, described
from auxar.errors import UserError
from auxar.interfaces.arithmetic import FLOAT
from auxar.interfaces.condition import Condition
from auxar.interfaces.factor import Factor
from auxar.interfaces.image import ImageSpec
from auxar.interfaces.known import Known
from auxar.interfaces.likelihood import ByChannel, FactorLogProb
from auxar.interfaces.mode import evaluating
from auxar.interfaces.request import DrawRule, SampleRequest
from auxar.interfaces.rule_use import check_rule
from auxar.interfaces.sampling import Sampler
from auxar.interfaces.summary import summary
from auxar.numerics.levels import SCALED


class Prior(nn.Module, abc.ABC):
    """A distribution over images. A `Chain`, the joint distribution of an image and its views, is also a prior.

    `factors`, `specs` and `views` are ordered by depth: the image is at depth 0 and its k-th view at depth k. The
    defaults are for a model without views.
    """

    image: ImageSpec
    """Shape and range of the images."""
    condition: Condition | None = None
    """The condition y that the model is given: it is then p(X | y). None for a model without a condition."""
    sampler: Sampler | None = None
    """Default sampler of `sample`. It is set when a model is built from a recipe."""
    arithmetic: str = FLOAT
    """The arithmetic in which the model computes: `float`, or the name of a component, such as `integer`."""
    picture_values: str = SCALED
    """The meaning of pixels in picture files, a recipe's `data.values`: levels `scaled` to 0 … 255, or `levels`."""
    digests: Mapping[str, str] = MappingProxyType({})
    """The digests of the factors in this arithmetic, by name. They are empty for `float`."""

    def parts(self) -> tuple[Sequence[Any], Prior]:
        """The stages of a chain and the prior of its coarsest view. The default is no stages and this prior."""
        return (), self

    @property
    def exact(self) -> bool:
        """Whether `log_prob` equals log p(X). Otherwise it is a lower bound of log p(X)."""
        return True

    @property
    def specs(self) -> list[ImageSpec]:
        """Shape and range of the image and of all its views, by depth."""
        return [self.image]

    @property
    def factors(self) -> list[Factor]:
        """The factors by depth: `stage0`, `stage1`, … and finally `prior`. They use the model's weights, not copies."""
        return [PriorFactor(self, 0)]

    @property
    def condition_factor(self) -> Factor | None:
        """The factor p(y) of the condition, named `condition`; None if the condition is not modelled."""
        return None

    @property
    def all_factors(self) -> list[Factor]:
        """The `factors`, and last `condition_factor` if there is one. These are all that is trained."""
        return [*self.factors, *([] if self.condition_factor is None else [self.condition_factor])]

    def __repr__(self) -> str:
        """A line with the factors and the number of parameters. The modules of a network are listed by its own repr."""
        return summary(type(self).__name__, self.all_factors, self)

    def views(self, image: Tensor, deepest: int | None = None) -> list[Tensor]:
        """The images and their views by depth: [X, ψ(X), ψ(ψ(X)), …], all integers.

        `image` has shape (b, *image.shape). With `deepest`, only depths 0 … `deepest` are returned.
        """
        return [image]

    @abc.abstractmethod
    def log_prob(self, image: Tensor) -> Tensor:
        """Computes log p(image) in nats, shape (b,), for integers (b, *image.shape).

        It is a lower bound of log p(image) unless the model is `exact`. A model with a `condition` has a second
        argument, the condition of each image, integers (b, *condition.spec.shape), or None for the null condition. So
        have its `log_prob_by_channel` and `initialize`.
        """

    @abc.abstractmethod
    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        """Draws one image for each number of the request: int64, (b, *image.shape)."""

    def draw_views(self, request: SampleRequest, sampler: Sampler) -> list[Tensor]:
        """Draws images, and returns them with the views that they were drawn from, by depth (paper, figure 6)."""
        return [self.draw(request, sampler)]

    def draw_from(self, view: Tensor, request: SampleRequest, sampler: Sampler, *, from_depth: int = 1) -> list[Tensor]:
        """Draws the images at depths 0 … `from_depth` - 1 given views at depth `from_depth`.

        `view` has shape (b, *specs[from_depth].shape). The result has integers, is ordered by depth and ends with
        `view`. If `view` was drawn by `draw_views` for the same request, `draw_from` draws the same images as
        `draw_views`. Known pixels of the request are kept, and so are the pixels of views that they determine at the
        depths below `from_depth`. Raises `UserError` if the model has no view at `from_depth`.
        """
        raise UserError(f"from_depth = {from_depth}: this model has no views to draw from")

    def initialize(self, image: Tensor) -> None:
        """Initializes the weights from a batch of images. The default does nothing."""

    def log_probs(self, image: Tensor, condition: Tensor | None = None) -> tuple[FactorLogProb, ...]:
        """Computes the log-likelihood of each factor, from the image to its coarsest view."""
        views = self.views(image)
        return tuple(
            FactorLogProb(factor.name, factor.image, factor(*factor.inputs(views, condition)))
            for factor in self.factors
        )

    def log_prob_by_channel(self, image: Tensor) -> ByChannel:
        """Computes `log_prob` in total and, if the prior can, for each channel. The default gives only the total."""
        return ByChannel(self.log_prob(image))

    def bits_per_dim(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Computes -log₂ p(image) divided by the number of sub-pixels, shape (b,); an upper bound unless `exact`.

        For a model with a condition, it is -log₂ p(image | condition). Raises `UserError` if dtype, shape or range of
        `image` or `condition` is wrong.
        """
        self.image.check(image)
        self.image.check_range(image)
        self.check_condition(condition, len(image))
        nats = self.log_prob(image, *self.condition_arguments(condition))
        return nats / (-math.log(2) * self.image.dims)

    def check_condition(self, condition: Tensor | None, count: int) -> None:
        """Raises `UserError` unless `condition` is a condition of this model for each of `count` images.

        None is accepted by a model without a condition, and by one that accepts the null condition.
        """
        if self.condition is None:
            if condition is not None:
                raise UserError("condition: this model has no condition; leave it out")
            return
        self.condition.check(self.condition.or_null(condition, count))

    def condition_arguments(self, condition: Tensor | None) -> tuple[Tensor | None, ...]:
        """The arguments that `log_prob` and `initialize` have after the image: the condition, if the model has one."""
        return () if self.condition is None else (condition,)

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
        condition: Tensor | None = None,
    ) -> Tensor:
        """Draws the images with numbers first … first + count - 1: int64 on the CPU, shape (count, *image.shape).

        Except for rounding, an image depends only on the model, its number, `seed`, `rule`, its known pixels and its
        condition. `batch_size` sets how many images are drawn at once. Dropout is off. `known` has known pixels for
        each of the `count` images, and `condition` the condition of each, integers (count, *condition.spec.shape).

        Raises `UserError` if an argument is invalid, if neither the model nor the call has a sampler, or if the rule
        has an option that changes nothing for any head of the model, such as a temperature for logistic mixtures.
        """
        sampler = sampler or self.sampler
        if sampler is None:
            raise UserError("this model has no sampler: pass one as sampler=…")
        count, first = as_integer(count, "count", 0), as_integer(first, "first", 0)
        seed, batch_size = as_integer(seed, "seed"), as_integer(batch_size, "batch_size", 1)
        rule = rule if isinstance(rule, DrawRule) else DrawRule(rule)
        check_rule(self, rule)
        if known is not None:
            if not isinstance(known, Known):
                raise UserError(f"known: expected a Known with values and a mask, got {described(known)}")
            known.check(self.image, count)
        self.check_condition(condition, count)
        images = []
        with evaluating(self):
            for start in range(first, first + count, batch_size):
                numbers = tuple(range(start, min(start + batch_size, first + count)))
                rows = slice(start - first, start - first + batch_size)
                given = None if known is None else known.of(rows)
                kept = None if condition is None else condition[rows]
                request = SampleRequest(numbers, seed, rule, known=given, condition=kept)
                images.append(self.draw(request, sampler).cpu())
        return torch.cat(images) if images else torch.empty((0, *self.image.shape), dtype=torch.int64)


class PriorFactor(Factor):
    """The factor p(image) of a prior without views. Its weights are named `prior.…`."""

    def __init__(self, prior: Prior, depth: int) -> None:
        super().__init__("prior", depth, prior.image, None)
        self.prior = prior
        self.condition = prior.condition

    @property
    def exact(self) -> bool:
        return self.prior.exact

    def forward(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        self.check_inputs(view, condition)
        return self.prior.log_prob(image, *self.prior.condition_arguments(condition))

    def log_prob_by_channel(
        self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None
    ) -> ByChannel:
        self.check_inputs(view, condition)
        return self.prior.log_prob_by_channel(image, *self.prior.condition_arguments(condition))

    def initialize(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> None:
        self.check_inputs(view, condition)
        self.prior.initialize(image, *self.prior.condition_arguments(condition))
