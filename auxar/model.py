"""p(X, X̂) = p(X̂) p(X | X̂): an image modelled together with its view (paper, equation 2)."""

from __future__ import annotations

import attrs
import torch
from torch import Tensor, nn

from auxar.errors import UserError
from auxar.interfaces import (
    Decoder,
    Embedding,
    FactorLogProb,
    ImageSpec,
    Interval,
    Known,
    Prior,
    Restriction,
    Sampler,
    SampleRequest,
    Support,
    View,
)


class AuxiliaryModel(Prior):
    """The joint model of an image and its view. It is a `Prior`, so a pyramid is this model nested in itself.

    `log_prob` is log p(X, ψ(X)), at most log p(X) = log Σ_x̂ p(X, x̂) (paper, equation 5). `restricted`, the decoder is
    restricted to images with the given view, and the two are equal. Raises `UserError` if the parts' specs do not
    meet, and where the view does not say which images it leaves possible or the decoder cannot be restricted.

    Examples:
        >>> import torch
        >>> from auxar_pixelcnn.components import EmbeddingConfig, LightConfig, embedding, light_decoder, light_prior
        >>> from auxar_pyramid import PyramidConfig, PyramidView
        >>> image = ImageSpec(height=8, width=8)
        >>> view = PyramidView(PyramidConfig(factor=2), image)
        >>> features = embedding(EmbeddingConfig(filters=4, blocks_per_group=1), view.view, image)
        >>> small = LightConfig(filters=4, blocks=1)
        >>> decoder = light_decoder(small, image, features.features_channels)
        >>> model = AuxiliaryModel(view, features, decoder, light_prior(small, view.view))
        >>> [str(factor) for factor in factors(model)]
        ['p(8×8×3 | 4×4×3)', 'p(4×4×3)']
        >>> [spec.shape for spec in level_specs(model)]
        [(3, 8, 8), (3, 4, 4)]
        >>> model.log_prob(torch.zeros(2, *image.shape, dtype=torch.uint8)).shape
        torch.Size([2])
    """

    def __init__(
        self, view: View, embedding: Embedding, decoder: Decoder, prior: Prior, *, restricted: bool = False
    ) -> None:
        super().__init__()
        for what, found, expected in (
            ("embedding's view", embedding.view, view.view),
            ("embedding's image", embedding.image, view.image),
            ("decoder's image", decoder.image, view.image),
            ("prior's image", prior.image, view.view),
        ):
            if found != expected:
                raise UserError(f"the {what} is {found}, expected {expected}")
        if embedding.features_channels != decoder.features_channels:
            raise UserError(
                f"the embedding gives {embedding.features_channels} channels of features, "
                f"the decoder expects {decoder.features_channels}"
            )
        if restricted and view.support is None:
            raise UserError("support: the view does not say which images it leaves possible, so the decoder stays free")
        if restricted and not decoder.restricts:
            raise UserError("support: the decoder cannot be restricted to possible values, so it stays free")
        self.image = view.image
        self.view = view
        self.embedding = embedding
        self.decoder = decoder
        self.prior = prior
        self.restricted = restricted

    @property
    def exact(self) -> bool:
        return self.restricted and self.prior.exact

    def log_prob(self, image: Tensor) -> Tensor:
        view = view_of(self.view, image)
        support = self.view.support if self.restricted else None
        return self.prior.log_prob(view) + _given_view(self.embedding, self.decoder, image, view, support)

    def log_probs(self, image: Tensor) -> tuple[FactorLogProb, ...]:
        levels = image_levels(self, image)
        chain = factors(self)
        return tuple(
            FactorLogProb(factor.name, factor.image, factor(level, coarser))
            for factor, level, coarser in zip(chain, levels, [*levels[1:], None], strict=True)
        )

    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        return self.draw_levels(request, sampler)[0]

    def draw_levels(self, request: SampleRequest, sampler: Sampler) -> list[Tensor]:
        """The drawn images and all their drawn views, from the image down (paper, figure 6).

        Of every level what is known is held fixed: the image's known pixels, and those of its views that follow. Views
        that restricted decoders are given leave room for known pixels where only some of a value's are known.
        """
        known = request.known
        given = None if known is None else known_of_view(self.view, known, limits=self.restricted)
        below = request.of_view(given)
        if isinstance(self.prior, AuxiliaryModel):
            coarser = self.prior.draw_levels(below, sampler)
        else:
            coarser = [self.prior.draw(below, sampler)]
        return [self.draw_given(coarser[0], request, sampler), *coarser]

    def draw_given(self, view: Tensor, request: SampleRequest, sampler: Sampler) -> Tensor:
        """One image for each number of the request, given its view (b, *view.shape): int64, (b, *image.shape)."""
        features = self.embedding(view)
        if self.restricted:
            assert self.view.support is not None
            request = attrs.evolve(request, restriction=Restriction(self.view.support, view))
        return self.decoder.draw(features, request, sampler)


