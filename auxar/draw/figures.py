"""Figures like the paper's figures 2 to 6 for any run: sheets with captions that say how they were drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor

from auxar.data import Examples, ImageSet
from auxar.draw.conditions import Conditions, first_examples, of_examples, usual_conditions
from auxar.draw.drawing import drawn
from auxar.draw.plan import Given, Plan, plan_of_recipe
from auxar.draw.sheets import can_be_shown, labeled, save_png
from auxar.evaluation.nearest import Neighbors, neighbors
from auxar.files import is_file, write_json
from auxar.model import Adjusted, Adjustments, Chain, ImageSpec, Rule, device_of
from auxar.model.rule_effects import kinds_of_heads, users
from auxar.progress import progress_bar
from auxar.recipe import Recipe, SamplingConfig

DRAWS = 4
"""The number of images that are drawn from each view and shown side by side."""
REDUCTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Values of `reduction`, one for each column of the figure `reduction` (paper, figure 4)."""
FILES = {"reduction": "reduction.png", "centers": "map.png"}
"""The files of the figures of adjustments, by the names of the adjustments."""
MIN_WEIGHT = 0.05
"""The `min_weight` of the figures of rules, if the recipe's rule leaves mixtures as they are."""
NEAREST_ROWS = 8
"""Maximum number of samples, and of held-out images, in the figure of nearest training images."""


@attrs.frozen
class Figure:
    """One figure, which is a sheet of images with a title and a caption."""

    name: str
    """Name of the file, without `.png`."""
    title: str
    caption: str
    """One or more sentences that say what the figure shows and how it was drawn."""
    draw: Callable[[], Image.Image]
    """The function that draws the sheet."""


