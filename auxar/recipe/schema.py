"""The frozen classes of a recipe. Each key of the TOML is a field. Optional keys have defaults."""

from __future__ import annotations

import math
from collections.abc import Mapping

import attrs
from attrs.validators import deep_iterable, ge, lt, optional

from auxar.errors import UserError
from auxar.model import FLOAT, Ancestral, ImageSpec, Rule
from auxar.model.factor import CONDITION_FACTOR
from auxar.plugins import Component, Registry, load_plugins
from auxar.recipe.component_choice import ComponentChoice
from auxar.recipe.condition import ConditionConfig
from auxar.recipe.data_config import DataConfig, FactorData
from auxar.structuring import NO_KEY
from auxar.validation import at_most, one_of, positive

OTHER_NAMES: Mapping[str, tuple[str, ...]] = {"arithmetic": (FLOAT,)}
"""The names that keys of a recipe accept besides those of components, by the kind of the component."""
KINDS_OF_LISTS: Mapping[str, str] = {"augment": "augmentation"}
"""The kinds of components that keys of a recipe list, by key. Other keys that choose a component are named by its
kind."""
MOST_STAGES = 64
"""Maximum number of stages of a recipe, counting repetitions."""
MOST_IMAGES = 2**20
"""Maximum number of images in a batch."""
MOST_SAMPLES = 10**9
"""Maximum number of images that are drawn at a time."""
MOST_EPOCHS = 10**6
"""Maximum number of epochs."""
MOST_MINUTES = 10**6
"""Maximum number of minutes of training."""
LENGTHS = ("steps", "epochs", "minutes")
"""The keys that give the length of training, of which one is given."""
CHANNELS = (1, 3)
"""The numbers of channels that images from files can have: gray or RGB."""
MOST_LEVELS = 256
"""Maximum number of levels of images from files."""


def check_image(image: ImageSpec) -> None:
    """Raises `UserError` unless image files can be converted to images with these channels and levels."""
    if image.channels not in CHANNELS:
        raise UserError(f"image.channels: expected 1 (gray) or 3 (RGB) for images from files, got {image.channels}")
    if image.levels > MOST_LEVELS:
        raise UserError(f"image.levels: expected 2 to {MOST_LEVELS} for images from files, got {image.levels}")


@attrs.frozen
class Stage:
    """The table [[stage]]: one view of an image X, and the factor p(X | X̂) of the image given its view X̂ = ψ(X)."""

    view: ComponentChoice
    """The view ψ, which computes X̂ = ψ(X) from the image."""
    embedding: ComponentChoice
    """The embedding f_w, a network that computes features of the view for the decoder."""
    decoder: ComponentChoice
    """The decoder p(X | X̂), which reads the features of the embedding."""
    support: str = attrs.field(default="free", validator=one_of("free", "restricted"))
    """The images that can have probability under p(X | X̂): `free` allows any image, as in the paper, so bits/dim are a
    bound; `restricted` allows only images with the view X̂, so bits/dim are exact."""
    repeat: int = attrs.field(default=1, validator=[positive, at_most(MOST_STAGES)])
    """Number of times that the stage is repeated in a row, each time with separate networks. A recipe has at most 64
    stages, counting repetitions."""


