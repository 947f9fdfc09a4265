"""Measured bits/dim of the recipes that come with auxar: the records of results.json, and the paper's figures."""

from __future__ import annotations

import json
from pathlib import Path

import attrs

from auxar.evaluation.facts import Exactness
from auxar.runs.records import read_record

RESULTS = Path(__file__).with_name("results.json")
"""The file of all measurements, from which the tables and curves of the page on results are made."""
TIGHT = "tight/"
"""Beginning of the names of recipes with restricted decoders."""
PLAIN = "small/table1/plain"
"""The recipe that the other models of table 1 in small are compared with."""

PAPER_TABLE_1 = (
    ("Deep Diffusion (Sohl-Dickstein et al., 2015)", "≤ 5.40"),
    ("NICE (Dinh et al., 2015)", "4.48"),
    ("DRAW (Gregor et al., 2015)", "≤ 4.13"),
    ("Deep GMMs (van den Oord & Schrauwen, 2014)", "4.00"),
    ("Conv Draw (Gregor et al., 2016)", "≤ 3.58"),
    ("Real NVP (Dinh et al., 2017)", "3.49"),
    ("Matnet + AR (Bachman, 2016)", "≤ 3.24"),
    ("PixelCNN (van den Oord et al., 2016b)", "3.14"),
    ("VAE with IAF (Kingma et al., 2016)", "≤ 3.11"),
    ("Gated PixelCNN (van den Oord et al., 2016a)", "3.03"),
    ("PixelRNN (van den Oord et al., 2016b)", "3.00"),
    ("Grayscale PixelCNN (this paper)", "≤ 2.98"),
    ("DenseNet VLAE (Chen et al., 2017)", "≤ 2.95"),
    ("PixelCNN++ (Salimans et al., 2017)", "2.92"),
)
"""Rows of the paper's table 1, in its order and words: the model, and its bits/dim on the test set of CIFAR-10."""
PAPER_TABLE_2 = {8: "4.58", 16: "4.30", 32: "3.33", 64: "2.61", 128: "1.52"}
"""The paper's table 2: bits/dim on the test images of CelebA, by resolution."""
PAPER_SECONDS = {"pyramid": 0.004, "pixelcnn++": 0.05}
"""Section 4.2: approximate seconds to generate one pixel on an NVidia TitanX. Only PixelCNN++ caches values there."""


@attrs.frozen
class MeasuredFactor:
    """The held-out figures of one factor of a model in bits/dim, as means over its seeds."""

    factor: str
    """Name of the factor, `stage0` … or `prior`."""
    term: str
    """The term of the model, such as `p(16×16×3 | 8×8×3)`."""
    height: int
    """Height of the factor's image."""
    steps: int
    """Number of training steps of the evaluated weights; the largest of all seeds."""
    seconds: float | None
    """Training time in seconds; None if it is unknown."""
    bits_per_dim: float | None = None
    """Bits for each sub-pixel of the factor's image; None if only the cumulative figures are known."""
    error: float | None = None
    """Standard error of `bits_per_dim` over images."""
    bits_per_dim_of_image: float | None = None
    """Bits of the factor for each sub-pixel of the model's image; None if only the cumulative figures are known."""
    cumulative: float | None = None
    """Bits of this factor and all coarser ones for each sub-pixel of this factor's image; None if one is missing."""
    cumulative_error: float | None = None
    """Standard error of `cumulative` over images."""
    wasted: float | None = None
    """The part of `bits_per_dim` that a free decoder spends on images with other views."""


@attrs.frozen
class MeasuredModel:
    """The held-out figures of the model of a recipe, as means over its seeds."""

    recipe: str
    """Name of the recipe."""
    command: str
    """The command that trains the model."""
    machine: str
    """Kind of machine that trained it."""
    networks: int
    """Version of the networks that the weights belong to."""
    kind: Exactness
    """Whether the bits/dim are exact or a bound."""
    seeds: list[int]
    """The values of `training.seed`."""
    training_images: int
    """Number of training images."""
    heldout_images: int
    """Number of held-out images that were evaluated."""
    factors: list[MeasuredFactor]
    """The trained factors, from the image to the prior."""
    bits_per_dim: float | None = None
    """Bits/dim of the model; None if one of its factors is not trained."""
    error: float | None = None
    """Standard error of `bits_per_dim` over images."""
    deviation: float | None = None
    """Standard deviation of the bits/dim over seeds; None for a single seed."""

    def at(self, height: int) -> MeasuredFactor | None:
        """Returns the factor whose image has the given height; None if it is not trained."""
        return next((factor for factor in self.factors if factor.height == height), None)

    def named(self, name: str) -> MeasuredFactor | None:
        """Returns the factor of the given name; None if it is not trained."""
        return next((factor for factor in self.factors if factor.factor == name), None)