class Figures:
    """The figures of a model.

    `plan` has the rule, the noise and the conditions of drawn images, and a number for each row. `config` names the
    rule in captions. Each figure has a row for each number, except the figure of nearest training images: it has at
    most `NEAREST_ROWS` rows of samples, and as many of held-out images. `heldout` holds as many held-out images, with
    their conditions, or fewer. `flip` says whether training images were mirrored. Without `training`, the figure of
    nearest training images is left out.
    """

    def __init__(
        self,
        model: Chain,
        plan: Plan,
        config: SamplingConfig,
        heldout: Examples,
        training: ImageSet | None,
        flip: bool,
    ) -> None:
        self.model = model
        self.plan = plan
        self.config = config
        self.heldout = heldout.image.to(torch.int64)
        self.of_heldout = of_examples(model.condition, heldout)
        self.training = training
        self.flip = flip
        self.specs = model.specs
        self.of_rules = _figures_of_rules(model)
        adjustments = plan.rule.adjustments(0)
        narrows = adjustments.min_weight or adjustments.reduction or adjustments.centers
        self.min_weight = adjustments.min_weight if narrows else MIN_WEIGHT
        """The `min_weight` of the figures of rules: that of the plan, unless its rule leaves mixtures as they are."""

    def all(self) -> Iterator[Figure]:
        """Yields the figures of the model.

        Figures of views are left out if the model has no views, and figures of a drawing rule if no head uses the rule.
        """
        if len(self.specs) > 1:
            yield Figure(
                "views",
                "Views, and images drawn from them",
                f"Each row shows one drawn view, and {DRAWS} images drawn given this view. {self._drawn()}",
                self._views,
            )
            yield Figure(
                "given",
                "Images drawn from the view of a held-out image",
                f"Each row shows one held-out image, its view, and {DRAWS} images drawn given this view. "
                f"{self._drawn()}",
                self._given,
            )
        if "reduction" in self.of_rules:
            last = (
                "The last column is drawn by the rule ‘map’, which takes the center of a drawn mixture component. "
                if "centers" in self.of_rules
                else ""
            )
            yield Figure(
                "reduction",
                "From the model's distribution to centers of components",
                "Each row shows one image, drawn with the same noise in every column. The number above a column is "
                f"subtracted from the predicted log-scales before drawing (0: exact samples of the model). {last}"
                f"{self._left_out('Except in column 0, mixture')}{self._unaffected('reduction')}"
                f"Seed {self.plan.seed}.",
                self._reduction,
            )
        if "centers" in self.of_rules:
            yield Figure(
                "map",
                "Images drawn by the rule ‘map’",
                "Each pixel is the center of a drawn mixture component, so the images are not samples of the model. "
                f"{self._left_out('Mixture')}{self._unaffected('centers')}Seed {self.plan.seed}.",
                self._map,
            )
        if len(self.specs) > 1:
            yield Figure(
                "growth",
                "From coarse to fine",
                "Each row shows one image from coarse to fine: its coarsest view, then each finer image, drawn given "
                f"the one to its left. {self._drawn()}",
                self._growth,
            )
        if self.training is not None:
            yield Figure(
                "memorization",
                "Nearest training images",
                "Each row shows a sampled image or, further down, a held-out image, and the training images nearest to "
                "it, by pixels and, for models with views, by the coarsest view. The numbers are distances: root mean "
                "square differences of values. If the model copied training images, samples would be much nearer to "
                f"them than held-out images are. {self._drawn()}",
                self._memorization,
            )

    def _unaffected(self, option: str) -> str:
        """The sentence of a caption that names the factors whose heads do not use an option; empty if all use it."""
        used = users(self.model, option)
        unaffected = [factor for factor in self.model.factors if factor.name not in {other.name for other in used}]
        names = ", ".join(factor.name for factor in unaffected)
        return f"Unaffected: {names} ({kinds_of_heads(unaffected)}). " if unaffected else ""

    def _left_out(self, beginning: str) -> str:
        """The sentence of a caption that says which components the rules leave out; empty if they leave out none."""
        if not self.min_weight or not users(self.model, "min_weight"):
            return ""
        return (
            f"{beginning} components of less than {self.min_weight:g} times the heaviest one's weight are not drawn. "
        )

    def _drawn(self) -> str:
        """The sentence of a caption that names the rule and the seed."""
        return f"Rule ‘{self.config.rule.name}’ ({self.plan.rule.meaning}), seed {self.plan.seed}."

    def _drawn_views(self, rule: Rule | None = None, columns: int = 1) -> list[Tensor]:
        """Draws `columns` images for each row. Returns them and the views they were drawn from, by depth."""
        numbers = range(columns * len(self.plan.numbers))
        return drawn(self.model, attrs.evolve(self.plan, numbers=numbers, rule=rule or self.plan.rule))

    def _beside(self, columns: Sequence[tuple[str, Tensor, ImageSpec]]) -> Image.Image:
        """A sheet of titled columns. Columns that are neither gray nor RGB are left out."""
        shown = [column for column in columns if can_be_shown(column[2])]
        return labeled([(images, spec) for _, images, spec in shown], [title for title, _, _ in shown])

    def _with_draws(
        self, columns: list[tuple[str, Tensor, ImageSpec]], view: Tensor, conditions: Conditions
    ) -> Image.Image:
        """A sheet of the given columns, and of the images drawn from `view` to their right."""
        numbers, given = range(len(view) * DRAWS), Given(1, view)
        plan = attrs.evolve(self.plan, numbers=numbers, conditions=conditions, given=given, draws=DRAWS)
        images = drawn(self.model, plan)[0]
        return self._beside([*columns, *((f"draw {k}", images[k::DRAWS], self.specs[0]) for k in range(DRAWS))])

    def _views(self) -> Image.Image:
        view = self._drawn_views()[1]
        return self._with_draws([("view", view, self.specs[1])], view, self.plan.conditions)

    def _given(self) -> Image.Image:
        view = self.model.views(self.heldout, 1)[1]
        columns = [("held out", self.heldout, self.specs[0]), ("view", view, self.specs[1])]
        return self._with_draws(columns, view, self.of_heldout)

    def _reduction(self) -> Image.Image:
        rules = [
            (f"{value:g}", Adjusted(Adjustments(value, min_weight=self.min_weight if value else 0.0)))
            for value in REDUCTIONS
        ]
        if "centers" in self.of_rules:
            rules.append(("map", Adjusted(Adjustments(centers=True, min_weight=self.min_weight))))
        return self._beside([(t, self._drawn_views(rule)[0], self.specs[0]) for t, rule in rules])

    def _map(self) -> Image.Image:
        columns = 6
        rule = Adjusted(Adjustments(centers=True, min_weight=self.min_weight))
        images = self._drawn_views(rule, columns)[0]
        return self._beside([("", images[k::columns], self.specs[0]) for k in range(columns)])

    def _memorization(self) -> Image.Image:
        assert self.training is not None
        samples, heldout = (
            neighbors(self.model, images.to(device_of(self.model)), self.training, flip=self.flip)
            for images in (self._drawn_views()[0], self.heldout)
        )
        return memorization_sheet(samples, heldout, self.specs[0])

    def _growth(self) -> Image.Image:
        shown = list(zip(self._drawn_views(), self.specs, strict=True))[::-1]
        # The titles have the letter x, because Pillow's default font has no ×.
        return self._beside([(f"{spec.height} x {spec.width}", view, spec) for view, spec in shown])