@attrs.frozen
class TrainingConfig:
    """The table [training]: how factors are trained.

    `[training.factor.NAME]` overrides keys for one factor, except `precision` and `trackers`.
    """

    steps: int | None = attrs.field(default=None, validator=optional(ge(0)))
    """Number of optimizer steps. Exactly one of `steps`, `epochs` and `minutes` must be given."""
    epochs: float | None = attrs.field(default=None, validator=optional([positive, at_most(MOST_EPOCHS)]))
    """Number of passes over the training images, at most a million. It may be a fraction."""
    minutes: float | None = attrs.field(default=None, validator=optional([positive, at_most(MOST_MINUTES)]))
    """Minutes of training on this machine, at most a million. A new run measures some steps of each factor, without
    compiling and as busy as the machine is, and stores numbers of `steps` that take this time, so that the run can be
    repeated exactly. Other minutes for a run that has begun change its steps in proportion, or are measured again if
    single factors have minutes of their own. The minutes of [training] are for all factors without a length of their
    own, less the minutes of single factors. They share the time in proportion to the square root of the time of a step:
    a factor whose step takes four times as long gets twice the time and half the steps."""
    batch_size: int = attrs.field(default=16, validator=[positive, at_most(MOST_IMAGES)])
    """Number of images per optimizer step, summed over all processes and accumulated parts, 1 … 2^20."""
    accumulate: int = attrs.field(default=1, validator=positive)
    """Number of parts in which each process computes its share of a batch. More parts need less memory."""
    optimizer: ComponentChoice = attrs.field(factory=lambda: ComponentChoice("muon"))
    """The optimizer, with its learning rate and other options: `muon`, which reaches the same
    bits/dim in fewer steps and whose usual learning rate depends on the number of steps, `adam`, as in the paper, or
    `adamw`, which is Adam with decoupled weight decay."""
    schedule: ComponentChoice = attrs.field(factory=lambda: ComponentChoice("cosine"))
    """How the learning rate changes over the steps after `warmup`: `cosine` lowers it along half a period of a cosine
    until the end of training, `exponential` multiplies it by a number after every step, as in the paper, and `constant`
    keeps it."""
    warmup: int = attrs.field(default=0, validator=ge(0))
    """Number of steps at the beginning in which the learning rate rises linearly to that of the optimizer. In step k,
    it is the optimizer's rate times k / (`warmup` + 1)."""
    clip: float | None = attrs.field(default=None, validator=optional(positive))
    """Maximum norm of the gradient of the loss in bits/dim. A larger gradient is scaled down to it. There is no limit
    if it is not given."""
    ema: float = attrs.field(default=0.9995, validator=[ge(0.0), lt(1.0)])
    """Decay of the moving average of the weights, which evaluation and sampling use. If it is 0, they use the last
    weights."""
    ema_warmup: bool = True
    """Whether the moving average covers fewer steps at the beginning of training: about the last tenth of all steps so
    far. If it is false, the average is only corrected for bias."""
    limits: bool = True
    """Whether the parameters that a network predicts, such as the log-scales of `logistic_mixture`, get upper limits at
    the end of training: the lowest ones that cost at most `limits_cost` on training images. Without them, an error in
    a sample can cause larger errors in the pixels after it, until only noise is drawn."""
    limits_cost: float = attrs.field(default=0.0005, validator=ge(0.0))
    """Maximum number of bits/dim that the limit of one kind of parameters may cost on training images. Larger ones let
    more samples hold together."""
    augment: tuple[ComponentChoice, ...] = ()
    """Augmentations, random changes of training images: `flip`, `shift`, `turns`, `transpose`, `channels`, and those of
    plugins. They are made one after another, with random crops before them."""
    crop: tuple[int, int] | None = attrs.field(default=None, validator=optional(deep_iterable(positive)))  # type: ignore[arg-type]
    """Height and width of random crops that are smaller than `[image]`. They are multiples of the strides of all views
    together."""
    data: FactorData | None = None
    """A data set whose training images are used instead of those of [data]. It has the keys of [data], with their
    defaults, and `depth`, which is 0 (the default) for a set of images, and k for a set of k-th views."""
    precision: str = attrs.field(default="float32", validator=one_of("float32", "bf16"))
    """Number format of training. `bf16` computes convolutions and matrix products in bfloat16, and keeps weights and
    likelihoods in float32. Evaluation and sampling do not use bfloat16."""
    recompute: bool = False
    """Whether the values inside of residual blocks are computed again in the backward pass instead of kept (gradient
    checkpointing). This needs less memory and more time. The result is the same."""
    compile: bool | None = None
    """Whether networks are compiled for training by `torch.compile`, which needs a C++ compiler and about a minute for
    each factor, and makes training steps of many networks faster. The result is the same, except for rounding. If it is
    not given, long trainings on a CPU are compiled, but not those of `convnet`, which gains nothing."""
    seed: int = 0
    """Seed of the initial weights, the order of the images, augmentations, and dropout."""
    init: str | None = attrs.field(default=None, validator=optional(attrs.validators.min_len(1)))
    """Folder of another run, the name of a model that comes trained, or `hf://user/name` for a model on the Hugging
    Face hub. Training starts from its trained weights: each factor from the weights of the factor with the same name. A
    path is relative to the recipe's folder. If it is not given, weights are initialized at random and then adapted to a
    batch of images."""
    initialization_images: int = attrs.field(default=64, validator=[positive, at_most(MOST_IMAGES)])
    """Number of images in the batch for data-dependent initialization, 1 … 2^20."""
    checkpoint_every: int = attrs.field(default=500, validator=positive)
    """Number of steps between checkpoints."""
    keep_checkpoints: int = attrs.field(default=2, validator=positive)
    """Number of newest checkpoints to keep. If the newest is damaged, training continues from the one before it."""
    log_every: int = attrs.field(default=20, validator=positive)
    """Number of steps between logged lines of metrics. A line is also logged at each checkpoint and at the end."""
    evaluate_every: int | None = attrs.field(default=None, validator=optional(positive))
    """Number of steps between evaluations of validation images. There is also one at the end of training. Validation
    images are not evaluated if it is not given. Evaluations use the average of the weights or, if `ema` is 0, the last
    weights."""
    validation_images: int | None = attrs.field(default=None, validator=optional(positive))
    """Number of validation images to evaluate, counted from the first. All are evaluated if it is not given."""
    keep_best: bool = False
    """Whether the weights with the lowest bits/dim on validation images are kept, instead of the weights at the end of
    training. It requires `evaluate_every`."""
    patience: int | None = attrs.field(default=None, validator=optional(positive))
    """Number of evaluations in a row without a new lowest bits/dim on validation images after which training stops
    early. Training never stops early if it is not given. It requires `evaluate_every`."""
    sample_every: int | None = attrs.field(default=None, validator=optional(positive))
    """Number of steps between pictures that show images drawn by the factor in training, with the weights that
    evaluation would use. Images are also drawn after the last planned step. No images are drawn during training if it
    is not given."""
    trackers: tuple[ComponentChoice, ...] = ()
    """Experiment trackers: those of Accelerate, such as `tensorboard` or `{ name = "wandb", entity = "me" }` with
    options for the start of a run, and those of plugins."""
    nonfinite: str = attrs.field(default="stop", validator=one_of("stop", "skip"))
    """How a loss or gradient that is not finite is handled: `stop` ends training; `skip` leaves the weights unchanged
    in this step and continues, but ends training if more than 50 steps in a row are skipped."""

    def __attrs_post_init__(self) -> None:
        if len(found := [key for key in LENGTHS if getattr(self, key) is not None]) != 1:
            told = " and ".join(found) or "none"
            raise ValueError(f"exactly one of steps, epochs and minutes must be given, got {told}")
        if self.compile and self.recompute:
            raise ValueError("compile = true requires recompute = false")

    @property
    def depth(self) -> int:
        """The depth of the images of the factor's data set: 0, unless its own data set has views."""
        return 0 if self.data is None else self.data.depth

    def total_steps(self, images: int) -> int:
        """Returns the total number of optimizer steps for a training set of `images` images, without `minutes`."""
        if self.steps is not None:
            return self.steps
        assert self.epochs is not None
        return math.ceil(self.epochs * images / self.batch_size)


