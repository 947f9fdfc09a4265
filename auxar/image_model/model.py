"""`ImageModel`, the model of a run as users see it."""

from __future__ import annotations

import math
from typing import Any, Unpack

import torch
from torch import Tensor

from auxar.data.conversion import Preparation
from auxar.generation.conditional import Given
from auxar.image_model import drawing, given
from auxar.image_model.drawing import DrawOptions
from auxar.image_model.images import Draws, Images
from auxar.image_model.inputs import as_batch
from auxar.interfaces import DrawRule, Factor, FactorLogProb, ImageSpec, Prior, Sampler, evaluating
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

    def sample(
        self,
        n: int,
        *,
        rule: str | DrawRule = "ancestral",
        reduction: float | None = None,
        temperature: float | None = None,
        seed: int = 0,
        first: int = 0,
        batch_size: int | None = None,
        sampler: str | Sampler | None = None,
        progress: bool = True,
    ) -> Images:
        """Draws `n` images. A notebook shows the result as pictures.

        With the same seed and rule, the images are those of the command `auxar sample`. Up to rounding, an image
        depends only on the model, the seed, the rule and its number, so a larger `n` gives the same images and more.

        Args:
            n: Number of images, at least 0.
            rule: How a value is drawn from its distribution: "ancestral" draws exact samples of the model, "reduced"
                lowers the log-scales first, and "map" draws a mixture component and takes its center.
            reduction: Number that the rule "reduced" subtracts from the log-scales, at least 0.
            temperature: Divisor of the logits of softmax heads, greater than 0.
            seed: Seed of the noise, an integer.
            first: Number of the first image. `sample(4, first=8)` draws the last four images of `sample(12)`.
            batch_size: Number of images drawn at once; by default that of the recipe.
            sampler: A sampler or its name, such as "raster"; by default that of the recipe.
            progress: Whether a progress bar is shown if drawing takes longer than some seconds.

        Raises `UserError` if an argument is invalid.
        """
        how = self._how(
            rule=rule,
            reduction=reduction,
            temperature=temperature,
            seed=seed,
            batch_size=batch_size,
            sampler=sampler,
            progress=progress,
        )
        return drawing.sample(self.chain, n, first, how)

    def views(self, images: Any) -> tuple[Images, ...]:
        """Computes the views of images, by depth: the images at depth 0, and their k-th views at depth k.

        Raises `UserError` if the images do not fit the model.
        """
        batch = as_batch(images, self.image, self._preparation).long()
        return drawing.linked(self.chain, self.chain.views(batch)).views

    def colorize(self, images: Any, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Draws color images that have the gray view of the given images.

        The model needs a view with one channel of an image with three, such as `grayscale`. The given images may be
        gray or in color. They have the size of the model's images, or of the images that the gray view is computed
        from if these are smaller; then the larger images are drawn, too. A gray image is taken as equal red, green and
        blue, and its view is computed from it. The gray views of this model, as in `model.views(images)[1]`, are used
        as they are.

        `draws` is the number of images for each given image. The keywords are those of `sample`, without `first`. Draw
        j of given image i has the noise of image number i · draws + j, as in `auxar sample --given`.

        Raises `UserError` if the model has no such view, or if an image does not fit or an argument is invalid.
        """
        return self._draws(*given.to_colorize(self.chain, images, self._preparation), draws, options)

    def enlarge(self, images: Any, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Draws images of the model's size from small images.

        The given images have the size of one of the model's views that are smaller than its images. They are taken as
        this view. An image of the model's full size is drawn again from its own largest smaller view, so that the draws
        can be compared with it.

        `draws` is the number of images for each given image. The keywords are those of `sample`, without `first`. Draw
        j of given image i has the noise of image number i · draws + j, as in `auxar sample --given`.

        Raises `UserError` if the model has no smaller view, or if an image does not fit or an argument is invalid.
        """
        return self._draws(*given.to_enlarge(self.chain, images), draws, options)

    def complete(self, images: Any, keep: Any, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Keeps a part of the given images and draws the rest.

        `keep` is the number of upper rows to keep, or a mask that is true (white) where pixels are kept: booleans of
        shape (height, width) or (g, height, width) for g images, a Pillow image, or the path of a picture. Upper rows
        are completed by exact samples if the model has no views. With views or other masks, completions are plausible,
        but they are not exact samples.

        `draws` is the number of images for each given image. The keywords are those of `sample`, without `first`. Draw
        j of given image i has the noise of image number i · draws + j, as in `auxar sample --given`.

        Raises `UserError` if an image does not fit the model or an argument is invalid.
        """
        batch = as_batch(images, self.image, self._preparation)
        return self._draws(*given.to_complete(self.chain, batch, keep), draws, options)

    def draw_given(self, views: Any, depth: int = 1, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Draws images from views at a depth: exact samples of p(image | view).

        `views` are integers of shape (g, *spec.shape) for the spec of this depth, or pictures as auxar writes them, in
        which a value x of L levels is 255·x / (L - 1). If the view's stage is restricted, every drawn image has the
        given view.

        `draws` is the number of images for each given view. The keywords are those of `sample`, without `first`. Draw
        j of given view i has the noise of image number i · draws + j, as in `auxar sample --given`.

        Raises `UserError` if the model has no view at this depth, or if a view does not fit or an argument is invalid.
        """
        return self._draws(given.from_view(self.chain, views, depth), None, draws, options)

    def _draws(self, source: Given, pictures: Images | None, draws: int, options: DrawOptions) -> Draws:
        return drawing.draws(self.chain, source, pictures, draws, self._how(**options))

    def _how(self, **options: Unpack[DrawOptions]) -> drawing.How:
        return drawing.how_to_draw(self.chain, self.recipe, self.registry, **options)

    @property
    def _preparation(self) -> Preparation | None:
        if self.recipe is None:
            return None
        return Preparation(self.image, self.recipe.data.crop, self.recipe.data.resize)
