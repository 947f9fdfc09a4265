"""Figures like the paper's figures 2 to 6 for any run: sheets with captions that say how they were drawn.

`draw_run` draws the samples and figures of a run when all of its factors are trained.
"""

import contextlib
import itertools
import math
from collections.abc import Sized

import attrs
import numpy as np
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from auxar.data.sets import DataSets, ImageSet
from auxar.draw.conditions import Conditions, of_examples, usual_conditions
from auxar.draw.plan import Given, Plan, drawn, plan_of_recipe
from auxar.draw.samples import Samples, facts_of_model
from auxar.draw.sheets import Column, is_whole, labeled, save_png
from auxar.errors import UserError, logger
from auxar.evaluation.nearest import Neighbors, neighbors
from auxar.files import read_json, write_json
from auxar.model import IMAGE, Adjusted, Adjustments, Chain, ImageSpec, Rule, Values, device_of
from auxar.model.rule_effects import kinds_of_heads, users
from auxar.recipe import Recipe
from auxar.recipe.building import build_augmentations
from auxar.runs.layout import RunFolder
from auxar.runs.lock import holding
from auxar.work.chunks import Tensors, Work

DRAWS = 4
"""The number of images that are drawn from each view and shown side by side."""
REDUCTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Values of `reduction`, one for each column of the figure `reduction` (paper, figure 4)."""
CENTERS = 6
"""Number of columns of the figure `map`."""
MIN_WEIGHT = 0.05
"""The `min_weight` of the figures of rules, if the recipe's rule leaves mixtures as they are."""
NEAREST_ROWS = 8
"""Maximum number of samples, and of held-out images, in the figure of nearest training images."""
RECORD = "figures.json"
"""Name of the file with the titles and captions of the figures, which is written last."""


TEXTS = {
    "views": (
        "Views, and images drawn from them",
        "Each row shows one drawn view, and {draws} images drawn given this view. {how}",
    ),
    "given": (
        "Images drawn from the view of a held-out image",
        "Each row shows one held-out image, its view, and {draws} images drawn given this view. {how}",
    ),
    "reduction": (
        "From the model's distribution to centers of components",
        "Each row shows one image, drawn with the same noise in every column. The number above a column is subtracted "
        "from the predicted log-scales before drawing (0: exact samples of the model). {last}{of_reduced_mixtures}"
        "{not_reduced}Seed {seed}.",
    ),
    "map": (
        "Images drawn by the rule ‘map’",
        "Each pixel is the center of a drawn mixture component, so the images are not samples of the model. "
        "{of_mixtures}{not_centered}Seed {seed}.",
    ),
    "growth": (
        "From coarse to fine",
        "Each row shows one image from coarse to fine: its coarsest view, then each finer image, drawn given the one "
        "to its left. {how}",
    ),
    "memorization": (
        "Nearest training images",
        "Each row shows a sampled image and, further right, a held-out image, each with the training images nearest to "
        "it, by pixels and, for models with views, by the coarsest view. The numbers are the distances of both: root "
        "mean square differences of values. If the model copied training images, samples would be much nearer to them "
        "than held-out images are. {how}",
    ),
}
"""The title and the caption of each figure, by its name."""
LAST = "The last column is drawn by the rule ‘map’, which takes the center of a drawn mixture component. "
"""A sentence of the caption of the figure `reduction`."""