@attrs.frozen
class EvaluationConfig:
    """The table [evaluation]: the images for which bits/dim are computed."""

    batch_size: int = attrs.field(default=16, validator=[positive, at_most(MOST_IMAGES)])
    """Number of images evaluated at once, 1 … 2^20. Results do not depend on it, except for rounding."""
    heldout_images: int | None = attrs.field(default=None, validator=optional(positive))
    """Number of held-out images to evaluate: evenly spaced ones or, of a stream, the first ones. All are evaluated if
    it is not given."""
    train_images: int = attrs.field(default=200, validator=ge(0))
    """Number of training images to evaluate, chosen in the same way, for comparison with the held-out images. If it is
    0, none are evaluated."""
    samples: int = attrs.field(default=0, validator=[ge(0), at_most(MOST_IMAGES)])
    """Number of exact samples of the model whose bits/dim are compared with those of held-out images, at most the
    number of evaluated held-out images. If the model fits its data, the two are about equal. If it is 0, none are
    drawn."""
    rule: ComponentChoice | None = None
    """A drawing rule, such as `reduced`. The bits/dim of the distribution from which it draws are computed, too, in
    floating point. Rules that draw only centers, such as `map`, and `guided` are refused."""


ANCESTRAL = ComponentChoice("ancestral", {}, Component("rule", "ancestral", Ancestral), Ancestral())
"""The rule `ancestral`, which needs no plugin."""


@attrs.frozen
class SamplingConfig:
    """The table [sampling]: how many images are drawn from the model at the end of a run, and how."""

    images: int = attrs.field(default=16, validator=[ge(0), at_most(MOST_SAMPLES)])
    """Number of images to draw, at most a billion. If it is 0, a run draws no images and no figures."""
    rule: ComponentChoice = attrs.field(default=ANCESTRAL)
    """The rule by which a value is drawn from its distribution: `ancestral` draws exact samples of the model, `reduced`
    lowers the log-scales first, `map` takes the centers of drawn mixture components, `tempered` divides the logits of
    softmax heads, and `by_depth` has a rule for fine images and another for coarse views."""
    batch_size: int = attrs.field(default=16, validator=[positive, at_most(MOST_IMAGES)])
    """Number of images drawn at once, 1 … 2^20. Images do not depend on it, except for rounding."""
    seed: int = 0
    """Seed of the noise. The noise of an image depends only on the seed and the number of the image."""
    sampler: ComponentChoice = attrs.field(factory=lambda: ComponentChoice("auto"))
    """The sampler. `auto` chooses the first of `wavefront`, `cached`, `stepwise` and `raster` that supports the
    network."""
    figure_rows: int = attrs.field(default=6, validator=[ge(0), at_most(MOST_IMAGES)])
    """Number of rows of images in each of the paper's figures that the report of a run shows. If it or `images` is 0,
    no figures are drawn."""

    def draw_rule(self) -> Rule:
        """Returns the rule. Raises `UserError` if a plugin's component builds no `Rule`."""
        return self.rule.build_as(Rule)  # type: ignore[type-abstract]