def view_of(view: View, image: Tensor) -> Tensor:
    """ψ(X) in the image's integers, or in 64 bits where those do not hold the view's values."""
    # What is no integer is refused by the view itself.
    narrow = not image.is_floating_point() and view.view.levels - 1 > torch.iinfo(image.dtype).max
    return view(image.to(torch.int64) if narrow else image)


def known_of_view(view: View, known: Known, *, limits: bool) -> Known:
    """The known pixels of the view; with `limits` also limits of its other values, if the view is monotone."""
    found = view.known(known)
    if not limits or not view.monotone:
        return found
    ends = (view_of(view, image) for image in (known.lowest(), known.highest(view.image.levels)))
    return attrs.evolve(found, limits=Interval(*ends))


def image_levels(model: Prior, image: Tensor) -> list[Tensor]:
    """[X, ψ(X), ψ(ψ(X)), …]: an image and all views of the chain, from the image down."""
    levels = [image]
    while isinstance(model, AuxiliaryModel):
        levels.append(view_of(model.view, levels[-1]))
        model = model.prior
    return levels


def level_specs(model: Prior) -> list[ImageSpec]:
    """What describes each of `image_levels`."""
    specs = [model.image]
    while isinstance(model, AuxiliaryModel):
        model = model.prior
        specs.append(model.image)
    return specs


def _given_view(embedding: Embedding, decoder: Decoder, image: Tensor, view: Tensor, support: Support | None) -> Tensor:
    """log p(X | X̂), of a decoder that is restricted to a support if there is one: nats, (b,)."""
    if support is None:
        return decoder.log_prob(image, embedding(view))
    return decoder.log_prob(image, embedding(view), support.intervals(image, view))


class Factor(nn.Module):
    """One of the terms that train apart: p(level k | level k + 1), or p(level K) of the coarsest view.

    Factors share no parameters (paper, section 3). Calling one gives nats, shape (b,).
    """

    def __init__(self, name: str, image: ImageSpec, view: ImageSpec | None) -> None:
        super().__init__()
        self.name = name
        self.image = image
        self.view = view

    def __str__(self) -> str:
        size = f"{self.image.height}×{self.image.width}×{self.image.channels}"
        if self.view is None:
            return f"p({size})"
        return f"p({size} | {self.view.height}×{self.view.width}×{self.view.channels})"

    def initialize(self, image: Tensor, view: Tensor | None) -> None:
        """Data-dependent initialization of the factor's networks on one batch."""
        raise NotImplementedError


class PriorFactor(Factor):
    """p(X̂) of the coarsest view."""

    def __init__(self, prior: Prior) -> None:
        super().__init__("prior", prior.image, None)
        self.prior = prior

    def forward(self, image: Tensor, view: Tensor | None = None) -> Tensor:
        """Integers (b, *image.shape) to nats, shape (b,)."""
        return self.prior.log_prob(image)

    def initialize(self, image: Tensor, view: Tensor | None) -> None:
        self.prior.initialize(image)


class DecoderFactor(Factor):
    """p(X | X̂): an embedding and a decoder, trained together.

    `support` is the view's, which a `restricted` decoder is restricted to.
    """

    def __init__(
        self,
        name: str,
        embedding: Embedding,
        decoder: Decoder,
        support: Support | None = None,
        *,
        restricted: bool = False,
    ) -> None:
        super().__init__(name, decoder.image, embedding.view)
        self.embedding = embedding
        self.decoder = decoder
        self.support = support
        self.restricted = restricted

    def forward(self, image: Tensor, view: Tensor | None = None) -> Tensor:
        """Integers (b, *image.shape) and (b, *view.shape) to nats, shape (b,)."""
        assert view is not None
        return _given_view(self.embedding, self.decoder, image, view, self.support if self.restricted else None)

    def initialize(self, image: Tensor, view: Tensor | None) -> None:
        assert view is not None
        self.embedding.initialize(view)
        self.decoder.initialize(image, self.embedding(view))


def factors(model: Prior) -> list[Factor]:
    """The factors of a model from the image down, `stage0` … and last `prior`; they share the model's weights."""
    chain: list[Factor] = []
    while isinstance(model, AuxiliaryModel):
        chain.append(
            DecoderFactor(
                f"stage{len(chain)}", model.embedding, model.decoder, model.view.support, restricted=model.restricted
            )
        )
        model = model.prior
    return [*chain, PriorFactor(model)]