def _figures_of_rules(model: Chain) -> list[str]:
    """The adjustments that figures show, without those that change nothing in this model."""
    return [name for name in ("reduction", "centers") if users(model, name)]


def are_drawn(folder: Path, recipe: Recipe, model: Chain) -> bool:
    """Whether the folder holds the files of all figures that a run of the recipe draws with its model."""
    names = ["figures.json", *(FILES[name] for name in _figures_of_rules(model))]
    if recipe.stage:
        names += ["views.png", "given.png", "growth.png"]
    if not recipe.data.streaming:
        names.append("memorization.png")
    return all(is_file(folder / name) for name in names)


@torch.no_grad()
def draw_figures(figures: Figures, folder: Path) -> None:
    """Draws all figures into `folder`, and saves each when it is finished.

    After each figure, `figures.json` is written with the file names, titles and captions of the figures so far.
    """
    entries = []
    for figure in progress_bar(list(figures.all()), desc="figures", unit="figure"):
        save_png(figure.draw(), folder / f"{figure.name}.png")
        entries.append({"file": f"{figure.name}.png", "title": figure.title, "caption": figure.caption})
        write_json(folder / "figures.json", entries)


def figures_to_folder(
    model: Chain,
    recipe: Recipe,
    rows: int,
    heldout: ImageSet,
    training: ImageSet | None,
    folder: Path,
    accelerator: Accelerator,
) -> None:
    """Draws the figures of a recipe's model, with `rows` rows each. The main process draws; the other processes wait.

    Without `training`, the figure of nearest training images is left out.
    """
    if accelerator.is_main_process:
        examples = first_examples(heldout, rows)
        plan = plan_of_recipe(model, recipe, rows, usual_conditions(model.condition, heldout))
        draw_figures(Figures(model, plan, recipe.sampling, examples, training, recipe.training.flip), folder)
    accelerator.wait_for_everyone()


def memorization_sheet(samples: Neighbors, heldout: Neighbors, image: ImageSpec) -> Image.Image:
    """A sheet of samples and, below them, held-out images, each beside the nearest training images.

    The columns show the images nearest by pixels and, for models with views, by the coarsest view; the name of a row
    gives its distances. Samples are copies of training images if they are much nearer to them than held-out images are.
    Raises `UserError` if there are no images.
    """
    shown = {"sample": samples, "held out": heldout}
    parts = [[few.images, *(found.images for found in few.nearest)] for few in shown.values()]
    columns = [torch.cat([part[:NEAREST_ROWS].cpu() for part in column]) for column in zip(*parts, strict=True)]
    names = [
        f"{what} {row}: " + ", ".join(f"{found.distances[row]:.2f}" for found in few.nearest)
        for what, few in shown.items()
        for row in range(len(few.images[:NEAREST_ROWS]))
    ]
    titles = ("image", "nearest by pixel", "nearest by view")
    return labeled([(column, image) for column in columns], titles[: len(columns)], names)
