"""The joint model of an image and its views, p(X, X̂) = p(X̂) p(X | X̂) (paper, equation 2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from auxar.arguments import as_integer, described
from auxar.errors import UserError, naming
from auxar.model.arithmetic import FLOAT
from auxar.model.condition import Condition, is_null
from auxar.model.factor import Factor, check_fit
from auxar.model.image import ImageSpec, Known
from auxar.model.network import summary
from auxar.model.request import SampleRequest
from auxar.model.rule import Rule
from auxar.model.sources import Sampler
from auxar.numerics.levels import SCALED


@attrs.frozen
class FactorLogProb:
    """The log-likelihoods of a batch of images under one factor."""

    factor: str
    """Name of the factor."""
    image: ImageSpec
    """Shape and range of the factor's image."""
    log_prob: Tensor
    """Log-likelihoods in nats, shape (b,)."""


class Chain(nn.Module):
    """The joint model of an image and its views: a factor for each view, the image's first, and last the prior.

    `log_prob` is log p(X, ψ(X), …), a lower bound of log p(X) = log Σ_x̂ p(X, x̂) (paper, equation 5). If all factors
    are exact, it equals log p(X). A chain may be given as the last of `factors`: its factors are then appended. With
    `condition_factor`, the condition y is modeled, too, by the factor p(y). If the factors have a condition y, all of
    them are given y.

    `factors`, `specs` and `views` are ordered by depth: the image is at depth 0 and its k-th view at depth k. The
    factors use the chain's weights, not copies.

    Args:
        factors: The factors p(X | X̂) with views, from the image down, and last a factor without a view, or a chain.
        condition_factor: The factor p(y); None if the condition is not modeled.
        sampler: Default sampler of `sample`.
        arithmetic: The arithmetic in which the factors compute: `float`, or the name of a component.
        digests: Checksums of the converted factors, by name. Empty for `float`.
        unlimited_digests: Checksums that they have without limits of parameters. Empty if they have no limits.
        picture_values: The meaning of pixels in picture files, a recipe's `data.values`: `scaled` or `levels`.

    Raises `UserError` if an argument has another type, if the last factor has a view or another one has none, if the
    image of a factor differs from the view of the factor before it, or if not all have the same condition.

    Examples:
        >>> import torch
        >>> from auxar import CausalDistribution
        >>> from auxar_pixelcnn.components import EmbeddingConfig, LightConfig, embedding, light
        >>> from auxar_pyramid import PyramidConfig, PyramidView
        >>> image = ImageSpec(height=8, width=8)
        >>> view = PyramidView(PyramidConfig(factor=2), image)
        >>> features = embedding(EmbeddingConfig(filters=4, blocks_per_group=1), view.view, image)
        >>> small = LightConfig(filters=4, blocks=1)
        >>> decoder = CausalDistribution(light(small, image, features.features_channels))
        >>> prior = CausalDistribution(light(small, view.view))
        >>> model = Chain([Factor(decoder, view=view, embedding=features), Factor(prior)])
        >>> [str(factor) for factor in model.factors]
        ['p(8×8×3 | 4×4×3)', 'p(4×4×3)']
        >>> [spec.shape for spec in model.specs]
        [(3, 8, 8), (3, 4, 4)]
        >>> model.log_prob(torch.zeros(2, *image.shape, dtype=torch.uint8)).shape
        torch.Size([2])
    """

    factors: Sequence[Factor]
    """The factors by depth: `stage0`, `stage1`, … and finally `prior`."""
    condition_factor: Factor | None
    """The factor p(y) of the condition, named `condition`; None if the condition is not modeled."""

    def __init__(
        self,
        factors: Sequence[Factor | Chain],
        condition_factor: Factor | None = None,
        *,
        sampler: Sampler | None = None,
        arithmetic: str = FLOAT,
        digests: Mapping[str, str] | None = None,
        unlimited_digests: Mapping[str, str] | None = None,
        picture_values: str = SCALED,
    ) -> None:
        super().__init__()
        own, inner = _joined(factors)
        condition_factor = condition_factor or inner
        self.condition: Condition | None = own[-1].condition
        """The condition y that the model is given: it is then p(X | y). None for a model without a condition."""
        if condition_factor is not None and self.condition is None:
            raise UserError("the model has no condition, so the condition cannot be modeled")
        if condition_factor is not None and getattr(condition_factor, "models", None) != self.condition:
            raise UserError("condition_factor: expected Factor(…, models=y) with the condition y of the other factors")
        self.image = own[0].image
        """Shape and range of the image."""
        self.factors = cast(Sequence[Factor], nn.ModuleList(own))
        self.condition_factor = None if condition_factor is None else condition_factor.at_depth(len(own))
        self.sampler = sampler
        self.arithmetic = arithmetic
        self.digests = dict(digests or {})
        self.unlimited_digests = dict(unlimited_digests or {})
        self.picture_values = picture_values

    @property
    def all_factors(self) -> list[Factor]:
        """All trained factors: `factors`, then `condition_factor` if there is one."""
        return [*self.factors, *([] if self.condition_factor is None else [self.condition_factor])]

    @property
    def exact(self) -> bool:
        """Whether `log_prob` equals log p(X). Otherwise it is a lower bound of log p(X)."""
        return all(factor.exact for factor in self.factors)

    @property
    def any_size(self) -> bool:
        """Whether `at` accepts any height and width."""
        return all(factor.any_size for factor in self.factors)

    @property
    def specs(self) -> list[ImageSpec]:
        """Shape and range of the image and of all its views, by depth."""
        return [factor.image for factor in self.factors]

    def __repr__(self) -> str:
        """A line with the factors and the number of parameters. The modules of a network are listed by its own repr."""
        return summary(type(self).__name__, self.all_factors, self)

    def at(self, height: int, width: int) -> Chain:
        """The same model, with the same weights, of images of another height and width.

        Raises `UserError` if a part of a factor has one size.
        """
        image = attrs.evolve(self.image, height=height, width=width)
        factors: list[Factor] = []
        for factor in self.factors:
            with naming(factor.name):
                factors.append(factor.at(image))
            image = factors[-1].view_spec or image
        return self._with(factors, self.condition_factor)

    def without_limits(self) -> Chain:
        """The same model, with the same weights, without limits of the parameters that networks predict."""
        factors = [factor.without_limits() for factor in self.factors]
        condition_factor = self.condition_factor and self.condition_factor.without_limits()
        return self._with(factors, condition_factor, digests=self.unlimited_digests, unlimited_digests={})

    def under(self, rule: Rule) -> Chain:
        """The same model, with the same weights, of the images that a rule draws, for likelihoods.

        Its log-likelihoods are those of the distributions that the rule draws from. Raises `UserError`, which names the
        factor, if they cannot be computed.
        """
        factors: list[Factor] = []
        for factor in self.factors:
            with naming(factor.name):
                factors.append(factor.under(rule))
        return self._with(factors, self.condition_factor)

    def _with(self, factors: Sequence[Factor], condition_factor: Factor | None, **changes: Any) -> Chain:
        """A chain of other factors with the options of this one, except `changes`."""
        names = ("sampler", "arithmetic", "digests", "unlimited_digests", "picture_values")
        options = {name: getattr(self, name) for name in names} | changes
        return Chain(factors, condition_factor, **options).train(self.training)

    def views(self, image: Tensor, deepest: int | None = None, *, depth: int = 0) -> list[Tensor]:
        """The images and their views by depth: [X, ψ(X), ψ(ψ(X)), …], all integers.

        `image` has the images or, with `depth`, their views at this depth, with which the list then begins: shape (b,
        *specs[depth].shape). With `deepest`, only depths up to `deepest` are returned.
        """
        views = [image]
        for factor in itertools.islice(self.factors, depth, deepest):
            if factor.view is not None:
                views.append(factor.view_of(views[-1]))
        return views

    def log_prob(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Computes log p(X, ψ(X), …) in nats, shape (b,), for integers (b, *image.shape).

        It equals log p(X) if the model is `exact`, and is a lower bound otherwise. `condition` has the condition of
        each image: integers (b, *condition.spec.shape), or None for the null condition.
        """
        nats = [each.log_prob for each in self.log_probs(image, condition)]
        return sum(nats[-2::-1], start=nats[-1])  # From the coarsest view up: the order decides the rounding.

    def log_probs(self, image: Tensor, condition: Tensor | None = None) -> tuple[FactorLogProb, ...]:
        """Computes the log-likelihood of each factor, from the image to its coarsest view."""
        views = self.views(image)
        return tuple(
            FactorLogProb(factor.name, factor.image, factor(*factor.inputs(views, condition)))
            for factor in self.factors
        )

    def bits_per_dim(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Computes -log₂ p(image) divided by the number of sub-pixels, shape (b,); an upper bound unless `exact`.

        For a model with a condition, it is -log₂ p(image | condition). Raises `UserError` if dtype, shape or range of
        `image` or `condition` is wrong.
        """
        self.image.check(image)
        self.image.check_range(image)
        self.check_condition(condition, len(image))
        return self.log_prob(image, condition) / (-math.log(2) * self.image.dims)

    def check_condition(self, condition: Tensor | None, count: int) -> None:
        """Raises `UserError` unless `condition` is a condition of this model for each of `count` images.

        None is accepted by a model without a condition, and by one that accepts the null condition.
        """
        if self.condition is None:
            if condition is not None:
                raise UserError("condition: this model has no condition; leave it out")
            return
        self.condition.check(self.condition.or_null(condition, count))

    @torch.no_grad()
    def initialize(self, image: Tensor, condition: Tensor | None = None) -> None:
        """Initializes the weights of every factor from a batch of images, integers (b, *image.shape).

        `condition` has the condition of each image, if the model has one.
        """
        views = self.views(image)
        for factor in self.factors:
            factor.initialize(*factor.inputs(views, condition))
        if self.condition_factor is not None and condition is not None and len(given := condition[~is_null(condition)]):
            self.condition_factor.initialize(self.condition_factor.rows(given))

    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        """Draws one image for each number of the request: int64, (b, *image.shape)."""
        return self.draw_views(request, sampler)[0]

    def draw_views(self, request: SampleRequest, sampler: Sampler) -> list[Tensor]:
        """Draws images, and returns them with the views that they were drawn from, by depth (paper, figure 6)."""
        known = self._known(request, len(self.factors) - 1)
        prior = self.factors[-1]
        coarsest = prior.draw(request.deeper(prior.depth, known[-1]), sampler)
        return self._draw_up(coarsest, request, sampler, known[:-1])

    def draw_from(self, view: Tensor, request: SampleRequest, sampler: Sampler, *, from_depth: int = 1) -> list[Tensor]:
        """Draws the images at depths 0 … `from_depth` - 1 given views at depth `from_depth`.

        `view` has shape (b, *specs[from_depth].shape). The result has integers, is ordered by depth and ends with
        `view`. If `view` was drawn by `draw_views` for the same request, `draw_from` draws the same images as
        `draw_views`. Known pixels of the request are kept, and so are the pixels of views that they determine at depths
        1 … `from_depth` - 1. Raises `UserError` if the model has no view at `from_depth`.
        """
        deepest, from_depth = len(self.factors) - 1, as_integer(from_depth, "from_depth")
        if not deepest:
            raise UserError(f"from_depth = {from_depth}: this model has no views to draw from")
        if not 1 <= from_depth <= deepest:
            raise UserError(f"from_depth = {from_depth}: expected the depth of a view, 1 … {deepest}")
        return self._draw_up(view, request, sampler, self._known(request, from_depth - 1))

    def _known(self, request: SampleRequest, deepest: int) -> list[Known | None]:
        """The known pixels of the image and the pixels of its views that they determine, at depths 0 … `deepest`."""
        known = [request.known]
        for factor in itertools.islice(self.factors, deepest):
            known.append(None if known[-1] is None else factor.known_of_view(known[-1]))
        return known

    def _draw_up(
        self, view: Tensor, request: SampleRequest, sampler: Sampler, known: Sequence[Known | None]
    ) -> list[Tensor]:
        """Draws the images at depths len(known) - 1 … 0, starting from the view at depth len(known).

        `known` holds the known pixels by depth. Returns the images by depth, with the view as the last one.
        """
        drawn = [view]
        for factor, given in reversed(list(zip(self.factors, known, strict=False))):
            drawn.insert(0, factor.draw(request.deeper(factor.depth, given), sampler, drawn[0]))
        return drawn


def _joined(parts: Sequence[Factor | Chain]) -> tuple[list[Factor], Factor | None]:
    """The factors of images in a model's parts by depth, and the factor p(y) if one of the parts has it."""
    if isinstance(parts, nn.Module):
        raise UserError(f"factors: expected a list, got {described(parts)}; write Chain([…])")
    found: list[Factor] = []
    condition_factor = None
    for part in parts:
        if isinstance(part, Chain):
            found += part.factors
            condition_factor = condition_factor or part.condition_factor
        elif isinstance(part, Factor):
            found.append(part)
        else:
            raise UserError(f"factors: expected a Factor or a Chain, got {described(part)}; write Factor(distribution)")
    if not found or found[-1].view is not None:
        raise UserError("factors: expected a factor without a view, or a chain, as the last one")
    found = [factor.at_depth(depth) for depth, factor in enumerate(found)]
    _check_pairs(found)
    return found, condition_factor


def _check_pairs(factors: Sequence[Factor]) -> None:
    """Raises `UserError` unless each factor's view is the image of the next one, and all have the same condition."""
    for upper, factor in itertools.pairwise(factors):
        if upper.view is None:
            raise UserError(f"factors: {upper} at depth {upper.depth} has no view; only the last factor has none")
        check_fit(f"image of {factor.name}", factor.image, upper.view.view)
    for factor in factors:
        if factor.condition != factors[-1].condition:
            raise UserError(
                f"{factor} and {factors[-1]} have different conditions; expected the same in all factors, or none"
            )
        if factor.models is not None:
            raise UserError(f"factors: {factor} is not a factor of images; pass it as condition_factor")