@attrs.frozen
class Recipe:
    """A recipe: its images, stages, prior, training, evaluation and sampling.

    `stage` has one entry for each factor p(X | X̂), from the image down. Repeated stages are written out.
    """

    data: DataConfig
    image: ImageSpec
    prior: ComponentChoice
    training: TrainingConfig
    stage: tuple[Stage, ...] = ()
    condition: ConditionConfig | None = None
    factor_training: Mapping[str, TrainingConfig] = attrs.field(factory=dict, metadata={NO_KEY: True})
    """Training settings of single factors, by name: [training.factor.NAME] merged with [training]."""
    evaluation: EvaluationConfig = attrs.field(factory=EvaluationConfig)
    sampling: SamplingConfig = attrs.field(factory=SamplingConfig)
    arithmetic: ComponentChoice = attrs.field(factory=lambda: ComponentChoice(FLOAT))
    """The arithmetic of evaluation and sampling: `float`, or `integer`, whose frequencies and samples are the same on
    every machine. If it is `integer`, the trained factors are converted to integers at the end of the run."""
    plugins: tuple[str, ...] = ()
    """Paths of Python files with plugins, relative to the folder of the recipe."""
    _registry: Registry | None = attrs.field(default=None, eq=False, repr=False, metadata={NO_KEY: True})

    @property
    def registry(self) -> Registry:
        """The components of the plugins that the recipe was loaded with; by default, of all installed plugins."""
        return self._registry or load_plugins()

    @property
    def factor_names(self) -> tuple[str, ...]:
        """Names of the factors: `stage0` (the image given its view), …, and `prior` (the coarsest view).

        The last is `condition` (the condition itself) if it is modeled.
        """
        modeled = self.condition is not None and self.condition.prior is not None
        return (*(f"stage{k}" for k in range(len(self.stage))), "prior", *([CONDITION_FACTOR] if modeled else []))

    @property
    def training_tables(self) -> dict[str, TrainingConfig]:
        """The tables with training settings, [training] and those of single factors, by their paths."""
        own = {f"training.factor.{name}": config for name, config in self.factor_training.items()}
        return {"training": self.training, **own}

    @property
    def data_tables(self) -> dict[str, DataConfig]:
        """The data sets, [data] and those of factors, by the paths of their tables."""
        own = {f"{path}.data": config.data for path, config in self.training_tables.items() if config.data is not None}
        return {"data": self.data, **own}

    def training_key(self, factor: str) -> str:
        """The path of the table with the training settings of a factor.

        Examples:
            >>> import auxar
            >>> recipe = auxar.load_recipe("quickstart")
            >>> recipe.training_key("prior")
            'training.factor.prior'
        """
        return f"training.factor.{factor}" if factor in self.factor_training else "training"

    def data_of(self, factor: str) -> DataConfig:
        """The data set that a factor is trained on: its own, or [data].

        Examples:
            >>> import auxar
            >>> recipe = auxar.load_recipe("quickstart")
            >>> recipe.data_of("prior") is recipe.data
            True
        """
        return self.training_of(factor).data or self.data

    def training_of(self, factor: str) -> TrainingConfig:
        """Returns the training settings of one factor, with its overrides.

        Examples:
            >>> import auxar
            >>> recipe = auxar.load_recipe("quickstart")
            >>> recipe.training_of("prior").steps, recipe.training_of("stage0").steps
            (850, 350)
        """
        return self.factor_training.get(factor, self.training)

    def with_steps(self, steps: Mapping[str, int]) -> Recipe:
        """Returns the recipe with numbers of steps in place of other lengths of the training of these factors.

        Examples:
            >>> import auxar
            >>> auxar.load_recipe("quickstart").with_steps({"prior": 20}).training_of("prior").steps
            20
        """
        own = {
            name: attrs.evolve(self.training_of(name), steps=count, epochs=None, minutes=None)
            for name, count in steps.items()
        }
        return attrs.evolve(self, factor_training={**self.factor_training, **own})
