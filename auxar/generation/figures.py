"""The paper's figures 2 to 6, of any run: sheets with captions that say how they were drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import attrs
import torch
from accelerate import Accelerator
from PIL import Image
from torch import Tensor
from tqdm import tqdm

from auxar.data import ImageSet
from auxar.evaluation.nearest import Neighbors, neighbors
from auxar.files import write_json
from auxar.generation.samples import draw_views, first_images
from auxar.generation.sheets import can_be_shown, labeled, save_png
from auxar.interfaces import DrawRule, ImageSpec, Prior, Sampler, SampleRequest
from auxar.recipe import Recipe, SamplingConfig

DRAWS = 4
"""Draws side by side of one view."""
REDUCTIONS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""What is subtracted from the log-scales in the sweep (paper, figure 4)."""
NEAREST_ROWS = 8
"""The figure of nearest training images shows the first so many samples, and as many held-out images."""


@attrs.frozen
class Figure:
    """One sheet."""

    name: str
    title: str
    caption: str
    draw: Callable[[], Image.Image]


class Figures:
    """The figures of a model, and the sampler, settings and images to draw them with.

    `heldout` are images (b, *model.image.shape), one for each row; `flip` is whether training saw images mirrored.
    Without `training`, the figure of nearest training images is left out.
    """

    def __init__(
        self,
        model: Prior,
        sampler: Sampler,
        config: SamplingConfig,
        rows: int,
        heldout: Tensor,
        training: ImageSet | None,
        flip: bool,
    ) -> None:
        self.model = model
        self.training = training
        self.flip = flip
        self.sampler = sampler
        self.config = config
        self.rows = rows
        self.heldout = heldout
        self.specs = model.specs
        self.device = next(model.parameters()).device

    def all(self) -> Iterator[Figure]:
        """The figures that the model has: those of views only where there are any."""
        if len(self.specs) > 1:
            yield Figure(
                "views",
                "Views, and images drawn from them",
                f"A row is one drawn view X̂ and {DRAWS} images drawn given it. {self._drawn()}",
                self._views,
            )
            yield Figure(
                "given",
                "Images drawn from the view of a held-out image",
                f"A row is one held-out image, its view, and {DRAWS} images drawn given the view. {self._drawn()}",
                self._given,
            )
        yield Figure(
            "reduction",
            "From the model's distribution to its modes",
            "A row is one image, its noise the same throughout: drawn with so much subtracted from the predicted "
            f"log-scales (0: exact samples of the model), and on the right by the rule ‘map’. Seed {self.config.seed}.",
            self._reduction,
        )
        yield Figure(
            "map",
            "Drawn by the rule ‘map’",
            f"{DrawRule('map').meaning.capitalize()}. Seed {self.config.seed}.",
            self._map,
        )
        if len(self.specs) > 1:
            yield Figure(
                "growth",
                "From coarse to fine",
                f"A row is one image: its coarsest view, and each finer image given the one before. {self._drawn()}",
                self._growth,
            )
        if self.training is not None:
            yield Figure(
                "memorization",
                "Nearest training images",
                "Each row shows a sampled image or, further down, a held-out image, and the training images nearest to "
                "it. If the model copied training images, samples would be much nearer to them than held-out images "
                f"are. {self._drawn()}",
                self._memorization,
            )

    def _drawn(self) -> str:
        rule = self.config.draw_rule()
        return f"Rule ‘{rule.name}’ ({rule.meaning}), seed {self.config.seed}."

    def _drawn_views(self, rule: DrawRule, indices: Sequence[int]) -> list[Tensor]:
        """The drawn images and their drawn views, by depth, `config.batch_size` images at once."""
        parts = []
        for start in range(0, len(indices), self.config.batch_size):
            numbers = tuple(indices[start : start + self.config.batch_size])
            request = SampleRequest(numbers, self.config.seed, rule)
            parts.append(draw_views(self.model, request, self.sampler))
        return [torch.cat(view) for view in zip(*parts, strict=True)]

    def _from_view(self, view: Tensor) -> list[Tensor]:
        """DRAWS images of each view, draw by draw."""
        found = []
        for draw in range(DRAWS):
            parts = []
            for start in range(0, len(view), self.config.batch_size):
                part = view[start : start + self.config.batch_size].to(self.device)
                indices = tuple((start + k) * DRAWS + draw for k in range(len(part)))
                request = self.config.request(indices)
                parts.append(self.model.draw_from(part, request, self.sampler)[0].cpu())
            found.append(torch.cat(parts))
        return found

    def _beside(self, columns: Sequence[tuple[str, Tensor, ImageSpec]]) -> Image.Image:
        shown = [column for column in columns if can_be_shown(column[2])]
        return labeled([(images, spec) for _, images, spec in shown], [title for title, _, _ in shown])

    def _with_draws(self, columns: list[tuple[str, Tensor, ImageSpec]], view: Tensor) -> Image.Image:
        draws = self._from_view(view)
        return self._beside([*columns, *((f"draw {k}", images, self.specs[0]) for k, images in enumerate(draws))])

    def _views(self) -> Image.Image:
        view = self._drawn_views(self.config.draw_rule(), range(self.rows))[1]
        return self._with_draws([("view", view, self.specs[1])], view)

    def _given(self) -> Image.Image:
        view = self.model.views(self.heldout, 1)[1]
        return self._with_draws([("held out", self.heldout, self.specs[0]), ("view", view, self.specs[1])], view)

    def _reduction(self) -> Image.Image:
        rules = [(f"{value:g}", DrawRule("reduced", reduction=value)) for value in REDUCTIONS]
        rules.append(("map", DrawRule("map")))
        return self._beside([(t, self._drawn_views(rule, range(self.rows))[0], self.specs[0]) for t, rule in rules])

    def _map(self) -> Image.Image:
        columns = 6
        images = self._drawn_views(DrawRule("map"), range(self.rows * columns))[0]
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
        # Pillow's own font has no ×.
        return self._beside([(f"{spec.height} x {spec.width}", view, spec) for view, spec in shown])


