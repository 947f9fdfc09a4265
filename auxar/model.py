"""The joint model of an image and its views, p(X, X̂) = p(X̂) p(X | X̂) (paper, equation 2)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import cast

import attrs
import torch
from torch import Tensor, nn

from auxar.conditioning import ConditionedPrior, ConditionFactor, Conditioning
from auxar.errors import UserError
from auxar.interfaces import (
    ByChannel,
    Decoder,
    Embedding,
    Factor,
    ImageSpec,
    Interval,
    Known,
    Prior,
    PriorFactor,
    Restriction,
    Sampler,
    SampleRequest,
    View,
    is_null,
)


class Stage(Factor):
    """The factor p(X | X̂): a view, and the embedding and the decoder that predict the image from the view.

    If `restricted`, the decoder gives probability only to images with the given view. With `conditioning`, the factor
    is p(X | X̂, y): the features of the condition y are appended to those of the view. Raises `UserError` if the parts
    do not have the same image and view. With `restricted`, also raises it if the view has no support or the decoder
    cannot be restricted. In the state dict, weights are named `embedding.…`, `decoder.…` and `conditioning.…`."""

    def __init__(
        self,
        view: View,
        embedding: Embedding,
        decoder: Decoder,
        *,
        restricted: bool = False,
        depth: int = 0,
        conditioning: Conditioning | None = None,
    ) -> None:
        super().__init__(f"stage{depth}", depth, view.image, view.view)
        for what, found, expected in (
            ("embedding's view", embedding.view, view.view),
            ("embedding's image", embedding.image, view.image),
            ("decoder's image", decoder.image, view.image),
        ):
            _check_fit(what, found, expected)
        channels = embedding.features_channels
        if conditioning is not None:
            _check_fit("image of the condition's features", conditioning.image, view.image)
            channels += conditioning.features_channels
        if channels != decoder.features_channels:
            given = "embedding gives" if conditioning is None else "embeddings of the view and the condition give"
            raise UserError(
                f"the {given} {channels} channels of features, but the decoder expects {decoder.features_channels}"
            )
        if restricted and view.support is None:
            raise UserError("support: 'restricted' needs a view that defines its support; use 'free'")
        if restricted and not decoder.restricts:
            raise UserError("support: 'restricted' needs a decoder that can be restricted; use 'free'")
        self.view = view
        self.embedding = embedding
        self.decoder = decoder
        self.restricted = restricted
        self.conditioning = conditioning
        self.condition = None if conditioning is None else conditioning.condition

    def at(self, depth: int) -> Stage:
        """A stage at another depth that shares the view and the networks of this one."""
        return Stage(
            self.view,
            self.embedding,
            self.decoder,
            restricted=self.restricted,
            depth=depth,
            conditioning=self.conditioning,
        )

    def view_of(self, image: Tensor) -> Tensor:
        """The view ψ(X) in the dtype of the image, or in int64 if that dtype is too small for the view's values."""
        # `torch.iinfo` does not accept floating-point types. The view itself refuses them.
        narrow = not image.is_floating_point() and self.view.view.levels - 1 > torch.iinfo(image.dtype).max
        return self.view(image.to(torch.int64) if narrow else image)

    def known_of_view(self, known: Known) -> Known:
        """The pixels of the view that are determined by known pixels of the image.

        A restricted decoder draws only images that have the given view, so the drawn view must be possible for the
        known pixels. If the stage is restricted and the view is monotone, the result therefore also limits the other
        pixels of the view.
        """
        found = self.view.known(known)
        if not self.restricted or not self.view.monotone:
            return found
        ends = (self.view_of(image) for image in (known.lowest(), known.highest(self.image.levels)))
        return attrs.evolve(found, limits=Interval(*ends))

    def forward(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> Tensor:
        self.check_inputs(view, condition)
        assert view is not None
        return self.decoder.log_prob(image, self.features(view, condition), self.interval(image, view))

    def features(self, view: Tensor, condition: Tensor | None = None) -> Tensor:
        """The decoder's features of views and, with `conditioning`, of conditions: (b, decoder.features_channels, h,
        w).

        `view` has shape (b, *view_spec.shape). `condition` is that of `forward`.
        """
        found: Tensor = self.embedding(view)
        if self.conditioning is None:
            return found
        return torch.cat([found, self.conditioning(condition, len(view))], 1)

    def interval(self, image: Tensor, view: Tensor) -> Interval | None:
        """The possible values of every sub-pixel if the stage is restricted; None if it is free."""
        return self._possible(image, view) if self.restricted else None

    def log_prob_by_channel(
        self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None
    ) -> ByChannel:
        self.check_inputs(view, condition)
        assert view is not None
        possible = self._possible(image, view) if self.decoder.restricts else None
        features = self.features(view, condition)
        if self.restricted:
            return self.decoder.log_prob_by_channel(image, features, possible)
        return self.decoder.log_prob_by_channel(image, features, inside=possible)

    def draw(self, view: Tensor, request: SampleRequest, sampler: Sampler) -> Tensor:
        """Draws an image for each view of a batch (b, *view_spec.shape), and returns them: int64, (b, *image.shape).

        The request has a number for each image and, for a stage with a condition, the condition of each.
        """
        if self.restricted:
            assert self.view.support is not None
            request = attrs.evolve(request, restriction=Restriction(self.view.support, view))
        return self.decoder.draw(self.features(view, request.condition), request, sampler)

    def initialize(self, image: Tensor, view: Tensor | None = None, condition: Tensor | None = None) -> None:
        self.check_inputs(view, condition)
        assert view is not None
        self.embedding.initialize(view)
        if self.conditioning is not None:
            self.conditioning.initialize(condition, len(view))
        self.decoder.initialize(image, self.features(view, condition))

    def _possible(self, image: Tensor, view: Tensor) -> Interval | None:
        """The possible values of every sub-pixel given the view; None if the view has no support."""
        return None if self.view.support is None else self.view.support.intervals(image, view)


class Chain(Prior):
    """The joint model of an image and its views: one stage for each view, the image's stage first, and a prior.

    `log_prob` is log p(X, ψ(X), …), a lower bound of log p(X) = log Σ_x̂ p(X, x̂) (paper, equation 5). If all stages
    are restricted and the prior is exact, it equals log p(X). If `prior` is itself a chain, its stages are appended and
    its prior is used. With `condition_prior`, the condition y is modelled, too, by the factor p(y). If the stages and
    the prior have a condition y, all of these are given y. Raises `UserError` if the image of a stage or of the prior
    differs from the view of the stage before it, or if not all of them have the same condition.

    Examples:
        >>> import torch
        >>> from auxar_pixelcnn.components import EmbeddingConfig, LightConfig, embedding, light_decoder, light_prior
        >>> from auxar_pyramid import PyramidConfig, PyramidView
        >>> image = ImageSpec(height=8, width=8)
        >>> view = PyramidView(PyramidConfig(factor=2), image)
        >>> features = embedding(EmbeddingConfig(filters=4, blocks_per_group=1), view.view, image)
        >>> small = LightConfig(filters=4, blocks=1)
        >>> stage = Stage(view, features, light_decoder(small, image, features.features_channels))
        >>> model = Chain([stage], light_prior(small, view.view))
        >>> [str(factor) for factor in model.factors]
        ['p(8×8×3 | 4×4×3)', 'p(4×4×3)']
        >>> [spec.shape for spec in model.specs]
        [(3, 8, 8), (3, 4, 4)]
        >>> model.log_prob(torch.zeros(2, *image.shape, dtype=torch.uint8)).shape
        torch.Size([2])
    """

    stages: Sequence[Stage]
    """The stages. Stage k predicts the image at depth k from the view at depth k + 1."""
    prior: Prior
    """The prior of the coarsest view."""

    def __init__(self, stages: Sequence[Stage], prior: Prior, condition_prior: Prior | None = None) -> None:
        super().__init__()
        if condition_prior is None:  # A chain keeps the p(y) of the chain that it extends.
            condition_prior = getattr(prior, "condition_prior", None)
        more, prior = prior.parts()
        stages = [*stages, *more]
        ends = [(f"image of stage{depth}", stage.image) for depth, stage in enumerate(stages)]
        for stage, (what, found) in zip(stages, [*ends[1:], ("prior's image", prior.image)], strict=False):
            _check_fit(what, found, stage.view.view)
        for depth, stage in enumerate(stages):
            if stage.condition != prior.condition:
                raise UserError(
                    f"stage{depth} and the prior have different conditions; expected the same in all factors"
                )
        self.condition = prior.condition
        if condition_prior is not None and self.condition is None:
            raise UserError("the model has no condition, so the condition cannot be modelled")
        self.condition_prior = condition_prior
        self.image = stages[0].image if stages else prior.image
        self.stages = cast(Sequence[Stage], nn.ModuleList(stage.at(depth) for depth, stage in enumerate(stages)))
        self.prior = prior

    def parts(self) -> tuple[Sequence[Stage], Prior]:
        return self.stages, self.prior

    @property
    def exact(self) -> bool:
        return all(stage.restricted for stage in self.stages) and self.prior.exact

    @property
    def specs(self) -> list[ImageSpec]:
        return [*(stage.image for stage in self.stages), self.prior.image]

    @property
    def factors(self) -> list[Factor]:
        return [*self.stages, PriorFactor(self.prior, len(self.stages))]

    @property
    def condition_factor(self) -> ConditionFactor | None:
        if self.condition_prior is None or self.condition is None:
            return None
        return ConditionFactor(self.condition_prior, self.condition, len(self.specs))

    def views(self, image: Tensor, deepest: int | None = None) -> list[Tensor]:
        views = [image]
        for stage in islice(self.stages, deepest):
            views.append(stage.view_of(views[-1]))
        return views

    def log_prob(self, image: Tensor, condition: Tensor | None = None) -> Tensor:
        views = self.views(image)
        total = self.prior.log_prob(views[-1], *self.condition_arguments(condition))
        for stage in reversed(self.stages):
            total = total + stage(*stage.inputs(views, condition))
        return total

    @torch.no_grad()
    def initialize(self, image: Tensor, condition: Tensor | None = None) -> None:
        """Initializes the weights of every factor from a batch of images, integers (b, *image.shape).

        `condition` has the condition of each image, if the model has one.
        """
        views = self.views(image)
        for factor in self.factors:
            factor.initialize(*factor.inputs(views, condition))
        if self.condition_factor is not None and condition is not None:
            self.condition_factor.initialize(self.condition_factor.rows(condition[~is_null(condition)]))

    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        return self.draw_views(request, sampler)[0]

    def draw_views(self, request: SampleRequest, sampler: Sampler) -> list[Tensor]:
        known = self._known(request, len(self.stages))
        coarsest = self.prior.draw(request.deeper(len(self.stages), known[-1]), sampler)
        return self._draw_up(coarsest, request, sampler, known[:-1])

    def draw_from(self, view: Tensor, request: SampleRequest, sampler: Sampler, *, from_depth: int = 1) -> list[Tensor]:
        if not 1 <= from_depth <= len(self.stages):
            raise UserError(f"from_depth = {from_depth}: expected the depth of a view, 1 … {len(self.stages)}")
        return self._draw_up(view, request, sampler, self._known(request, from_depth - 1))

    def _known(self, request: SampleRequest, deepest: int) -> list[Known | None]:
        """The known pixels of the image and the pixels of its views that they determine, at depths 0 … `deepest`."""
        known = [request.known]
        for stage in islice(self.stages, deepest):
            known.append(None if known[-1] is None else stage.known_of_view(known[-1]))
        return known

    def _draw_up(
        self, view: Tensor, request: SampleRequest, sampler: Sampler, known: Sequence[Known | None]
    ) -> list[Tensor]:
        """Draws the images at depths len(known) - 1 … 0, starting from the view at depth len(known).

        `known` holds the known pixels by depth. Returns the images by depth, with the view as the last one.
        """
        drawn = [view]
        for stage, given in reversed(list(zip(self.stages, known, strict=False))):
            drawn.insert(0, stage.draw(drawn[0], request.deeper(stage.depth, given), sampler))
        return drawn


def predictor_of(factor: Factor) -> Decoder | Prior | None:
    """The decoder or prior that predicts a factor's images. For a prior with a condition, it is its decoder.

    None for a factor of another class.
    """
    if isinstance(factor, Stage):
        return factor.decoder
    if not isinstance(factor, PriorFactor):
        return None
    return factor.prior.decoder if isinstance(factor.prior, ConditionedPrior) else factor.prior


def conditioning_of(factor: Factor) -> Conditioning | None:
    """The features of a factor's condition; None if it has no condition."""
    if isinstance(factor, Stage):
        return factor.conditioning
    prior = factor.prior if isinstance(factor, PriorFactor) else None
    return prior.conditioning if isinstance(prior, ConditionedPrior) else None


def features_of(factor: Factor, count: int, view: Tensor | None, condition: Tensor | None) -> Tensor | None:
    """The features of views and conditions that a factor's decoder gets for `count` images; None for a plain prior."""
    if isinstance(factor, Stage):
        assert view is not None
        return factor.features(view, condition)
    conditioning = conditioning_of(factor)
    return None if conditioning is None else conditioning(condition, count)


def _check_fit(what: str, found: ImageSpec, expected: ImageSpec) -> None:
    if found != expected:
        raise UserError(f"the {what} is {found}; expected {expected}")
