"""`ImageModel`, the model of a run as users see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from auxar.errors import UserError
from auxar.image_model.saving import save_as_run
from auxar.interfaces import Factor, FactorLogProb, ImageSpec, Known, Prior, evaluating
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.runs.history import Origin
from auxar.runs.layout import RunFolder


class ImageModel:
    """A model of images with its recipe: likelihoods and samples, without gradients.

    `chain` is the module underneath, whose `log_prob` is differentiable.

    Examples:
        >>> import auxar
        >>> model = auxar.load("runs/quickstart")
        >>> images = model.sample(2, rule="map", seed=1)
        >>> images.shape, model.bits_per_dim(images).shape, model.log_prob(images).shape
        (torch.Size([2, 3, 32, 32]), torch.Size([2]), torch.Size([2]))
        >>> [factor.factor for factor in model.log_probs(images)]
        ['stage0', 'stage1', 'prior']
    """

    def __init__(
        self,
        chain: Prior,
        recipe: Recipe | None = None,
        registry: Registry | None = None,
        origins: Mapping[str, Origin] | None = None,
    ) -> None:
        self.chain = chain
        """The joint distribution of images and their views, with the weights."""
        self.recipe = recipe
        """The recipe that the model was built from; None if there is none."""
        self.registry = registry
        """The components of the recipe; None if there is no recipe."""
        self.origins = origins or {}
        """The files that the weights of a loaded model come from, by factor. `save` records them in the new run."""

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

    def save(
        self, path: str | Path, *, only: Sequence[str] = (), steps: int | Mapping[str, int] | None = None
    ) -> RunFolder:
        """Saves the model as a run: a folder that `load`, `evaluate`, `sample` and all other commands accept.

        `only` names the factors to save; the default is all. `auxar run` with the same recipe and folder keeps the
        saved factors as they are, trains the others, and evaluates, samples and reports. `steps` is the number of steps
        that were trained, or one number for each factor by name; evaluations and reports show it. Weights may be on any
        device and in any floating-point type, and `chain` may be wrapped by `torch.compile`, DistributedDataParallel or
        Accelerate. With several processes, only one may save.

        Raises `UserError`, and leaves nothing behind, if the model has no recipe, if weights are not finite or do not
        fit the recipe, if the folder exists and is not empty, or if it cannot be written.

        Examples:
            >>> import auxar
            >>> model = auxar.build("recipes/quickstart.toml")
            >>> run = model.save("runs/untrained", steps=0)
            >>> print(auxar.load("runs/untrained").image)
            32×32×3 with 256 levels
        """
        if self.recipe is None or self.registry is None:
            raise UserError(
                "a model without a recipe cannot be saved as a run; auxar.build makes a model from a recipe, and "
                "ImageModel(chain, recipe, registry) adds both results of auxar.load_recipe to a chain"
            )
        return save_as_run(
            Path(path), self.chain, self.recipe, self.registry, only=only, steps=steps, origins=self.origins
        )