class Figures(Work):
    """The work of drawing the figures of a run with its trained model. Each figure is a chunk.

    They are written into `figures`, and at last `figures.json` with their titles and captions. A figure has `rows` rows
    of images, except the figure of nearest training images: it has at most `NEAREST_ROWS` rows of samples, and as many
    of held-out images. Without `training`, it is left out. The images of a stream may change, so its figures are a
    single chunk and are always drawn.
    """

    def __init__(
        self, run: RunFolder, recipe: Recipe, model: Chain, data: DataSets, training: ImageSet | None, rows: int
    ) -> None:
        self.model, self.training = model, training
        self.augment = build_augmentations(recipe.training)
        self.plan = plan_of_recipe(model, recipe, rows, usual_conditions(model.condition, data.heldout))
        examples = data.heldout.spaced_examples(rows)
        self.heldout, self.of_heldout = examples[IMAGE].to(torch.int64), of_examples(model.condition, examples)
        self.min_weight = min_weight_of(self.plan.rule)
        self.rule = recipe.sampling.rule
        # Figures of views are left out if the model has no views, and figures of a rule if no head uses the rule.
        has_views = len(model.specs) > 1
        drawings = {
            "views": (has_views, self._views),
            "given": (has_views, self._given),
            "reduction": (users(model, "reduction"), self._reduction),
            "map": (users(model, "centers"), self._map),
            "growth": (has_views, self._growth),
            "memorization": (training is not None, self._memorization),
        }
        self.draws = {name: draw for name, (is_drawn, draw) in drawings.items() if is_drawn}
        self.is_fixed = isinstance(data.heldout, Sized) and isinstance(data.train, Sized)
        augment = [each.table for each in recipe.training.augment]
        facts = {
            **facts_of_model(run, recipe, model),
            "sampling": [self.rule.table, self.plan.seed, rows, self.plan.conditions.digest],
            "images": [data.heldout.fingerprint, None if training is None else [training.fingerprint, augment]],
        }
        super().__init__(run.output.figures, facts, len(self.draws) if self.is_fixed else 1)

    @torch.no_grad()
    def compute(self, number: int) -> Tensors:
        """Draws the sheets of a chunk: uint8, (height, width, 4)."""
        names = [list(self.draws)[number]] if self.is_fixed else self.draws
        return {name: torch.from_numpy(np.array(self.draws[name]())) for name in names}

    def conclude(self, found: list[Tensors]) -> None:
        """Writes the pictures and the record. Other processes may write figures of other options."""
        with holding(self.output, patience=math.inf):
            for name, sheet in ((name, sheet) for own in found for name, sheet in own.items()):
                save_png(Image.fromarray(sheet.numpy()), self.output / f"{name}.png")
            write_json(self.output / RECORD, self._record())

    def is_concluded(self) -> bool:
        """Whether the pictures and the record are there, and no picture is cut off."""
        with contextlib.suppress(UserError):
            is_recorded = self.is_fixed and read_json(self.output / RECORD) == self._record()
            return is_recorded and all(is_whole(self.output / f"{name}.png") for name in self.draws)
        return False

    def _record(self) -> list[dict[str, str]]:
        """The entries of `figures.json`: the file, title and caption of each figure, and the key of the work."""
        captions = captions_of(self.model, self.plan, self.rule.name)
        return [
            {"file": f"{name}.png", "title": TEXTS[name][0], "caption": captions[name], "key": self.key}
            for name in self.draws
        ]

    def _drawn(self, rule: Rule | None = None, columns: int = 1) -> list[Tensor]:
        """Draws `columns` images for each row. Returns them and the views they were drawn from, by depth."""
        numbers = range(columns * len(self.plan.numbers))
        return drawn(self.model, attrs.evolve(self.plan, numbers=numbers, rule=rule or self.plan.rule))

    def _with_draws(self, columns: list[Column], view: Tensor, conditions: Conditions) -> Image.Image:
        """A sheet of the given columns, and of the images drawn from `view` to their right."""
        numbers, given = range(len(view) * DRAWS), Given(1, view)
        plan = attrs.evolve(self.plan, numbers=numbers, conditions=conditions, given=given, draws=DRAWS)
        images = drawn(self.model, plan)[0]
        columns += [("view", view, self.model.specs[1])]
        return labeled([*columns, *((f"draw {k}", images[k::DRAWS], self.model.specs[0]) for k in range(DRAWS))])

    def _views(self) -> Image.Image:
        return self._with_draws([], self._drawn()[1], self.plan.conditions)

    def _given(self) -> Image.Image:
        columns = [("held out", self.heldout, self.model.specs[0])]
        return self._with_draws(
            columns, self.model.with_views(Values({IMAGE: self.heldout}), 1)["view1"], self.of_heldout
        )

    def _reduction(self) -> Image.Image:
        rules = {f"{value:g}": Adjustments(value, min_weight=self.min_weight if value else 0.0) for value in REDUCTIONS}
        if "map" in self.draws:
            rules["map"] = Adjustments(centers=True, min_weight=self.min_weight)
        return labeled([(title, self._drawn(Adjusted(rule))[0], self.model.specs[0]) for title, rule in rules.items()])

    def _map(self) -> Image.Image:
        images = self._drawn(Adjusted(Adjustments(centers=True, min_weight=self.min_weight)), CENTERS)[0]
        return labeled([("", images[k::CENTERS], self.model.specs[0]) for k in range(CENTERS)])

    def _growth(self) -> Image.Image:
        shown = list(zip(self._drawn(), self.model.specs, strict=True))[::-1]
        # The titles have the letter x, because Pillow's default font has no ×.
        return labeled([(f"{spec.height} x {spec.width}", view, spec) for view, spec in shown])

    def _memorization(self) -> Image.Image:
        assert self.training is not None
        samples, heldout = (
            neighbors(self.model, images.to(device_of(self.model)), self.training, self.augment)
            for images in (self._drawn()[0], self.heldout)
        )
        return memorization_sheet(samples, heldout, self.model.specs[0])


