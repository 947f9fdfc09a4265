"""Recipes: the frozen classes behind the TOML, one field per key, each with its default and what it may be."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
from attrs.validators import ge, le, lt, optional

from auxar.errors import shown
from auxar.interfaces import RULES, DrawRule, ImageSpec, SampleRequest, at_most, positive
from auxar.structuring import NO_KEY

Table = Mapping[str, Any]
MOST_STAGES = 64
MOST_IMAGES = 2**20
MOST_EPOCHS = 10**6
MOST_WORKERS = 256
LONGEST_PATH = 1000
LONGEST_PATH_PART = 255


def _fraction(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if not 0 < value < 1:
        raise ValueError(f"{attribute.name} must lie between 0 and 1, got {value!r}")


def _below_one(instance: object, attribute: attrs.Attribute[Any], values: Sequence[float]) -> None:
    if not all(0 <= value < 1 for value in values):
        raise ValueError(f"{attribute.name} must be at least 0 and less than 1, got {list(values)}")


def _one_of(*choices: str) -> Any:
    def check(instance: object, attribute: attrs.Attribute[Any], value: str) -> None:
        if value not in choices:
            raise ValueError(f"{attribute.name} must be one of {', '.join(choices)}, got {shown(value)}")

    return check


def _integer(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    # TOML's values were checked already; Python's may be of any type.
    if type(value) is not int or not -(2**63) <= value < 2**63:
        raise ValueError(f"{attribute.name} must be an integer of 64 bits, got {shown(value)}")


def _finite(instance: object, attribute: attrs.Attribute[Any], value: float) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not -math.inf < value < math.inf:
        raise ValueError(f"{attribute.name} must be a finite number, got {shown(value)}")


def _names_of_files(instance: object, attribute: attrs.Attribute[Any], names: Sequence[str]) -> None:
    for name in names:
        # What the file system would refuse, each in its own way.
        fits = name.isprintable() and len(name) <= LONGEST_PATH
        if not fits or max(map(len, name.encode().split(b"/"))) > LONGEST_PATH_PART:
            raise ValueError(f"{attribute.name} must be names of files, got {shown(name)}")


@attrs.frozen
class Crop:
    """Margins cut off every image before anything else, in pixels."""

    left: int = attrs.field(default=0, validator=ge(0))
    right: int = attrs.field(default=0, validator=ge(0))
    top: int = attrs.field(default=0, validator=ge(0))
    bottom: int = attrs.field(default=0, validator=ge(0))


@attrs.frozen
class Split:
    """A random division of one set of images into training and held-out ones."""

    train: float = attrs.field(default=0.95, validator=_fraction)
    """Share of the images that are for training."""
    seed: int = 0


@attrs.frozen
class DataConfig:
    """[data]: where the images are and how they are brought to the recipe's [image]."""

    path: str = attrs.field(validator=attrs.validators.min_len(1))
    """A registered data set, a folder of images, or anything `datasets.load_dataset` takes."""
    config: str | None = None
    """Name of the data set's configuration, for sets that have several."""
    train: str = "train"
    """Name of the data set's split that is trained on."""
    heldout: str | None = None
    """Name of the data set's split that is held out. Without it, `split` divides the training split."""
    split: Split = attrs.field(factory=Split)
    column: str | None = None
    """The column that holds the images; found by its type when not named."""
    crop: Crop = attrs.field(factory=Crop)
    resize: str = attrs.field(default="none", validator=_one_of("none", "cover", "stretch"))
    """How an image of another size is brought to [image]: not at all (an error), scaled until it covers the size and
    cut about its center, or stretched to it."""
    broken: str = attrs.field(default="error", validator=_one_of("error", "skip"))
    """What an image that cannot be read does: end the run, naming it, or be skipped and counted."""
    limit: int | None = attrs.field(default=None, validator=optional(positive))
    """Use the first so many images only."""
    streaming: bool = False
    """Read images as they are needed, for sets larger than the disk."""
    shuffle_buffer: int = attrs.field(default=10_000, validator=positive)
    """Images held in memory to shuffle a stream."""
    workers: int = attrs.field(default=0, validator=[ge(0), at_most(MOST_WORKERS)])
    """Processes that prepare images beside training, 256 at most; 0 prepares them in the training process."""


