"""`ImageModel`, the model of a run as users see it."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from auxar.interfaces import Factor, FactorLogProb, ImageSpec, Known, Prior, evaluating
from auxar.plugins import Registry
from auxar.recipe import Recipe


class ImageModel:
    """A model of images with its recipe: likelihoods and samples, without gradients.

    `chain` is the module underneath, whose `log_prob` is differentiable.
    """

    def __init__(self, chain: Prior, recipe: Recipe | None = None, registry: Registry | None = None) -> None:
        self.chain = chain
        """The joint distribution of images and their views, with the weights."""
        self.recipe = recipe
        """The recipe that the model was built from; None if there is none."""
        self.registry = registry
        """The components of the recipe; None if there is no recipe."""

    @property
    def image(self) -> ImageSpec:
        """Shape and range of the images."""
        return self.chain.image

    @property
    def exact(self) -> bool:
        """Whether log-likelihoods are exact. Otherwise they are lower bounds, and bits/dim are upper bounds."""
        return self.chain.exact

    @property
    def factors(self) -> list[Factor]:
        """The factors by depth: `stage0`, `stage1`, … and finally `prior`."""
        return self.chain.factors

    def log_prob(self, images: Tensor) -> Tensor:
        """Computes log p(image) in nats, shape (n,); a lower bound unless the model is `exact`."""
        self.image.check(images)
        self.image.check_range(images)
        with torch.no_grad(), evaluating(self.chain):
            return self.chain.log_prob(images)

    def log_probs(self, images: Tensor) -> tuple[FactorLogProb, ...]:
        """Computes the log-likelihood of each factor, from the image to its coarsest view."""
        self.image.check(images)
        self.image.check_range(images)
        with torch.no_grad(), evaluating(self.chain):
            return self.chain.log_probs(images)

    def bits_per_dim(self, images: Tensor) -> Tensor:
        """Computes -log₂ p(image) divided by the number of sub-pixels, shape (n,); an upper bound unless `exact`."""
        return self.log_prob(images) / (-math.log(2) * self.image.dims)

    def sample(self, count: int, *, rule: str = "ancestral", seed: int = 0, known: Known | None = None) -> Tensor:
        """Draws images: int64, shape (count, *image.shape)."""
        return self.chain.sample(count, rule=rule, seed=seed, known=known)