def are_drawn(folder: Path, recipe: Recipe) -> bool:
    """Whether the folder holds all figures that a run of the recipe draws."""
    names = ["figures.json", "reduction.png", "map.png"]
    if recipe.stage:
        names += ["views.png", "given.png", "growth.png"]
    if not recipe.data.streaming:
        names.append("memorization.png")
    return all((folder / name).is_file() for name in names)


@torch.no_grad()
def draw_figures(figures: Figures, folder: Path) -> None:
    """Draws all figures into `folder`, each as it is finished, and what they are into figures.json."""
    entries = []
    for figure in tqdm(list(figures.all()), desc="figures", unit="figure"):
        save_png(figure.draw(), folder / f"{figure.name}.png")
        entries.append({"file": f"{figure.name}.png", "title": figure.title, "caption": figure.caption})
        write_json(folder / "figures.json", entries)


def figures_to_folder(
    model: Prior,
    sampler: Sampler,
    recipe: Recipe,
    rows: int,
    heldout: ImageSet,
    training: ImageSet | None,
    folder: Path,
    accelerator: Accelerator,
) -> None:
    """Draws the figures of a recipe's model, `rows` images in each, in the main process; the others wait for it.

    Without `training`, the figure of nearest training images is left out.
    """
    if accelerator.is_main_process:
        images = first_images(heldout, rows)
        draw_figures(Figures(model, sampler, recipe.sampling, rows, images, training, recipe.training.flip), folder)
    accelerator.wait_for_everyone()


def memorization_sheet(samples: Neighbors, heldout: Neighbors, image: ImageSpec) -> Image.Image:
    """Samples and, below them, held-out images, each beside the training image nearest by pixels and by coarsest view.

    A distance alone says nothing: samples are copies if they are much nearer to training images than real images are
    that the model has not seen. A row's name gives both distances. Raises `UserError` if there is no image at all.
    """
    shown = {"sample": samples, "held out": heldout}
    parts = [[few.images, *(found.images for found in few.nearest)] for few in shown.values()]
    columns = [torch.cat([part[:NEAREST_ROWS].cpu() for part in column]) for column in zip(*parts, strict=True)]
    names = [
        f"{what} {row}: " + ", ".join(f"{found.distances[row]:.2f}" for found in few.nearest)
        for what, few in shown.items()
        for row in range(len(few.images[:NEAREST_ROWS]))
    ]
    titles = ("image", "nearest: pixels", "nearest: coarse")
    return labeled([(column, image) for column in columns], titles[: len(columns)], names)