@attrs.frozen
class ComponentChoice:
    """A component by name, with the options that its plugin defines."""

    name: str
    options: Table = attrs.field(factory=dict)


@attrs.frozen
class Stage:
    """[[stage]]: one step from an image to its view, p(X | X̂) with X̂ = ψ(X)."""

    view: ComponentChoice
    """ψ: what X̂ is of the image."""
    embedding: ComponentChoice
    """f_w: what the decoder learns of the view."""
    decoder: ComponentChoice
    """p(X | X̂), given the embedding's features."""
    support: str = attrs.field(default="free", validator=_one_of("free", "restricted"))
    """Which images p(X | X̂) gives probability to: free (any image, so that bits/dim are a bound, as in the paper), or
    restricted (images whose view is X̂, so that they are exact)."""
    repeat: int = attrs.field(default=1, validator=[positive, at_most(MOST_STAGES)])
    """The stage so many times in a row, with networks of its own each time; all stages together are 64 at most."""


@attrs.frozen
class TrainingConfig:
    """[training]: how a factor is trained. `[training.factor.NAME]` overrides any key for one factor."""

    steps: int | None = attrs.field(default=None, validator=optional(ge(0)))
    """Optimizer steps. Exactly one of `steps` and `epochs` is given."""
    epochs: float | None = attrs.field(default=None, validator=optional([positive, at_most(MOST_EPOCHS)]))
    """Passes over the training images, a million at most."""
    batch_size: int = attrs.field(default=16, validator=[positive, at_most(MOST_IMAGES)])
    """Images per optimizer step, over all processes and accumulated parts together: 1 … 2^20."""
    accumulate: int = attrs.field(default=1, validator=positive)
    """Parts a process's share of the batch is computed in, to save memory."""
    learning_rate: float = attrs.field(default=1e-3, validator=positive)
    """Adam's, at the first step."""
    decay: float = attrs.field(default=1.0, validator=[positive, le(1.0)])
    """Factor on the learning rate after every step."""
    betas: tuple[float, float] = attrs.field(default=(0.9, 0.999), validator=_below_one)
    """Adam's decay rates of the first and second moment."""
    clip: float | None = attrs.field(default=None, validator=optional(positive))
    """Largest norm of the gradient of the loss in bits/dim; larger ones are scaled down."""
    ema: float = attrs.field(default=0.9995, validator=[ge(0.0), lt(1.0)])
    """Decay of the average of weights that evaluation and sampling use; 0 uses the last weights."""
    flip: bool = False
    """Mirror half of the training images left to right, at random."""
    precision: str = attrs.field(default="float32", validator=_one_of("float32", "bf16"))
    """bf16 computes convolutions in bfloat16 and keeps weights and likelihoods in float32."""
    seed: int = 0
    """Decides on initial weights, the order of images and dropout's noise."""
    initialization_images: int = attrs.field(default=64, validator=[positive, at_most(MOST_IMAGES)])
    """Images of the batch for data-dependent initialization, 1 … 2^20."""
    checkpoint_every: int = attrs.field(default=500, validator=positive)
    """Steps between checkpoints."""
    keep_checkpoints: int = attrs.field(default=2, validator=positive)
    """The newest so many are kept; if one turns out to be damaged, training goes on from the one before."""
    log_every: int = attrs.field(default=20, validator=positive)
    """Steps between lines of metrics."""
    trackers: tuple[str, ...] = ()
    """Experiment trackers by the names that Accelerate's `log_with` takes."""
    nonfinite: str = attrs.field(default="stop", validator=_one_of("stop", "skip"))
    """What a loss or gradient that is not finite does: stop training, or skip the step and count it."""
    parallel: str = attrs.field(default="batch", validator=_one_of("batch", "factors"))
    """What several processes share: every batch of one factor after the other, or the factors, one at a time each."""

    def __attrs_post_init__(self) -> None:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("exactly one of steps and epochs must be given")

    def total_steps(self, images: int) -> int:
        """Optimizer steps in all, for a training set of `images` images."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * images / self.batch_size)


@attrs.frozen
class EvaluationConfig:
    """[evaluation]: what bits/dim are computed on."""

    batch_size: int = attrs.field(default=16, validator=[positive, at_most(MOST_IMAGES)])
    """Images at once, 1 … 2^20; figures do not depend on it."""
    heldout_images: int | None = attrs.field(default=None, validator=optional(positive))
    """The first so many held-out images only; all without it."""
    train_images: int = attrs.field(default=200, validator=ge(0))
    """The first so many training images, to compare with the held-out ones; 0 for none."""


@attrs.frozen
class SamplingConfig:
    """[sampling]: the images drawn at the end of a run."""

    images: int = attrs.field(default=16, validator=[_integer, ge(0)])
    """How many are drawn."""
    rule: str = attrs.field(default="ancestral", validator=_one_of(*RULES))
    """How a value is drawn from its distribution: ancestral (exact samples of the model), reduced or map."""
    reduction: float = attrs.field(default=0.0, validator=[_finite, ge(0.0)])
    """For the rule 'reduced': constant subtracted from the predicted log-scales."""
    temperature: float = attrs.field(default=1.0, validator=[_finite, positive])
    """For softmax: divides the logits."""
    batch_size: int = attrs.field(default=16, validator=[_integer, positive, at_most(MOST_IMAGES)])
    """Images drawn at once, 1 … 2^20."""
    seed: int = attrs.field(default=0, validator=_integer)
    """Seed of the noise: an image is a function of seed and number."""
    sampler: ComponentChoice = attrs.field(factory=lambda: ComponentChoice("auto"))
    """The sampler; `auto` chooses the fastest that the network allows."""
    figure_rows: int = attrs.field(default=6, validator=[_integer, ge(0), at_most(MOST_IMAGES)])
    """Rows of each of the paper's figures that a run draws for its report; 0 draws no figures."""

    def __attrs_post_init__(self) -> None:
        self.draw_rule()

    def request(self, numbers: Sequence[int]) -> SampleRequest:
        """The request for images of these numbers, drawn freely."""
        return SampleRequest(tuple(numbers), self.seed, self.draw_rule())

    def draw_rule(self) -> DrawRule:
        """The rule as the record that samplers take."""
        return DrawRule(self.rule, self.reduction, self.temperature)


@attrs.frozen
class Recipe:
    """A whole recipe. `stage` is expanded: one entry for each factor p(X | X̂), from the image down."""

    data: DataConfig
    image: ImageSpec
    prior: ComponentChoice
    training: TrainingConfig
    stage: tuple[Stage, ...] = ()
    factor_training: Mapping[str, TrainingConfig] = attrs.field(factory=dict, metadata={NO_KEY: True})
    evaluation: EvaluationConfig = attrs.field(factory=EvaluationConfig)
    sampling: SamplingConfig = attrs.field(factory=SamplingConfig)
    plugins: tuple[str, ...] = attrs.field(default=(), validator=_names_of_files)
    """Python files with plugins, relative to the recipe."""

    @property
    def factor_names(self) -> tuple[str, ...]:
        """`stage0` (the image given its view) … and last `prior` (the coarsest view)."""
        return (*(f"stage{k}" for k in range(len(self.stage))), "prior")

    def training_of(self, factor: str) -> TrainingConfig:
        """The training of one factor, overrides applied."""
        return self.factor_training.get(factor, self.training)
