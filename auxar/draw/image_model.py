"""`ImageModel`, a model of images as users see it: likelihoods, drawing, and saving as a run."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, Unpack

import attrs
import torch
from torch import Tensor

from auxar.arguments import as_integer, as_path, check_flag, described
from auxar.data.conversion import Preparation
from auxar.draw import classification, given
from auxar.draw.classification import Classification
from auxar.draw.conditions import Conditions, as_conditions, drawn_conditions, reader_of
from auxar.draw.devices import chosen_device
from auxar.draw.drawing import drawn, linked
from auxar.draw.forms import WrongForm, usual_preparation
from auxar.draw.images import Draws, Images
from auxar.draw.inputs import as_batch, prepared
from auxar.draw.likelihoods import factor_log_probs, pixel_bits
from auxar.draw.plan import DrawOptions, Given, Plan, chosen_sampler, numbered, plan_of
from auxar.draw.saving import save_as_run
from auxar.errors import UserError
from auxar.model import Chain, Condition, Factor, FactorLogProb, ImageSpec, Rule, Sampler, device_of, summary
from auxar.plugins import Registry, load_plugins
from auxar.recipe import Recipe
from auxar.runs.history import Origin
from auxar.runs.layout import RunFolder


@attrs.define(eq=False, repr=False, slots=False)
class ImageModel:
    """A model of images with its recipe: likelihoods and samples, without gradients and in bounded memory.

    The model is p(X, X̂) = p(X̂) p(X | X̂) for an image X and its view X̂ = ψ(X) (Kolesnikov & Lampert 2017, equation
    2). `chain` is the module underneath, whose `log_prob` is differentiable. `auxar.load` loads the model of a run.

    Methods accept images of many types, single or batched: integer tensors of shape (n, c, h, w) or (c, h, w) with
    values in [0, levels), or with the channels last, NumPy arrays of such integers, Pillow images, paths of image files
    or of folders of images, drawn images, and lists of these. Pictures (Pillow images and files) have 8 bits. They are
    cropped and resized as the recipe says and become gray or RGB as the model requires it; see also `prepare`. Other
    types, and images of another size, raise `UserError`.

    Examples:
        >>> import torch
        >>> from auxar import CausalDistribution, Chain, Factor
        >>> from auxar_pixelcnn.components import EmbeddingConfig, LightConfig, embedding, light
        >>> from auxar_pyramid import PyramidConfig, PyramidView
        >>> image = ImageSpec(height=8, width=8)
        >>> view = PyramidView(PyramidConfig(factor=2), image)
        >>> features = embedding(EmbeddingConfig(filters=4, blocks_per_group=1), view.view, image)
        >>> small = LightConfig(filters=4, blocks=1)
        >>> decoder = CausalDistribution(light(small, image, features.features_channels))
        >>> prior = CausalDistribution(light(small, view.view))
        >>> model = ImageModel(Chain([Factor(decoder, view=view, embedding=features), Factor(prior)]))
        >>> model  # doctest: +ELLIPSIS
        ImageModel(p(8×8×3 | 4×4×3) · p(4×4×3), ... parameters, cpu)
        >>> model.to("cpu").device
        device(type='cpu')
        >>> model.prepare(torch.zeros(20, 30, 3, dtype=torch.uint8).numpy(), resize="cover").shape
        torch.Size([1, 3, 8, 8])
        >>> images = torch.randint(0, 256, (5, 3, 8, 8))
        >>> bits = model.bits_per_dim(images)
        >>> bits.shape, bits.dtype, bits.requires_grad
        (torch.Size([5]), torch.float64, False)
        >>> torch.allclose(model.log_prob(images), -bits * math.log(2) * 8 * 8 * 3)
        True
        >>> torch.allclose(model.bits_per_dim(images[0].permute(1, 2, 0).numpy()), bits[:1])
        True
        >>> [(factor.factor, factor.log_prob.shape) for factor in model.log_probs(images)]
        [('stage0', torch.Size([5])), ('prior', torch.Size([5]))]
        >>> model.bits_per_dim(images / 255)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        auxar.errors.UserError: images: expected integers in [0, 256), got values of torch.float32; ...
    """

    chain: Chain = attrs.field()
    """The joint distribution of images and their views, with the weights."""
    recipe: Recipe | None = None
    """The recipe that the model was built from; None if there is none."""
    registry: Registry | None = None
    """The components of the recipe; None if there is no recipe."""
    origins: Mapping[str, Origin] = attrs.field(factory=dict)
    """The files that the weights of a loaded model come from, by factor. `save` records them in the new run."""
    run: RunFolder | None = None
    """The run that the model was loaded from; None if it was built."""

    def __attrs_post_init__(self) -> None:
        if not isinstance(self.chain, Chain):
            found = described(self.chain)
            raise UserError(f"chain: expected a Chain, got {found}; auxar.load loads the model of a run")
        if self.recipe is not None:
            self.chain.picture_values = self.recipe.data.values

    @property
    def image(self) -> ImageSpec:
        """Shape and range of the images."""
        return self.chain.image

    @property
    def exact(self) -> bool:
        """Whether log-likelihoods are exact. Otherwise they are lower bounds, and bits/dim are upper bounds."""
        return self.chain.exact

    @property
    def arithmetic(self) -> str:
        """The arithmetic in which the model computes: `float`, or the name of a component, such as `integer`."""
        return self.chain.arithmetic

    @property
    def factors(self) -> list[Factor]:
        """The factors by depth: `stage0`, `stage1`, … and finally `prior`."""
        return list(self.chain.factors)

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
        return summary("ImageModel", self.chain.all_factors, self.chain)

    @property
    def preparation(self) -> Preparation | None:
        """The conversion of pictures by [data] of the recipe; None if pictures cannot show the model's images."""
        return usual_preparation(self.image, self.recipe)

    def prepare(self, images: Any, *, resize: str | None = None, crop: Mapping[str, int] | None = None) -> Tensor:
        """Converts pictures of any size and color as `auxar run` converts its data: uint8, shape (n, *image.shape).

        `images` are pictures of 8 bits: Pillow images, paths of image files or of folders of images, integer tensors
        (n, c, h, w) and arrays with values 0 … 255, or a list of these. `resize` says how a picture of another size is
        resized: "cover" scales it until it covers the size and cuts off the margins, "stretch" scales width and height
        independently, and "none" is an error. `crop` has margins in pixels that are cut off before, such as
        `{"top": 20, "bottom": 20}`. The defaults are `data.resize` and `data.crop` of the recipe. Colors become gray or
        gray becomes RGB if the model requires it, and transparent pixels are blended onto white. A value x becomes
        ⌊x · levels / 256⌋, or stays x if the recipe has `data.values = "levels"`.

        Raises `UserError` if an image cannot be read or has another size and is not resized.
        """
        return prepared(images, self.preparation, resize, crop)

    def log_prob(self, images: Any, *, condition: Any = None, batch_size: int | None = None) -> Tensor:
        """Computes log p(image) in nats for each image; a lower bound unless the model is `exact`.

        `images` has one or more images of any type that the class lists. The result is float64 on the CPU, of shape
        (n,), and has no gradient; `chain.log_prob` has one. `batch_size` images are computed at once. The default
        depends on their size and bounds the memory. Except for rounding, the result does not depend on it.

        For a model with a condition y, the result is log p(image | y). `condition` is one for all images, or one for
        each, as `sample` describes; None is the null condition.

        Raises `UserError` if the type, shape or range of an image is wrong, or if a file cannot be read.
        """
        found = self.log_probs(images, condition=condition, batch_size=batch_size)
        return sum((factor.log_prob for factor in found), torch.zeros(()))

    def log_probs(
        self, images: Any, *, condition: Any = None, batch_size: int | None = None
    ) -> tuple[FactorLogProb, ...]:
        """Computes the log-likelihood of each factor in nats, from the image to its coarsest view (paper, equation 3).

        Their sum is `log_prob`. Arguments, results and errors are those of `log_prob`.
        """
        batch = self._batch(images)
        return factor_log_probs(self.chain, batch, batch_size, self.conditions(condition, len(batch)))

    def bits_per_dim(self, images: Any, *, condition: Any = None, batch_size: int | None = None) -> Tensor:
        """Computes -log₂ p(image) divided by the number of sub-pixels (c · h · w); an upper bound unless `exact`.

        Arguments, shape and errors are those of `log_prob`.
        """
        return self.log_prob(images, condition=condition, batch_size=batch_size) / (-math.log(2) * self.image.dims)

    def pixel_bits(self, images: Any, *, condition: Any = None) -> Tensor:
        """Computes the bits of each pixel, which show where an image is hard to predict: float64, (n, height, width).

        These are -log2 p of the pixel given the pixels before it, and shares of the bits of the views' pixels in its
        place. Their sum over an image is -log2 p of the image with its views. Raises `UserError` if the images do not
        fit the model, or if a factor is not a causal network.

        Examples:
            >>> import auxar
            >>> model = auxar.load("runs/quickstart")
            >>> images = model.sample(2)
            >>> bits = model.pixel_bits(images)
            >>> bits.shape, torch.allclose(bits.mean((1, 2)) / 3, model.bits_per_dim(images), rtol=1e-4)
            (torch.Size([2, 32, 32]), True)
        """
        batch = self._batch(images)
        return pixel_bits(self.chain, batch, self.conditions(condition, len(batch)))

    def sample(
        self,
        n: int = 1,
        *,
        rule: str | Mapping[str, Any] | Rule = "ancestral",
        seed: int = 0,
        first: int = 0,
        condition: Any = None,
        batch_size: int | None = None,
        sampler: str | Mapping[str, Any] | Sampler | None = None,
        progress: bool = True,
    ) -> Images:
        """Draws `n` images. A notebook shows the result as pictures.

        With the same seed and rule, the images are those of the command `auxar sample`. Up to rounding, an image
        depends only on the model, the seed, the rule and its number, so a larger `n` gives the same images and more.

        Args:
            n: Number of images, at least 0; by default one.
            rule: How a value is drawn from its distribution: "ancestral" draws exact samples of the model, "reduced"
                lowers the log-scales first, "map" draws a mixture component and takes its center, and "tempered"
                divides the logits of softmax heads. A rule with options is written as a table,
                `{"name": "reduced", "reduction": 0.6}`, or as a text, `"reduced:reduction=0.6"`. A `Rule` is used as it
                is.
            seed: Seed of the noise, an integer.
            first: Number of the first image. `sample(4, first=8)` draws the last four images of `sample(12)`.
            condition: The condition of a model that has one. A label is a number or a name, attributes are a list of
                the names of those that hold, and masks and images are Pillow images or paths. A list of conditions, or
                a tensor of integers, has several, which images have in turn. None is the null condition. Texts may also
                have the form of the command line, such as "label=cat", "all" or "none".
            batch_size: Number of images drawn at once; by default that of the recipe.
            sampler: A sampler, or its name and options like those of a rule, such as "raster" or
                "cached:engine=torch"; by default that of the recipe.
            progress: Whether progress is shown if drawing takes longer than some seconds.

        Raises `UserError` if an argument is invalid, or if the rule changes nothing for any head of the model, such as
        a temperature for logistic mixtures.

        Examples:
            >>> from auxar import CausalDistribution, Chain, Factor
            >>> from auxar_pixelcnn.components import LightConfig, light
            >>> network = light(LightConfig(filters=4, blocks=1), ImageSpec(height=8, width=8))
            >>> model = ImageModel(Chain([Factor(CausalDistribution(network))]))
            >>> images = model.sample(4)
            >>> images
            <Images: 4 images of 8×8×3 with 256 levels>
            >>> images[0].to_pil().size
            (8, 8)
            >>> model.complete(images, keep=4, draws=2)
            <Draws: 2 draws for each of 4 images of 8×8×3 with 256 levels>
        """
        check_flag(progress, "progress")
        options = {"seed": seed, "condition": condition, "batch_size": batch_size, "sampler": sampler}
        plan = self._plan(numbers=numbered(n, first), rule=rule, **options)
        return linked(self.chain, drawn(self.chain, plan, progress=progress))

    def conditions(self, value: Any, count: int) -> Tensor | None:
        """The condition of each of `count` images as integers: int64, (count, *condition.spec.shape).

        `value` is one condition for all images, or one for each, as `sample` describes them. The result is None for
        the null condition, and for a model without a condition. Raises `UserError` if a condition does not fit the
        model, or if there is neither one nor `count` of them.

        Examples:
            >>> import auxar
            >>> label = ["condition.kind=label", "condition.column=label", 'condition.names=["cat", "dog"]']
            >>> model = auxar.build("quickstart", label)
            >>> model.conditions(["dog", "cat"], 2).flatten().tolist()
            [1, 0]
        """
        return as_conditions(value, self.condition, reader_of(self.condition, self.recipe)).for_each(count)

    def sample_conditions(self, n: int = 1, *, seed: int = 0, first: int = 0) -> Conditions:
        """Draws `n` conditions from p(y), for models whose recipe has `condition.prior`.

        `sample` with the same `n`, `seed` and `first`, and with the result as `condition`, draws images that are
        together with these conditions exact samples of p(X, y). Raises `UserError` if the condition is not modelled.

        Examples:
            >>> import auxar
            >>> label = ["condition.kind=label", "condition.column=label", 'condition.names=["cat", "dog"]']
            >>> prior = "condition.prior={ name = 'pixelcnn', filters = 4, head = 'softmax' }"
            >>> model = auxar.build("quickstart", [*label, prior])
            >>> conditions = model.sample_conditions(2, seed=1)
            >>> images = model.sample(2, condition=conditions, seed=1)
        """
        sampler = chosen_sampler(self.chain, None, self.recipe, self.registry or load_plugins())
        return drawn_conditions(self.chain, sampler, numbered(n, first), as_integer(seed, "seed"))

    def classify(self, images: Any, *, batch_size: int | None = None) -> Classification:
        """Computes the probability of each class of a label given images: p(y | X) ∝ p(X | y) p(y).

        p(y) is the model's own if its recipe has `condition.prior`; otherwise all classes are equally probable. The
        result is exact if the model is. Otherwise p(X | y) is the lower bound p(X, X̂ | y), and the result says so.
        `batch_size` images are computed at once, once for each class.

        Raises `UserError` if the model's condition is no label, or if the images do not fit the model.

        Examples:
            >>> import auxar
            >>> label = ["condition.kind=label", "condition.column=label", 'condition.names=["cat", "dog"]']
            >>> model = auxar.build("quickstart", label)
            >>> found = model.classify(model.sample(3, condition=["cat", "dog", "cat"]))
            >>> found.probabilities.shape, found.exact
            (torch.Size([3, 2]), True)
        """
        batch = self._batch(images)
        return classification.classify(self.chain, batch, batch_size)

    def views(self, images: Any) -> tuple[Images, ...]:
        """Computes the views of images, by depth: the images at depth 0, and their k-th views at depth k.

        Raises `UserError` if the images do not fit the model.

        Examples:
            >>> import auxar
            >>> model = auxar.load("runs/quickstart")
            >>> [view.shape for view in model.views(model.sample(2))]
            [(2, 3, 32, 32), (2, 3, 16, 16), (2, 3, 8, 8)]
        """
        return linked(self.chain, self.chain.views(self._batch(images).long())).views

    def colorize(self, images: Any, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Draws color images that have the gray view of the given images.

        The model needs a view with one channel of an image with three, such as `grayscale`. The given images may be
        gray or in color. They have the size of the model's images, or of the images that the gray view is computed
        from if these are smaller; then the larger images are drawn, too. A gray image is taken as equal red, green and
        blue, and its view is computed from it. The gray views of this model, as in `model.views(images)[1]`, are used
        as they are.

        `draws` is the number of images for each given image. The other keywords are those of `sample`, without `first`.

        Raises `UserError` if the model has no such view, or if an image does not fit or an argument is invalid.

        Examples:
            >>> from PIL import Image
            >>> import auxar
            >>> settings = ["data.path=noto-emoji", "image={ height = 8, width = 8 }", "stage[0].decoder.filters=8"]
            >>> model = auxar.build("small/grayscale_cifar10", settings)
            >>> model.colorize(Image.new("L", (8, 8), 200), draws=2)
            <Draws: 2 draws for each of 1 image of 8×8×3 with 256 levels, drawn from 8×8×1 with 16 levels>
        """
        return self._draws(given.to_colorize(self.chain, images, self.preparation), draws, options)

    def enlarge(self, images: Any, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Draws images of the model's size from small images.

        The given images have the size of one of the model's views that are smaller than its images. They are taken as
        this view. An image of the model's full size is drawn again from its own largest smaller view, so that the draws
        can be compared with it.

        `draws` is the number of images for each given image. The other keywords are those of `sample`, without `first`.

        Raises `UserError` if the model has no smaller view, or if an image does not fit or an argument is invalid.

        Examples:
            >>> from PIL import Image
            >>> import auxar
            >>> model = auxar.load("runs/quickstart")
            >>> model.enlarge(Image.new("RGB", (16, 16), "red"), draws=2).shape
            (1, 2, 3, 32, 32)
        """
        return self._draws(given.to_enlarge(self.chain, images), draws, options)

    def complete(self, images: Any, keep: Any, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Keeps a part of the given images and draws the rest.

        `keep` is the number of upper rows to keep, or a mask that is true (white) where pixels are kept: booleans of
        shape (height, width) or (g, height, width) for g images, a Pillow image, or the path of a picture. Upper rows
        are completed by exact samples if the model has no views. With views or other masks, completions are plausible,
        but they are not exact samples.

        `draws` is the number of images for each given image. The other keywords are those of `sample`, without `first`.

        Raises `UserError` if an image does not fit the model or an argument is invalid.

        Examples:
            >>> from PIL import Image
            >>> import auxar
            >>> model = auxar.load("runs/quickstart")
            >>> model.complete(Image.new("RGB", (32, 32), "red"), keep=16, draws=2).shape
            (1, 2, 3, 32, 32)
        """
        return self._draws(given.to_complete(self.chain, self._batch(images), keep), draws, options)

    def draw_given(self, views: Any, depth: int = 1, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Draws images from views at a depth: exact samples of p(image | view).

        `views` are integers of shape (g, *spec.shape) for the spec of this depth, or pictures as auxar writes them. If
        the view's stage is restricted, every drawn image has the given view.

        `draws` is the number of images for each given view. The other keywords are those of `sample`, without `first`.

        Raises `UserError` if the model has no view at this depth, or if a view does not fit or an argument is invalid.

        Examples:
            >>> import auxar
            >>> model = auxar.load("runs/quickstart")
            >>> views = model.views(model.sample(3))
            >>> model.draw_given(views[2], depth=2, draws=4).shape
            (3, 4, 3, 32, 32)
        """
        return self._draws(given.from_view(self.chain, views, depth), draws, options)

    def save(
        self, path: str | PathLike[str], *, only: Sequence[str] = (), steps: int | Mapping[str, int] | None = None
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
            >>> model = auxar.build("quickstart")
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
            as_path(path, "path"), self.chain, self.recipe, self.registry, only=only, steps=steps, origins=self.origins
        )

    @property
    def condition(self) -> Condition | None:
        """The condition that the model is given: its kind, shape and names. None for a model without a condition."""
        return self.chain.condition

    def _batch(self, images: Any) -> Tensor:
        try:
            return as_batch(images, self.image, self.preparation)
        except WrongForm as error:
            raise UserError(f"{error}; model.prepare(images, resize='cover') converts pictures") from None

    def _draws(self, source: Given, draws: int, options: DrawOptions) -> Draws:
        """Draws `draws` images for each given image."""
        check_flag(progress := options.pop("progress", True), "progress")
        plan = self._plan(given=source, draws=draws, **options)
        shape = len(source), plan.draws
        views = [view.view(*shape, *view.shape[1:]) for view in drawn(self.chain, plan, progress=progress)]
        images = linked(self.chain, views)
        known = None if source.known is None else source.known.mask
        condition = plan.shown_conditions(self.condition, len(source))
        return Draws(images.tensor, images.spec, images.view, source.image, known, condition, values=images.values)

    def _plan(self, **options: Any) -> Plan:
        """The plan of drawing with some options. Raises `UserError` if one is invalid, or the rule has no effect."""
        plan = plan_of(self.chain, self.recipe, self.registry, **options)
        plan.check(self.chain)
        return plan
