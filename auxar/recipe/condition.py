"""The table [condition] of a recipe: a variable that comes with each image, and that every factor is given."""

from typing import Any

import attrs
from attrs.validators import max_len, min_len, optional

from auxar.errors import shown
from auxar.model import CONDITION_KINDS, MOST_LEVELS, MOST_SIDE, Condition, ImageSpec
from auxar.recipe.component_choice import ComponentChoice
from auxar.validation import at_least, at_most, below, one_of, positive

MOST_ATTRIBUTES = 1024
"""Maximum number of attributes of an image."""
LONGEST_NAME = 100
"""Maximum number of characters of a name, and of `suffix`."""
MOST_NAMES = 65_536
"""Maximum number of names of classes."""
SOURCES = ("column", "columns", "suffix", "folders", "augmentation")
"""The keys that say where the condition of an image is found. A recipe sets exactly one of them."""
KEYS_OF_KINDS = {
    "classes": ("label", "mask"),
    "names": ("label", "mask", "attributes"),
    "columns": ("attributes",),
    "folders": ("label",),
    "augmentation": ("label",),
    "key": ("label", "attributes"),
    "channels": ("image",),
    "levels": ("image",),
    "height": ("image",),
    "width": ("image",),
}
"""The keys that only some kinds of conditions have."""


