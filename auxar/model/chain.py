"""The joint model of an image and its views, p(X, X̂) = p(X̂) p(X | X̂) (paper, equation 2)."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import attrs
import torch
from torch import Tensor, nn

from auxar.arguments import described
from auxar.errors import UserError, naming
from auxar.model.arithmetic import FLOAT
from auxar.model.condition import Condition, is_null
from auxar.model.factor import Factor, check_fit
from auxar.model.image import ImageSpec, Known
from auxar.model.network import summary
from auxar.model.request import SampleRequest
from auxar.model.rule import Rule
from auxar.model.sources import Sampler
from auxar.model.values import CONDITION, IMAGE, Values, variable_at
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

    `factors`, `specs` and `variables` are ordered by depth: the image is at depth 0 and its k-th view at depth k. The
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
    def variables(self) -> list[str]:
        """The names of the image and of its views, by depth: `image`, `view1`, `view2`, …"""
        return [factor.variable for factor in self.factors]

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

    def values(self, image: Tensor, **given: Tensor | None) -> Values:
        """The values of all variables: images, integers (b, *image.shape), their views, and the variables `given`.

        The factors are given `condition`, the condition of each image, integers (b, *condition.spec.shape), if the
        model has one; None is the null condition. Raises `UserError` if the model has no such variable.
        """
        for name, tensor in given.items():
            if tensor is not None and (name != CONDITION or self.condition is None):
                raise UserError(f"{name}: this model has no {name}; leave it out")
        return self.with_views(Values({IMAGE: image, **given}))

    def with_views(self, values: Values, deepest: int | None = None) -> Values:
        """The values with the views X̂ = ψ(X), ψ(ψ(X)), … of their image.

        Views that are present are kept. If the image is absent, the views of the finest view are computed. With
        `deepest`, only views up to this depth are.
        """
        for factor in itertools.islice(self.factors, deepest):
            view = variable_at(factor.depth + 1)
            if factor.view is not None and factor.variable in values and view not in values:
                values = values | {view: factor.view_of(values[factor.variable])}
        return values

    def by_depth(self, values: Values) -> list[Tensor]:
        """The image and its views, by depth, as far as they are present without a gap."""
        return [values[name] for name in itertools.takewhile(values.__contains__, self.variables)]

    def log_prob(self, image: Tensor, **given: Tensor | None) -> Tensor:
        """Computes log p(X, ψ(X), …) in nats, shape (b,), for the arguments of `values`.

        It equals log p(X) if the model is `exact`, and is a lower bound otherwise.
        """
        nats = [term.log_prob for term in self.log_probs(image, **given)]
        return sum(nats[-2::-1], start=nats[-1])  # From the coarsest view up: the order decides the rounding.

    def log_probs(self, image: Tensor, **given: Tensor | None) -> tuple[FactorLogProb, ...]:
        """Computes the log-likelihood of each factor, from the image to its coarsest view, as `log_prob` does."""
        values = self.values(image, **given)
        return tuple(FactorLogProb(factor.name, factor.image, factor(values)) for factor in self.factors)

    def bits_per_dim(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        """Computes -log₂ p(image) divided by the number of sub-pixels, shape (b,); an upper bound unless `exact`.

        For a model with a condition, it is -log₂ p(image | condition). Raises `UserError` if dtype, shape or range of
        `image` or `condition` is wrong.
        """
        self.image.check(image)
        self.image.check_range(image)
        self.check_condition(condition, len(image))
        return self.log_prob(image, condition=condition) / (-math.log(2) * self.image.dims)

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
    def initialize(self, image: Tensor, **given: Tensor | None) -> None:
        """Initializes the weights of every factor from a batch of images, for the arguments of `values`."""
        values = self.values(image, **given)
        for factor in self.factors:
            factor.initialize(values)
        condition = values.get(CONDITION)
        if self.condition_factor is not None and condition is not None:
            conditioned = values.rows((~is_null(condition)).nonzero().flatten())
            if len(conditioned):
                self.condition_factor.initialize(conditioned)

    def draw(self, request: SampleRequest, sampler: Sampler, given: Values | None = None) -> Values:
        """Draws the image and its views for each number of the request: int64, (b, *spec.shape) each.

        The result has the images, all views that they were drawn from (paper, figure 6), and the values `given`: the
        condition of each image, and a view to draw from, (b, *specs[depth].shape). From a view at depth k, only the
        images at depths 0 … k - 1 are drawn. If the view was drawn for the same request, they are the same as the
        images that were drawn with the view.

        Known pixels of the request are kept, and so are the pixels of drawn views that they determine. Raises
        `UserError` if the model does not have a given variable, or if the image itself is given.
        """
        given = Values(count=len(request.numbers)) if given is None else given
        self._check_given(given)
        variables = self.variables
        drawn = next((depth for depth, name in enumerate(variables) if name in given), len(variables))
        known = self._known(request, drawn - 1)
        for factor, pixels in reversed(list(zip(self.factors, known, strict=False))):
            values = factor.given(given).draw(request.deeper(factor.depth, pixels), sampler)
            given = given | {factor.variable: values}
        return given

    def _check_given(self, given: Values) -> None:
        allowed = [*self.variables[1:], *([] if self.condition is None else [CONDITION])]
        for name in given.tensors:
            if name not in allowed:
                listing = f"expected one of {', '.join(allowed)}" if allowed else "this model has none"
                raise UserError(f"given: '{name}' is no variable that images can be drawn from; {listing}")

    def _known(self, request: SampleRequest, deepest: int) -> list[Known | None]:
        """The known pixels of the image and the pixels of its views that they determine, at depths 0 … `deepest`."""
        known = [request.known]
        for factor in itertools.islice(self.factors, deepest):
            known.append(None if known[-1] is None else factor.known_of_view(known[-1]))
        return known


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
