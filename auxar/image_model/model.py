"""`ImageModel`, the model of a run as users see it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from auxar.arguments import described
from auxar.data.conversion import Preparation
from auxar.errors import UserError
from auxar.image_model.devices import chosen_device
from auxar.image_model.inputs import as_batch
from auxar.image_model.likelihoods import device_of, factor_log_probs
from auxar.image_model.preparation import prepared, usual_preparation
from auxar.image_model.saving import save_as_run
from auxar.interfaces import Factor, FactorLogProb, ImageSpec, Known, Prior
from auxar.interfaces.summary import summary
from auxar.plugins import Registry
from auxar.recipe import Recipe
from auxar.runs.history import Origin
from auxar.runs.layout import RunFolder


class ImageModel:
    """A model of images with its recipe: likelihoods and samples, without gradients and in bounded memory.

    The model is p(X, X̂) = p(X̂) p(X | X̂) for an image X and its view X̂ = ψ(X) (Kolesnikov & Lampert 2017, equation 2).
    `chain` is the module underneath, whose `log_prob` is differentiable. `auxar.load` loads the model of a run.

    Methods accept images of many types, single or batched: integer tensors of shape (n, c, h, w) or (c, h, w) with
    values in [0, levels), NumPy arrays of integers with the channels first or last, Pillow images, paths of image files
    or of folders of images, drawn images, and lists of these. Pictures (Pillow images and files) have 8 bits, and are
    cropped and resized if the recipe says so; see also `prepare`. Everything else raises `UserError`, also an image of
    another size.

    Examples:
        >>> import torch
        >>> from auxar_pixelcnn.components import EmbeddingConfig, LightConfig, embedding, light_decoder, light_prior
        >>> from auxar_pyramid import PyramidConfig, PyramidView
        >>> from auxar.model import Chain, Stage
        >>> image = ImageSpec(height=8, width=8)
        >>> view = PyramidView(PyramidConfig(factor=2), image)
        >>> features = embedding(EmbeddingConfig(filters=4, blocks_per_group=1), view.view, image)
        >>> small = LightConfig(filters=4, blocks=1)
        >>> stage = Stage(view, features, light_decoder(small, image, features.features_channels))
        >>> model = ImageModel(Chain([stage], light_prior(small, view.view)))
        >>> model  # doctest: +ELLIPSIS
        ImageModel(p(8×8×3 | 4×4×3) · p(4×4×3), ... parameters, cpu)
        >>> images = torch.randint(0, 256, (5, 3, 8, 8))
        >>> bits = model.bits_per_dim(images)
        >>> bits.shape, bits.dtype, bits.requires_grad
        (torch.Size([5]), torch.float64, False)
        >>> torch.allclose(model.bits_per_dim(images[0].permute(1, 2, 0).numpy()), bits[:1])
        True
        >>> [(factor.factor, factor.log_prob.shape) for factor in model.log_probs(images)]
        [('stage0', torch.Size([5])), ('prior', torch.Size([5]))]
        >>> model.bits_per_dim(images / 255)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        auxar.errors.UserError: images: expected integers in [0, 256), got floats ...
    """

    def __init__(
        self,
        chain: Prior,
        recipe: Recipe | None = None,
        registry: Registry | None = None,
        origins: Mapping[str, Origin] | None = None,
    ) -> None:
        if not isinstance(chain, Prior):
            raise UserError(
                f"chain: expected a model, such as a Chain, got {described(chain)}; auxar.load loads the model of a run"
            )
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

    @property
    def device(self) -> torch.device:
        """The device of the weights, where likelihoods are computed and images are drawn."""
        return device_of(self.chain)

    def to(self, device: str | torch.device) -> ImageModel:
        """Moves the weights to a device, in place, and returns this model.

        `device` is "cpu", "cuda", "cuda:N" or "auto". Raises `UserError` if there is no such device.
        """
        self.chain.to(chosen_device(device))
        return self

    def __repr__(self) -> str:
        return summary("ImageModel", self.factors, self.chain)

    @property
    def preparation(self) -> Preparation | None:
        """The conversion of pictures by [data] of the recipe; None if the images of the model are no pictures."""
        return usual_preparation(self.image, self.recipe)

    def prepare(self, images: Any, *, resize: str | None = None, crop: Mapping[str, int] | None = None) -> Tensor:
        """Converts pictures of any size and color as `auxar run` converts its data: uint8, shape (n, *image.shape).

        `images` are pictures of 8 bits: Pillow images, paths of image files or of folders of images, integer tensors
        (n, c, h, w) and arrays with values 0 … 255, or a list of these. `resize` says how a picture of another size is
        resized: "cover" scales it until it covers the size and cuts off the margins, "stretch" scales width and height
        independently, and "none" is an error. `crop` has margins in pixels that are cut off before, such as
        `{"top": 20, "bottom": 20}`. The defaults are `data.resize` and `data.crop` of the recipe. Colors become gray or
        gray becomes RGB if the model requires it, and transparent pixels are blended onto white. A value x becomes
        ⌊x · levels / 256⌋.

        Raises `UserError` if an image cannot be read or has another size and is not resized.
        """
        return prepared(images, self.preparation, resize, crop)

    def log_prob(self, images: Any, *, batch_size: int | None = None) -> Tensor:
        """Computes log p(image) in nats for each image; a lower bound unless the model is `exact`.

        `images` has one or more images of any type that the class lists. The result is float64 on the CPU, of shape
        (n,), and has no gradient; `chain.log_prob` has one. `batch_size` images are computed at once. The default
        depends on their size and bounds the memory. Except for rounding, the result does not depend on it.

        Raises `UserError` if the type, shape or range of an image is wrong, or if a file cannot be read.
        """
        return sum((factor.log_prob for factor in self.log_probs(images, batch_size=batch_size)), torch.zeros(()))

    def log_probs(self, images: Any, *, batch_size: int | None = None) -> tuple[FactorLogProb, ...]:
        """Computes the log-likelihood of each factor in nats, from the image to its coarsest view (paper, equation 3).

        Their sum is `log_prob`. Arguments, results and errors are those of `log_prob`.
        """
        return factor_log_probs(self.chain, as_batch(images, self.image, self.preparation), batch_size)

    def bits_per_dim(self, images: Any, *, batch_size: int | None = None) -> Tensor:
        """Computes -log₂ p(image) divided by the number of sub-pixels (c · h · w); an upper bound unless `exact`.

        Arguments, shape and errors are those of `log_prob`.
        """
        return self.log_prob(images, batch_size=batch_size) / (-math.log(2) * self.image.dims)

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