@attrs.frozen
class ConditionConfig:
    """The table [condition]: a variable y that comes with each image, such as its label; every factor is given it.

    The model is then p(X, X̂ | y) = p(X̂ | y) p(X | X̂, y).
    """

    kind: str = attrs.field(validator=one_of(*CONDITION_KINDS))
    """Kind of the condition: `label` is one of several classes, `attributes` are properties that an image has or has
    not, `mask` gives a class for each pixel, and `image` is a gray or color image."""
    column: str | None = attrs.field(default=None, validator=optional(min_len(1)))
    """Name of the data set's column with the conditions."""
    columns: tuple[str, ...] = attrs.field(default=(), validator=max_len(MOST_ATTRIBUTES))
    """Names of columns with one attribute each. They are also the names of the attributes, if `names` is not given."""
    suffix: str | None = attrs.field(default=None, validator=optional(min_len(2)))
    """End of the names of files with the conditions, which lie beside the images: with `.mask.png`, that of `a.jpg` is
    `a.mask.png`. Labels and attributes are in JSON files. In other files, they are a text: a label, or the names of
    attributes with commas."""
    key: str | None = attrs.field(default=None, validator=optional(min_len(1)))
    """Key of the condition in a JSON file, if the file holds an object. It requires a `suffix` that ends in `.json`."""
    folders: bool = False
    """Whether the label of an image is the name of the folder that it is in."""
    augmentation: str | None = attrs.field(default=None, validator=optional(min_len(1)))
    """Name of an augmentation in `training.augment`. The label of a training image is the number of the variant that
    the augmentation made of it. All other images have the label 0, which is the image itself. `classes` is the number
    of variants."""
    classes: int | None = attrs.field(default=None, validator=optional([at_least(2), at_most(MOST_LEVELS)]))
    """Number of classes of a label or a mask, 2 … 2^24. By default, it is the number of `names`."""
    names: tuple[str, ...] = attrs.field(default=(), validator=max_len(MOST_NAMES))
    """Names of the classes in the order of their numbers, or of the attributes. Labels may be given by name."""
    channels: int = attrs.field(default=3, validator=at_most(3))
    """Number of channels of an image, 1 (gray) or 3 (RGB)."""
    levels: int = attrs.field(default=256, validator=[at_least(2), at_most(256)])
    """Number of values of an image's sub-pixels, 2 … 256."""
    height: int | None = attrs.field(default=None, validator=optional([positive, at_most(MOST_SIDE)]))
    """Number of rows of a conditioning image. By default, it has the size of [image], and is cropped like the
    images."""
    width: int | None = attrs.field(default=None, validator=optional([positive, at_most(MOST_SIDE)]))
    """Number of columns of a conditioning image; see `height`."""
    drop: float = attrs.field(default=0.0, validator=[at_least(0), below(1)])
    """Probability with which the condition of a training image is replaced by the null condition each time the image is
    used, at least 0 and less than 1. If it is greater than 0, the model can be used without a condition. It then gives
    p(X | null) as it was learned from these images."""
    embedding: ComponentChoice = attrs.field()
    """The embedding, a network that computes features of the condition for each factor. The default is `categories` or,
    for the kind `image`, `pixels`."""

    prior: ComponentChoice | None = None
    """The prior p(y), if the condition is modeled, too: a distribution over one pixel with the label, over a row of
    pixels with one attribute each, or over masks or images. It is trained as the factor `condition`."""

    @embedding.default
    def _usual_embedding(self) -> ComponentChoice:
        return ComponentChoice("pixels" if self.kind == "image" else "categories")

    def __attrs_post_init__(self) -> None:
        found = [key for key in SOURCES if getattr(self, key)]
        if len(found) != 1:
            raise ValueError(f"exactly one of {', '.join(SOURCES)} must be given, got {' and '.join(found) or 'none'}")
        defaults = attrs.fields_dict(ConditionConfig)
        for key, kinds in KEYS_OF_KINDS.items():
            if self.kind not in kinds and getattr(self, key) != defaults[key].default:
                raise ValueError(f"{key} requires the kind {' or '.join(kinds)}, got the kind {self.kind}")
        if self.folders and not self.names:
            raise ValueError("folders requires names, the names of the folders")
        if self.suffix is not None and not (self.suffix.startswith(".") and _is_end_of_name(self.suffix)):
            raise ValueError(f"suffix must be the end of a file name, such as '.mask.png', got {shown(self.suffix)}")
        if self.key is not None and not (self.suffix or "").lower().endswith(".json"):
            raise ValueError("key requires a suffix that ends in .json")
        if self.augmentation is not None and (self.drop or self.prior is not None):
            raise ValueError("augmentation gives each image a known label; leave out drop and prior")
        if (self.height is None) != (self.width is None):
            raise ValueError("height and width must be given together")
        if self.channels not in (1, 3):
            raise ValueError(f"channels must be 1 (gray) or 3 (RGB), got {self.channels}")
        self._check_names()

    def _check_names(self) -> None:
        for key in ("names", "columns"):
            found = getattr(self, key)
            if len(set(found)) < len(found) or "" in found:
                raise ValueError(f"{key} must differ from each other and not be empty")
            for name in found:
                if not name.isprintable() or len(name) > LONGEST_NAME:
                    raise ValueError(f"{key} must have at most {LONGEST_NAME} printable characters, got {shown(name)}")
        if self.kind in ("label", "mask"):
            if self.classes is None and len(self.names) < 2:
                raise ValueError(f"a {self.kind} needs its number of classes: set classes, or at least 2 names")
            if self.classes is not None and self.names and len(self.names) != self.classes:
                raise ValueError(f"names must have one name for each of {self.classes} classes, got {len(self.names)}")
        if self.kind == "attributes":
            if not self.names and not self.columns:
                raise ValueError("attributes need names: set names, or columns")
            if self.names and self.columns and len(self.names) != len(self.columns):
                raise ValueError(
                    f"names must have {len(self.columns)} names, one for each column, got {len(self.names)}"
                )
            if len(self.names) > MOST_ATTRIBUTES:
                raise ValueError(f"names must be at most {MOST_ATTRIBUTES} attributes, got {len(self.names)}")

    @property
    def columns_to_read(self) -> tuple[str, ...]:
        """The columns of a data set with the conditions, unless these come from the files and folders of images."""
        return self.columns or (() if self.column is None else (self.column,))

    @property
    def own_size(self) -> bool:
        """Whether the condition is an image of a size of its own, which is not cropped like the images."""
        return self.height is not None

    def describe(self, image: ImageSpec) -> Condition:
        """The condition of a model of images with the shape `image`.

        Examples:
            >>> config = ConditionConfig("label", column="label", names=("cat", "dog"), drop=0.1)
            >>> condition = config.describe(ImageSpec(height=32, width=32))
            >>> print(condition.spec, condition.optional)
            1×1×1 with 2 levels True
        """
        names = self.names or self.columns
        if self.kind == "attributes":
            spec = ImageSpec(len(names), height=1, width=1, levels=2)
        elif self.kind == "image":
            height, width = (self.height or image.height), (self.width or image.width)
            spec = ImageSpec(self.channels, height=height, width=width, levels=self.levels)
        else:
            height, width = (1, 1) if self.kind == "label" else (image.height, image.width)
            spec = ImageSpec(1, height=height, width=width, levels=self.classes or len(self.names))
        usual = None if self.augmentation is None else 0
        return Condition(self.kind, spec, names, self.drop > 0, usual)  # type: ignore[arg-type]


def _is_end_of_name(text: str) -> bool:
    return text.isprintable() and not set("/\\") & set(text) and len(text) <= LONGEST_NAME


def without_unused(config: ConditionConfig, table: dict[str, Any]) -> dict[str, Any]:
    """The table of `config` without empty keys and without keys that its kind does not have."""
    return {
        key: value
        for key, value in table.items()
        if value not in ([], False) and config.kind in KEYS_OF_KINDS.get(key, CONDITION_KINDS)
    }