@attrs.frozen
class Difference:
    """Bits/dim of one recipe minus those of another on the same held-out images, as a mean over common seeds."""

    recipe: str
    baseline: str
    """The recipe that is subtracted."""
    factor: str | None
    """The factor that is compared, in bits/dim of its own image; None for whole models."""
    bits_per_dim: float
    error: float
    """Standard error over images of the mean difference."""
    deviation: float | None
    """Standard deviation of the difference over seeds; None for a single seed."""


@attrs.frozen
class TrainingCurve:
    """Bits/dim of a factor's own image over the steps of its training, as means over the seeds of a recipe."""

    recipe: str
    factor: str
    term: str
    training: list[tuple[float, float]]
    """Steps, and the mean bits/dim of the training batches around them."""
    validation: list[tuple[float, float]]
    """Steps, and the bits/dim of validation images after them; empty if there are no validation images."""


@attrs.frozen
class Sheet:
    """A committed picture of drawn images, like one of the paper's figures 2 to 6. It shows no image of the data."""

    recipe: str
    """The recipe of the model that drew the images."""
    figure: int
    """Number of the paper's figure."""
    file: str
    """Name of the file in docs/pictures/results/."""
    title: str
    caption: str


@attrs.frozen
class Measurements:
    """All measurements."""

    models: dict[str, MeasuredModel] = attrs.Factory(dict)
    """The measured models, each under the name of its recipe."""
    differences: list[Difference] = attrs.Factory(list)
    curves: list[TrainingCurve] = attrs.Factory(list)
    sheets: list[Sheet] = attrs.Factory(list)

    def difference(self, recipe: str, baseline: str, factor: str | None = None) -> Difference | None:
        """Returns the difference of two recipes, as a whole or in one factor; None if it was not measured."""
        return next(
            (
                found
                for found in self.differences
                if (found.recipe, found.baseline, found.factor) == (recipe, baseline, factor)
            ),
            None,
        )

    def curve(self, recipe: str, factor: str) -> TrainingCurve | None:
        """Returns the curve of a factor of a recipe; None if there is none."""
        return next((found for found in self.curves if (found.recipe, found.factor) == (recipe, factor)), None)

    def updated(self, new: Measurements) -> Measurements:
        """Returns the measurements with those of `new` in place of earlier ones of the same recipes."""
        models = new.models.keys()
        return Measurements(
            self.models | new.models,
            [old for old in self.differences if not {old.recipe, old.baseline} & models] + new.differences,
            [old for old in self.curves if old.recipe not in models] + new.curves,
            [old for old in self.sheets if old.recipe not in {sheet.recipe for sheet in new.sheets}] + new.sheets,
        )


def read_measurements(path: Path = RESULTS) -> Measurements:
    """Reads the file of measurements."""
    return read_record(path, Measurements)


def write_measurements(measurements: Measurements, path: Path = RESULTS) -> None:
    """Writes the file of measurements, each model, difference and curve in a line of its own."""
    models = ",\n".join(f"{json.dumps(name)}: {_line(model)}" for name, model in sorted(measurements.models.items()))
    parts = [f'"models": {{\n{models}\n}}']
    for name in ("differences", "curves", "sheets"):
        lines = ",\n".join(map(_line, getattr(measurements, name)))
        parts.append(f'"{name}": [\n{lines}\n]')
    joined = ",\n".join(parts)
    path.write_text(f"{{{joined}}}\n", encoding="utf-8")


def _line(record: MeasuredModel | Difference | TrainingCurve | Sheet) -> str:
    return json.dumps(attrs.asdict(record), ensure_ascii=False)