def draw_run(run: RunFolder, recipe: Recipe, model: Chain, data: DataSets, accelerator: Accelerator) -> None:
    """Draws the samples and figures of a run with its trained `model`, and none if a factor is not trained.

    Samples and figures of an earlier call are kept if the recipe has `sampling.images` = 0.
    """
    missing = [name for name in recipe.factor_names if name not in run.trained(recipe)]
    if missing:
        logger.info("no samples are drawn yet, because these factors are not trained: %s", ", ".join(missing))
        return
    if not recipe.sampling.images:
        return
    model.eval().to(accelerator.device)
    progress = accelerator.is_main_process
    plan = plan_of_recipe(model, recipe, recipe.sampling.images, usual_conditions(model.condition, data.heldout))
    facts = {**facts_of_model(run, recipe, model), "held-out images": data.heldout.fingerprint}
    samples = Samples(model, plan, recipe.sampling, run.samples, facts, heldout=data.heldout, replace=True)
    samples.do("sampling" if progress else None)
    if rows := recipe.sampling.figure_rows:
        # The figure of nearest training images would read a whole stream, so only `auxar figures` draws it for streams.
        training = None if recipe.data.streaming else data.train
        Figures(run, recipe, model, data, training, rows).do("figures" if progress else None)


def captions_of(model: Chain, plan: Plan, rule: str) -> dict[str, str]:
    """The captions of all figures by name, for images that are drawn by a plan, whose rule has the name `rule`."""
    least, left_out = min_weight_of(plan.rule), ""
    if least and users(model, "min_weight"):
        left_out = f"components of less than {least:g} times the heaviest one's weight are not drawn. "
    words = {
        "draws": DRAWS,
        "seed": plan.seed,
        "how": f"Rule ‘{rule}’ ({plan.rule.meaning}), seed {plan.seed}.",
        "last": LAST if users(model, "centers") else "",
        "of_mixtures": f"Mixture {left_out}" if left_out else "",
        "of_reduced_mixtures": f"Except in column 0, mixture {left_out}" if left_out else "",
        "not_reduced": _unaffected(model, "reduction"),
        "not_centered": _unaffected(model, "centers"),
    }
    return {name: caption.format(**words) for name, (_, caption) in TEXTS.items()}


def _unaffected(model: Chain, option: str) -> str:
    """The sentence of a caption that names the factors whose heads do not use an option; empty if all use it."""
    used = {factor.name for factor in users(model, option)}
    unaffected = [factor for factor in model.factors if factor.name not in used]
    names = ", ".join(factor.name for factor in unaffected)
    return f"Unaffected: {names} ({kinds_of_heads(unaffected)}). " if unaffected else ""


def min_weight_of(rule: Rule) -> float:
    """The `min_weight` of the figures of rules: a rule's own, unless it leaves mixtures as they are."""
    adjustments = rule.adjustments(0)
    narrows = adjustments.min_weight or adjustments.reduction or adjustments.centers
    return adjustments.min_weight if narrows else MIN_WEIGHT


def memorization_sheet(samples: Neighbors, heldout: Neighbors, image: ImageSpec) -> Image.Image:
    """A sheet of samples and, to their right, held-out images, each beside the nearest training images.

    The columns show the images nearest by pixels and, for models with views, by the coarsest view; the name of a row
    gives the distances of its sample and, behind a bar, of its held-out image. Samples are copies of training images
    if they are much nearer to them than held-out images are. Raises `UserError` if there are no images.
    """
    columns, distances = [], []
    for name, few in (("sample", samples), ("held out", heldout)):
        shown = few.images, *(found.images for found in few.nearest)
        titles = name, "nearest by pixel", "nearest by view"
        columns += [(title, each[:NEAREST_ROWS].cpu(), image) for title, each in zip(titles, shown, strict=False)]
        near = zip(*(found.distances[:NEAREST_ROWS].tolist() for found in few.nearest), strict=True)
        distances.append([", ".join(f"{each:.2f}" for each in own) for own in near])
    return labeled(columns, [" | ".join(own) for own in itertools.zip_longest(*distances, fillvalue="-")])
