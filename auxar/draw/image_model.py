"""`ImageModel`, a model of images as users see it: likelihoods, drawing, and saving as a run."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Unpack

import attrs
import torch
from torch import Tensor

from auxar.arguments import as_integer, as_path, check_flag, described
from auxar.data.conversion import Preparation
from auxar.draw import any_size, classification, given
from auxar.draw.classification import Classification
from auxar.draw.conditions import Conditions, as_conditions, check_named, drawn_conditions, reader_of
from auxar.draw.devices import chosen_device
from auxar.draw.forms import usual_preparation
from auxar.draw.images import Draws, Images
from auxar.draw.inputs import prepared
from auxar.draw.likelihoods import factor_log_probs, pixel_bits
from auxar.draw.plan import DrawOptions, Given, Plan, chosen_sampler, drawn, linked, numbered, plan_of
from auxar.draw.saving import save_as_run
from auxar.errors import UserError
from auxar.model import Chain, Condition, Factor, FactorLogProb, ImageSpec, device_of, summary
from auxar.recipe import Recipe
from auxar.recipe.schema import MOST_SAMPLES
from auxar.runs.history import Origin
from auxar.runs.layout import RunFolder


@attrs.define(eq=False, repr=False, slots=False)
class ImageModel:
    """A model of images with its recipe: likelihoods and samples, without gradients and in bounded memory.

    The model is p(X, X̂) = p(X̂) p(X | X̂) for an image X and its view X̂ = ψ(X) (Kolesnikov & Lampert 2017, equation
    2). `chain` is the module underneath, whose `log_prob` is differentiable. `auxar.load` loads the model of a run.

    Methods accept images of many types, single or batched: integer tensors of shape (n, c, h, w) or (c, h, w) with
    values in [0, levels), or with the channels last, NumPy arrays of such integers, Pillow images, paths of image files
    or of folders of images, drawn images, and lists of these. Pictures (Pillow images and files) have 8 bits and are
    converted as the recipe says; see also `prepare`. Other types raise `UserError`. If all networks work at any size
    (`chain.any_size`), images of another size are taken as they are, unless the recipe resizes pictures, and the result
    is that of the model `at` their size. `log_prob` and `bits_per_dim` accept images of several sizes.

    A model can be pickled, for processes with the same plugins. A process that was forked works with one thread.

    Examples:
        >>> import auxar
        >>> model = auxar.load("runs/quickstart").to("cpu")
        >>> model  # doctest: +ELLIPSIS
        ImageModel(p(32×32×3 | 16×16×3) · p(16×16×3 | 8×8×3) · p(8×8×3), ... parameters, cpu)
        >>> drawn = model.sample(2, rule="map", seed=1)
        >>> images, views = model.prepare(drawn.to_pil(), resize="cover"), model.views(drawn)
        >>> bits = model.bits_per_dim(images)
        >>> bits.shape, bits.dtype, torch.allclose(model.log_prob(images), -bits * math.log(2) * 32 * 32 * 3)
        (torch.Size([2]), torch.float64, True)
        >>> [factor.factor for factor in model.log_probs(images)], model.pixel_bits(images).shape
        (['stage0', 'stage1', 'prior'], torch.Size([2, 32, 32]))
        >>> model.enlarge(views[1], draws=3).shape, model.at(64, 64).draw_given(images, draws=3).shape
        ((2, 3, 3, 32, 32), (2, 3, 3, 64, 64))
        >>> model.complete(images, keep=16, draws=3).shape, model.save("runs/copy").path.name
        ((2, 3, 3, 32, 32), 'copy')
        >>> label = "condition={ kind='label', column='label', names=['cat', 'dog'], prior='pixelcnn' }"
        >>> of_labels = auxar.build("quickstart", [label])
        >>> drawn = of_labels.sample(3, condition=of_labels.sample_conditions(3, seed=1), seed=1)
        >>> of_labels.classify(drawn).probabilities.shape, of_labels.conditions("dog", 2).shape
        (torch.Size([3, 2]), torch.Size([2, 1, 1, 1]))
        >>> model.bits_per_dim(images / 255)  # doctest: +ELLIPSIS
        Traceback (most recent call last):
        auxar.errors.UserError: images: expected integers in [0, 256), got values of torch.float32; ...
    """

    chain: Chain = attrs.field()
    """The joint distribution of images and their views, with the weights."""
    recipe: Recipe | None = None
    """The recipe that the model was built from; None if there is none."""
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

    def at(self, height: int, width: int) -> ImageModel:
        """The same model, with the same weights, of images of another height and width.

        Raises `UserError` if a part of the model has one size, such as the network `transformer`.
        """
        if (height, width) == (self.image.height, self.image.width):
            return self
        chain = self.chain.at(height, width)
        return attrs.evolve(self, chain=chain, recipe=self.recipe and attrs.evolve(self.recipe, image=chain.image))

    def __repr__(self) -> str:
        return summary("ImageModel", self.chain.all_factors, self.chain)

    @property
    def preparation(self) -> Preparation | None:
        """The conversion of pictures by [data] of the recipe; None if pictures cannot show the model's images."""
        return usual_preparation(self.image, self.recipe)

    def prepare(self, images: Any, *, resize: str | None = None, crop: Mapping[str, int] | None = None) -> Tensor:
        """Converts pictures of any size and color as `auxar run` converts its data: uint8, shape (n, *image.shape).

        `images` are pictures of 8 bits: Pillow images, paths of image files or of folders of images, integer tensors
        (n, c, h, w) and arrays with values 0 … 255, or a list of these. `resize` ("cover", "stretch" or "none") and
        `crop`, such as `{"top": 20}`, are those of [data]; the defaults are the recipe's. Colors become gray or gray
        becomes RGB if the model requires it, and transparent pixels are blended onto white. A value x becomes
        ⌊x · levels / 256⌋, or stays x if the recipe has `data.values = "levels"`. Raises `UserError` if an image cannot
        be read or has another size and is not resized.
        """
        return prepared(images, self.preparation, resize, crop)

    def log_prob(self, images: Any, *, condition: Any = None, batch_size: int | None = None) -> Tensor:
        """Computes log p(image) in nats for each image; a lower bound unless the model is `exact`.

        The result is float64 on the CPU, of shape (n,), and has no gradient; `chain.log_prob` has one. `batch_size`
        images are computed at once; the default depends on their size and bounds the memory. For a model with a
        condition y, the result is log p(image | y). `condition` is one for all images, or one for each, as `sample`
        describes, and "none" is the null condition. Raises `UserError` if an image does not fit or cannot be read, or
        if the model has a condition and none is given.
        """
        return any_size.log_prob_and_dims(self, images, condition, batch_size)[0]

    def log_probs(
        self, images: Any, *, condition: Any = None, batch_size: int | None = None
    ) -> tuple[FactorLogProb, ...]:
        """Computes the log-likelihood of each factor in nats, from the image to its coarsest view (paper, equation 3).

        Their sum is `log_prob`. Arguments, results and errors are those of `log_prob`.
        """
        check_named(condition, self.condition)
        model, batch = any_size.fitting(self, images)
        return factor_log_probs(model.chain, batch, batch_size, self.conditions(condition, len(batch)))

    def bits_per_dim(self, images: Any, *, condition: Any = None, batch_size: int | None = None) -> Tensor:
        """Computes -log₂ p(image) divided by the number of sub-pixels (c · h · w); an upper bound unless `exact`.

        Arguments, shape and errors are those of `log_prob`.
        """
        nats, dims = any_size.log_prob_and_dims(self, images, condition, batch_size)
        return nats / (-math.log(2) * dims)

    def pixel_bits(self, images: Any, *, condition: Any = None) -> Tensor:
        """Computes the bits of each pixel, which show where an image is hard to predict: float64, (n, height, width).

        These are -log2 p of the pixel given the pixels before it, and shares of the bits of the views' pixels in its
        place. Their sum over an image is -log2 p of the image with its views. Raises `UserError` if the images do not
        fit the model, or if a factor is not a causal network.
        """
        check_named(condition, self.condition)
        model, batch = any_size.fitting(self, images)
        return pixel_bits(model.chain, batch, self.conditions(condition, len(batch)))

    def sample(self, n: int = 1, *, first: int = 0, **options: Unpack[DrawOptions]) -> Images:
        """Draws `n` images. A notebook shows the result as pictures.

        With the same seed and rule, the images are those of the command `auxar sample`. Up to rounding, an image
        depends only on the model, the seed, the rule and its number, so a larger `n` gives the same images and more.

        Args:
            n: Number of images, at least 0; by default one.
            first: Number of the first image. `sample(4, first=8)` draws the last four images of `sample(12)`.
            rule: How a value is drawn from its distribution: "ancestral" (the default) draws exact samples of the
                model, "reduced" lowers the log-scales first, "map" draws a mixture component and takes its center, and
                "tempered" divides the logits of softmax heads. A rule with options is written as a table,
                `{"name": "reduced", "reduction": 0.6}`, or as a text, `"reduced:reduction=0.6"`; or it is a `Rule`.
            seed: Seed of the noise, an integer; by default 0.
            condition: The condition of a model that has one. A label is a number or a name, attributes are a list of
                the names of those that hold, and masks and images are Pillow images or paths. A list of conditions, or
                a tensor of integers, has several, which images have in turn. Texts may be those of the command line,
                such as "label=cat", "all" or "none". By default: all labels in turn; otherwise the null condition.
            batch_size: Number of images drawn at once; by default that of the recipe.
            sampler: A sampler, or its name and options like those of a rule, such as "raster" or
                "cached:engine=torch"; by default that of the recipe.
            progress: Whether progress is shown if drawing takes longer than some seconds; by default True.

        Raises `UserError` if an argument is invalid, or if the rule changes nothing for any head of the model.
        """
        return linked(self.chain, self._drawn(options, numbers=numbered(n, first))[1])

    def conditions(self, value: Any, count: int) -> Tensor | None:
        """The condition of each of `count` images as integers: int64, (count, *condition.spec.shape).

        `value` is one condition for all images, or one for each, as `sample` describes them. The null condition has -1
        in all entries. The result is None if `value` is None. Raises `UserError` if a condition does not fit, or if
        there is neither one nor `count` of them.
        """
        any_size.check_default_device(self)
        found = as_conditions(value, self.condition, reader_of(self.condition, self.recipe))
        return found.for_each(as_integer(count, "count", 0, MOST_SAMPLES))

    def sample_conditions(self, n: int = 1, *, seed: int = 0, first: int = 0) -> Conditions:
        """Draws `n` conditions from p(y), for models whose recipe has `condition.prior`.

        `sample` with the same `n`, `seed` and `first`, and with the result as `condition`, draws images that are
        together with these conditions exact samples of p(X, y). Raises `UserError` if the condition is not modeled.
        """
        sampler = chosen_sampler(self.chain, None, self.recipe)
        return drawn_conditions(self.chain, sampler, numbered(n, first), as_integer(seed, "seed"))

    def classify(self, images: Any, *, batch_size: int | None = None) -> Classification:
        """Computes the probability of each class of a label given images: p(y | X) ∝ p(X | y) p(y).

        p(y) is the model's own if its recipe has `condition.prior`; otherwise all classes are equally probable. Unless
        the model is exact, p(X | y) is the lower bound p(X, X̂ | y), and the result says so. `batch_size` images are
        computed at once. Raises `UserError` if the condition is no label, or if the images do not fit the model.
        """
        model, batch = any_size.fitting(self, images)
        return classification.classify(model.chain, batch, batch_size)

    def views(self, images: Any) -> tuple[Images, ...]:
        """Computes the views of images, by depth: the images at depth 0, and their k-th views at depth k."""
        model, batch = any_size.fitting(self, images)
        return linked(model.chain, model.chain.by_depth(model.chain.values(batch.long()))).views

    def colorize(self, images: Any, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Draws color images that have the gray view of the given images.

        The model needs a view with one channel of an image with three, such as `grayscale`. The given images may be
        gray or in color. They have the size of the model's images, or of the images that the gray view is computed
        from if these are smaller; then the larger images are drawn, too. A gray image is taken as equal red, green and
        blue, and its view is computed from it. The gray views of this model, as in `model.views(images)[1]`, are used
        as they are. Further arguments and errors are those of `draw_given`.

        Examples:
            >>> from PIL import Image
            >>> import auxar
            >>> settings = ["data.path=emoji", "image={ height = 8, width = 8 }", "stage[0].decoder.filters=8"]
            >>> model = auxar.build("small/grayscale_cifar10", settings)
            >>> model.colorize(Image.new("L", (8, 8), 200), draws=2)
            <Draws: 2 draws for each of 1 image of 8×8×3 with 256 levels, drawn from 8×8×1 with 16 levels>
        """
        return self._draws(lambda own: given.to_colorize(own.chain, images, own.preparation), images, draws, options)

    def enlarge(self, images: Any, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Draws images of the model's size from small images.

        The given images have the size of one of the model's views that are smaller than its images. They are taken as
        this view. An image of the model's full size is drawn again from its own largest smaller view, so that the draws
        can be compared with it. Images of other sizes are taken as the largest smaller view. Further arguments and
        errors are those of `draw_given`.
        """
        depth = next(iter(given.smaller_views(self.chain)), 0)
        return self._draws(lambda model: given.to_enlarge(model.chain, images), images, draws, options, depth)

    def complete(self, images: Any, keep: Any, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Keeps a part of the given images and draws the rest.

        `keep` is the number of upper rows to keep, or a mask that is true (1, or white) where pixels are kept: an array
        of shape (height, width) or (g, height, width) for g images, a picture, its path, or a list of these. Upper rows
        are completed by exact samples if the model has no views. With views or other masks, completions are plausible,
        but they are not exact samples. Further arguments and errors are those of `draw_given`.
        """
        model: ImageModel
        model, batch = any_size.fitting(self, images)
        return model._draws(lambda own: given.to_complete(own.chain, batch, keep), images, draws, options)

    def draw_given(self, views: Any, depth: int = 1, draws: int = 4, **options: Unpack[DrawOptions]) -> Draws:
        """Draws images from views at a depth: exact samples of p(image | view).

        `views` are integers of shape (g, *spec.shape) for the spec of this depth, or pictures as auxar writes them. If
        the view's stage is restricted, every drawn image has the given view.

        `draws` is the number of images for each given view. The other keywords are those of `sample`, without `first`.
        Raises `UserError` if the model has no such view, or if a view does not fit or an argument is invalid.
        """
        return self._draws(lambda model: given.from_view(model.chain, views, depth), views, draws, options, depth)

    def save(
        self, path: str | PathLike[str], *, only: Sequence[str] = (), steps: int | Mapping[str, int] | None = None
    ) -> RunFolder:
        """Saves the model as a run: a folder that `load`, `evaluate`, `sample` and all other commands accept.

        `only` names the factors to save; the default is all. `auxar run` with the same recipe and folder keeps them as
        they are, trains the others, and evaluates, samples and reports. `steps` is the number of steps that were
        trained, or one number for each factor by name. Weights may be on any device and in any floating-point type, and
        `chain` may be wrapped by `torch.compile`, DistributedDataParallel or Accelerate. With several processes, only
        one may save. Raises `UserError`, and leaves nothing behind, if the model has no recipe, if weights are not
        finite or do not fit the recipe, if the folder exists and is not empty, or if it cannot be written.
        """
        return save_as_run(as_path(path, "path"), self.chain, self.recipe, only=only, steps=steps, origins=self.origins)

    @property
    def condition(self) -> Condition | None:
        """The condition that the model is given: its kind, shape and names. None for a model without a condition."""
        return self.chain.condition

    def _draws(
        self, read: Callable[[ImageModel], Given], what: Any, draws: int, options: DrawOptions, depth: int = 0
    ) -> Draws:
        """Draws `draws` images for each given image, which `read` reads for a model: this one or, if `what`, the images
        or their views at a depth, have another size, the model at their size.
        """
        model, source = any_size.reading(self, read, what, depth)
        plan, found = model._drawn(options, given=source, draws=draws)
        shape = len(source), plan.draws
        images = linked(model.chain, [view.view(*shape, *view.shape[1:]) for view in found])
        known = None if source.known is None else source.known.mask
        condition = plan.shown_conditions(self.condition, len(source))
        return Draws(images.tensor, images.spec, images.view, source.image, known, condition, values=images.values)

    def _drawn(self, options: DrawOptions, **what: Any) -> tuple[Plan, list[Tensor]]:
        """Plans and draws images: they and the views that they were drawn from, by depth."""
        if unknown := options.keys() - DrawOptions.__annotations__.keys():
            raise TypeError(f"got an unexpected keyword argument '{min(unknown)}'")
        any_size.check_default_device(self)
        what |= options
        check_flag(progress := what.pop("progress", True), "progress")
        plan = plan_of(self.chain, self.recipe, **what)
        plan.check(self.chain)
        return plan, drawn(self.chain, plan, progress=progress)
