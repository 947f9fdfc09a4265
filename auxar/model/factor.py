"""Factors, the independently trained terms of a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn

from auxar.errors import UserError
from auxar.model.condition import Condition, Conditioning, is_null, row_spec
from auxar.model.conditional import Conditional
from auxar.model.distribution import CausalDistribution, Decoder, Prior
from auxar.model.embedding import Embedding
from auxar.model.image import ImageSpec, Interval, Known, term
from auxar.model.network import CausalNetwork, summary
from auxar.model.rule import Rule
from auxar.model.support import GivenView
from auxar.model.values import CONDITION, NULL, Values, variable_at
from auxar.model.view import View

PRIOR = "prior"
"""The name of the factor of a chain's coarsest view."""
CONDITION_FACTOR = CONDITION
"""The name of the factor p(y)."""


class Factor(nn.Module):
    """An independently trained term of a model: p(X | X̂) with a view X̂, else p(X). Both may also get a condition y.

    Factors share no parameters (paper, section 3). The distribution gets the features of the view, from `embedding`,
    and the features of the condition, from `conditioning`, as channels of one tensor. A factor with neither has a
    `Prior`. If `restricted`, the factor gives probability only to images with the given view. In the state dict,
    weights are named `distribution.…`, `embedding.…` and `conditioning.…`.

    With `models`, a condition y, the factor is p(y): its distribution is over `row_spec(y)`.

    Raises `UserError` if a part has a wrong type, if the parts do not have the same image, view and number of features,
    if there is a view without an embedding or the reverse, or if `restricted` is set and the view has no support or the
    distribution cannot be restricted.
    """

    def __init__(
        self,
        distribution: Prior | Decoder,
        *,
        view: View | None = None,
        embedding: Embedding | None = None,
        conditioning: Conditioning | None = None,
        restricted: bool = False,
        models: Condition | None = None,
        depth: int = 0,
    ) -> None:
        super().__init__()
        self.view = view
        self.embedding = embedding
        if view is None:  # Norms of gradients are sums in the order of the parts, which decides their rounding.
            self.conditioning = conditioning
        # A prior is called without features, and a decoder with them.
        self.distribution: Any = distribution
        self.conditioning = conditioning
        self.restricted = restricted
        """Whether the factor gives probability only to images with the given view."""
        self.models = models
        """The condition y if the factor is p(y); None for a factor of images."""
        self.depth = depth
        """Depth of the factor's image. p(y) comes after the coarsest view, so its noise differs from all others."""
        self.condition: Condition | None = None if conditioning is None else conditioning.condition
        """The condition y that the factor is given; None if it has none."""
        self._check_role()
        self.image: ImageSpec = distribution.image
        """Shape and range of the factor's image."""
        self._check_parts()

    @property
    def name(self) -> str:
        """Name of the factor: `stage0`, `stage1`, …, `prior` or `condition`."""
        if self.models is not None:
            return CONDITION_FACTOR
        return PRIOR if self.view is None else f"stage{self.depth}"

    @property
    def variable(self) -> str:
        """Name of the variable that the factor is the distribution of: `image`, `view1`, `view2`, … or `condition`."""
        return variable_at(self.depth) if self.models is None else CONDITION

    @property
    def view_spec(self) -> ImageSpec | None:
        """Shape and range of the view that the factor is given; None for a prior."""
        return None if self.view is None else self.view.view

    @property
    def exact(self) -> bool:
        """Whether log-likelihoods are exact terms of log p(X). If not, they are terms of a lower bound."""
        return bool(self.distribution.exact) and (self.view is None or self.restricted)

    @property
    def any_size(self) -> bool:
        """Whether `at` accepts images of any height and width."""
        parts = (self.distribution, self.view, self.embedding, self.conditioning)
        return all(part.any_size for part in parts if part is not None)

    @property
    def network(self) -> CausalNetwork | None:
        """The causal network of the distribution; None if the distribution has none."""
        return self.distribution.network if isinstance(self.distribution, CausalDistribution) else None

    @property
    def limits(self) -> Mapping[str, float]:
        """Upper limits of the parameters that the network predicts, by name (see `Head.limits`)."""
        return {} if self.network is None else self.network.head.limits

    def without_limits(self) -> Factor:
        """The same factor, with the same weights, without limits of the parameters that the network predicts."""
        factor = self
        if self.limits:
            factor = self.with_parts(distribution=self.distribution.at(self.image)).train(self.training)
            factor.limit({})
        return factor

    def limit(self, limits: Mapping[str, float]) -> None:
        """Replaces the upper limits of the parameters that the network predicts. Raises as `Head.bounded` does."""
        if self.network is not None:
            self.network.head = self.network.head.bounded(limits)
        elif limits:
            raise UserError(
                f"{type(self.distribution).__name__} has no causal network, so its parameters have no limits"
            )

    def under(self, rule: Rule) -> Factor:
        """The same factor, with the same weights, of the images that a rule draws, for likelihoods.

        Raises `UserError` if the likelihoods of the rule's distributions cannot be computed.
        """
        if not isinstance(self.distribution, CausalDistribution):
            kind = type(self.distribution).__name__
            raise UserError(f"{kind} has no causal network, so the likelihoods of a rule are unknown")
        return self.with_parts(distribution=self.distribution.under(rule, self.depth)).train(self.training)

    def __str__(self) -> str:
        view = None if self.view is None else self.view.view.size
        image = self.image.size if self.models is None else self.models.kind
        return term(image, view, self.condition and self.condition.kind)

    def __repr__(self) -> str:
        """A line with the factor and its number of parameters. The modules of a network are listed by its own repr."""
        return summary(type(self).__name__, [self], self)

    def at_depth(self, depth: int) -> Factor:
        """A factor at another depth that shares all parts with this one."""
        return self.with_parts(depth=depth)

    def at(self, image: ImageSpec) -> Factor:
        """The same factor, with the same weights, of images of another height and width.

        Raises `UserError` if a part has one size.
        """
        parts = {"distribution": self.distribution.at(image)}
        if self.view is not None and self.embedding is not None:
            parts["view"] = view = self.view.at(image)
            parts["embedding"] = self.embedding.at(view.view, image)
        if self.conditioning is not None:
            parts["conditioning"] = self.conditioning.at(image)
        return self.with_parts(**parts).train(self.training)

    def with_parts(self, **parts: Any) -> Factor:
        """A factor that shares all parts with this one, except the given arguments of `Factor`."""
        names = ("distribution", "view", "embedding", "conditioning", "restricted", "models", "depth")
        return Factor(**{name: getattr(self, name) for name in names} | parts)

    def view_of(self, image: Tensor) -> Tensor:
        """The view ψ(X) in the dtype of the image, or in int64 if that dtype is too small for the view's values.

        Raises `UserError` if the view returns something else than a tensor of its shape.
        """
        assert self.view is not None
        # `torch.iinfo` does not accept floating-point types. The view itself refuses them.
        narrow = not image.is_floating_point() and self.view.view.levels - 1 > torch.iinfo(image.dtype).max
        found = self.view(image.to(torch.int64) if narrow else image)
        expected = (len(image), *self.view.view.shape)
        if getattr(found, "shape", None) != expected:
            got = f"the shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
            told = f"must return a tensor of the shape {expected}, got {got}"
            raise UserError(f"factor {self.name}: the view {type(self.view).__name__} {told}")
        return found

    def known_of_view(self, known: Known) -> Known:
        """The pixels of the view that are determined by known pixels of the image.

        A restricted decoder draws only images that have the given view, so the drawn view must be possible for the
        known pixels. If the factor is restricted and the view is monotone, the result therefore also limits the other
        pixels of the view.
        """
        assert self.view is not None
        found = self.view.known(known)
        if not self.restricted or not self.view.monotone:
            return found
        ends = (self.view_of(image) for image in (known.lowest(), known.highest(self.image.levels)))
        return attrs.evolve(found, limits=Interval(*ends))

    def forward(self, values: Values) -> Tensor:
        """Computes the log-likelihood of the factor's variable given the others, in nats, shape (b,).

        `values` has integers of the variable and of the variables that the factor is given. Other variables are
        ignored. Errors are those of `given`, and `UserError` if the variable is absent or the null condition.
        """
        return self.given(values).log_prob(self.target(values))

    def target(self, values: Values) -> Tensor:
        """The values of the factor's variable. Raises `UserError` if p(y) gets no condition, or the null condition."""
        tensor = values.get(self.variable)
        # Tensors on the device "meta" have no values. The cost of a factor is computed with them.
        if self.models is not None and (tensor is None or (not tensor.is_meta and bool(is_null(tensor).any()))):
            raise UserError(f"{self}: the condition of each image is required, not the null condition")
        return values[self.variable]

    def given(self, values: Values) -> Conditional:
        """The distribution of the factor's variable given the values of others, whose features are computed once.

        `values` has the view of each image if the factor has a view, and the condition if it has one. An absent
        condition is the usual or the null condition. Other variables are ignored, as are the values of the factor's own
        variable. Raises `UserError` if a view is missing, or if the condition is absent in training mode but may be
        given, because only the null condition would be trained.
        """
        condition = self.condition
        if self.training and condition is not None and condition.optional and CONDITION not in values:
            raise UserError(f"{self.name}: training needs the condition of each image; {NULL} is the null condition")
        view = None if self.view is None else values.get(variable_at(self.depth + 1))
        return Conditional(
            factor=self.name,
            spec=self.image if self.models is None else self.models.spec,
            distribution=self.distribution,
            features=self._features(values),
            support=self.given_view(view),
            unconditional=lambda: self._features(values.without(CONDITION)),
        )

    def given_view(self, view: Tensor | None) -> GivenView | None:
        """The views (b, *view_spec.shape) with their support; None for a prior, or if the view has no support."""
        if view is None or self.view is None or self.view.support is None:
            return None
        return GivenView(self.view.support, view, self.restricted)

    def initialize(self, values: Values) -> None:
        """Initializes the weights from a batch of values, as `forward` takes them."""
        if self.embedding is not None:
            self.embedding.initialize(values[variable_at(self.depth + 1)])
        if self.conditioning is not None:
            self.conditioning.initialize(values.get(CONDITION))
        self.given(values).initialize(self.target(values))

    def _features(self, values: Values) -> Tensor | None:
        """The features of given values, (b, channels, h, w); None if the factor is given nothing."""
        features = []
        if self.embedding is not None:
            if (view := variable_at(self.depth + 1)) not in values:
                raise UserError(f"{self.name}: {self} requires a view")
            features.append(self.embedding(values[view]))
        if self.conditioning is not None:
            features.append(self.conditioning(values.get(CONDITION), len(values)))
        if len(features) == 2 and features[0].stride(1) == 1:  # As in integers: the other order is far slower.
            return torch.cat([part.movedim(1, 3) for part in features], 3).movedim(3, 1)
        return torch.cat(features, 1) if len(features) > 1 else next(iter(features), None)

    def _check_role(self) -> None:
        if (self.view is None) != (self.embedding is None):
            raise UserError("a factor has a view and its embedding, or neither")
        if self.models is not None and (self.view is not None or self.conditioning is not None):
            raise UserError("models: the factor p(y) has neither a view nor a condition")
        if isinstance(self.distribution, CausalNetwork):
            raise UserError("distribution: got a causal network; write CausalDistribution(network)")
        given = self.view is not None or self.conditioning is not None
        role, why = (Decoder, "there are features") if given else (Prior, "there is neither a view nor a condition")
        if not isinstance(self.distribution, role):
            found = type(self.distribution).__name__
            raise UserError(f"distribution: expected a {role.__name__}, because {why}, got {found}")

    def _check_parts(self) -> None:
        channels = 0
        if self.view is not None and self.embedding is not None:
            check_fit("embedding's view", self.embedding.view, self.view.view)
            check_fit("embedding's image", self.embedding.image, self.view.image)
            check_fit("decoder's image", self.image, self.view.image)
            channels += self.embedding.features_channels
        if self.conditioning is not None:
            check_fit("image of the condition's features", self.conditioning.image, self.image)
            channels += self.conditioning.features_channels
        expected = getattr(self.distribution, "features_channels", 0)
        if channels != expected:
            names = {"view": self.embedding, "condition": self.conditioning}
            given = " and ".join(name for name, part in names.items() if part is not None)
            found = (
                f"the features of the {given} have {channels}" if given else "there is neither a view nor a condition"
            )
            raise UserError(f"the distribution expects {expected} channels of features, but {found}")
        if self.restricted and (self.view is None or self.view.support is None):
            raise UserError("restricted=True needs a view that defines its support")
        if self.restricted and not getattr(self.distribution, "restricts", False):
            raise UserError("restricted=True needs a decoder that can be restricted")
        if self.models is not None and self.image != (rows := row_spec(self.models)):
            raise UserError(f"the prior of the condition is over {self.image}; expected {rows}")


def check_fit(what: str, found: ImageSpec, expected: ImageSpec) -> None:
    """Raises `UserError` if a part is made for other images than it gets."""
    if found != expected:
        raise UserError(f"the {what} is {found}; expected {expected}")
