"""Priors: distributions over images, p(X̂)."""

from __future__ import annotations

import abc
import math

import attrs
import torch
from torch import Tensor, nn

from auxar.errors import UserError
from auxar.interfaces.image import ImageSpec
from auxar.interfaces.known import Known
from auxar.interfaces.request import DrawRule, SampleRequest
from auxar.interfaces.sampling import Sampler


@attrs.frozen
class FactorLogProb:
    """One factor's log-likelihoods: nats, shape (b,), of images described by `image`."""

    factor: str
    image: ImageSpec
    log_prob: Tensor


class Prior(nn.Module, abc.ABC):
    """A distribution over images. An `AuxiliaryModel` is one too, which is how stages nest."""

    image: ImageSpec
    sampler: Sampler | None = None
    """What `sample` draws with; set when a model is built from a recipe."""

    @property
    def exact(self) -> bool:
        """Whether `log_prob` is log p(X) and not a bound of it."""
        return True

    @abc.abstractmethod
    def log_prob(self, image: Tensor) -> Tensor:
        """Integers (b, *image.shape) to nats, shape (b,)."""

    @abc.abstractmethod
    def draw(self, request: SampleRequest, sampler: Sampler) -> Tensor:
        """One image for each number of the request: int64, (b, *image.shape)."""

    def initialize(self, image: Tensor) -> None:
        """Data-dependent initialization on a batch of images; nothing unless an implementation has it."""

    def log_probs(self, image: Tensor) -> tuple[FactorLogProb, ...]:
        """Log-likelihood factor by factor, from the image down to its coarsest view."""
        return (FactorLogProb("prior", self.image, self.log_prob(image)),)

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
