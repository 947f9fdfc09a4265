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
from auxar.evaluation.nearest import Neighbors, neighbors
from auxar.files import is_file, write_json
from auxar.generation.conditions import Conditions, first_examples, of_examples, usual_conditions
from auxar.generation.samples import draw_views
from auxar.generation.sheets import can_be_shown, labeled, save_png
from auxar.model import Adjusted, Adjustments, Chain, ImageSpec, Rule, Sampler, SampleRequest, device_of
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
    """The figures of a model, with the sampler, settings and images that are used to draw them.

    `rows` is the number of rows of each figure, except that of nearest training images: it has at most `NEAREST_ROWS`
    rows of samples, and as many of held-out images. `heldout` holds at most `rows` held-out images with their
    conditions. Drawn images of a model with a condition have `conditions` in turn, by rows. `flip` says whether
    training images were mirrored. Without `training`, the figure of nearest training images is left out."""

    def __init__(
        self,
        model: Chain,
        sampler: Sampler,
        config: SamplingConfig,
        rows: int,
        heldout: Examples,
        training: ImageSet | None,
        flip: bool,
        conditions: Conditions | None = None,
    ) -> None:
        self.model = model
        self.training = training
        self.flip = flip
        self.sampler = sampler
        self.config = config
        self.rows = rows
        self.heldout = heldout.image.to(torch.int64)
        self.of_heldout = of_examples(model.condition, heldout)
        self.conditions = conditions or Conditions()
        self.specs = model.specs
        self.of_rules = _figures_of_rules(model)
        adjustments = config.draw_rule().adjustments(0)
        narrows = adjustments.min_weight or adjustments.reduction or adjustments.centers
        self.min_weight = adjustments.min_weight if narrows else MIN_WEIGHT
        """The `min_weight` of the figures of rules: that of the recipe, unless its rule leaves mixtures as they are."""
        self.device = device_of(model)

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
                f"Seed {self.config.seed}.",
                self._reduction,
            )
        if "centers" in self.of_rules:
            yield Figure(
                "map",
                "Images drawn by the rule ‘map’",
                "Each pixel is the center of a drawn mixture component, so the images are not samples of the model. "
                f"{self._left_out('Mixture')}{self._unaffected('centers')}Seed {self.config.seed}.",
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
        return f"Rule ‘{self.config.rule.name}’ ({self.config.draw_rule().meaning}), seed {self.config.seed}."

    def _drawn_views(self, rule: Rule, indices: Sequence[int]) -> list[Tensor]:
        """Draws images in batches of `config.batch_size`. Returns them and the views they were drawn from, by depth."""
        parts = []
        for start in range(0, len(indices), self.config.batch_size):
            numbers = tuple(indices[start : start + self.config.batch_size])
            request = self.conditions.given_to(SampleRequest(numbers, self.config.seed, rule), self.device)
            parts.append(draw_views(self.model, request, self.sampler))
        return [torch.cat(view) for view in zip(*parts, strict=True)]

    def _from_view(self, view: Tensor, conditions: Conditions) -> list[Tensor]:
        """Draws `DRAWS` images from each view and its condition. Returns one tensor (len(view), *image.shape) for each
        draw."""
        found = []
        for draw in range(DRAWS):
            parts = []
            for start in range(0, len(view), self.config.batch_size):
                part = view[start : start + self.config.batch_size].to(self.device)
                indices = tuple((start + k) * DRAWS + draw for k in range(len(part)))
                request = conditions.given_to(self.config.request(indices), self.device, DRAWS)
                parts.append(self.model.draw_from(part, request, self.sampler)[0].cpu())
            found.append(torch.cat(parts))
        return found

    def _beside(self, columns: Sequence[tuple[str, Tensor, ImageSpec]]) -> Image.Image:
        """A sheet of titled columns. Columns that are neither gray nor RGB are left out."""
        shown = [column for column in columns if can_be_shown(column[2])]
        return labeled([(images, spec) for _, images, spec in shown], [title for title, _, _ in shown])

    def _with_draws(
        self, columns: list[tuple[str, Tensor, ImageSpec]], view: Tensor, conditions: Conditions
    ) -> Image.Image:
        """A sheet of the given columns, and of the images drawn from `view` to their right."""
        draws = self._from_view(view, conditions)
        return self._beside([*columns, *((f"draw {k}", images, self.specs[0]) for k, images in enumerate(draws))])

    def _views(self) -> Image.Image:
        view = self._drawn_views(self.config.draw_rule(), range(self.rows))[1]
        return self._with_draws([("view", view, self.specs[1])], view, self.conditions)

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
        return self._beside([(t, self._drawn_views(rule, range(self.rows))[0], self.specs[0]) for t, rule in rules])

    def _map(self) -> Image.Image:
        columns = 6
        rule = Adjusted(Adjustments(centers=True, min_weight=self.min_weight))
        images = self._drawn_views(rule, range(self.rows * columns))[0]
        return self._beside([("", images[k::columns], self.specs[0]) for k in range(columns)])

    def _memorization(self) -> Image.Image:
        assert self.training is not None
        drawn = self._drawn_views(self.config.draw_rule(), range(self.rows))[0]
        samples, heldout = (
            neighbors(self.model, images.to(self.device), self.training, flip=self.flip)
            for images in (drawn, self.heldout)
        )
        return memorization_sheet(samples, heldout, self.specs[0])

    def _growth(self) -> Image.Image:
        views = self._drawn_views(self.config.draw_rule(), range(self.rows))
        shown = list(zip(views, self.specs, strict=True))[::-1]
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
    sampler: Sampler,
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
        examples, flip = first_examples(heldout, rows), recipe.training.flip
        conditions = usual_conditions(model.condition, heldout)
        draw_figures(Figures(model, sampler, recipe.sampling, rows, examples, training, flip, conditions), folder)
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
