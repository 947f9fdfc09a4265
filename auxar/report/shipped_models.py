"""Descriptions of the models that come trained."""

from pathlib import Path

import attrs

from auxar.evaluation.facts import Exactness
from auxar.evaluation.figures import Mean
from auxar.evaluation.stored import evaluation_of
from auxar.files import entries
from auxar.model import ImageSpec
from auxar.plugins import Registry
from auxar.recipe import read_recipe
from auxar.runs.models import model_folder

FILES = ("*", "plugins/*", "factors/*/*")
"""Patterns of the files whose sizes are added."""


@attrs.frozen
class ShippedModel:
    """A model that comes trained, as the files in its folder describe it."""

    name: str
    """Name that commands and functions accept in place of a run's folder, such as "emoji32"."""
    purpose: str
    """The model and its images: the first sentence in the header of its recipe or, without one, the summary of the
    plugin."""
    image: ImageSpec
    """Description of its images."""
    data: str
    """The data set that it was trained on: `data.path` of its recipe."""
    bits_per_dim: float | None
    """Bits/dim of held-out images; None if the folder holds no evaluation."""
    standard_error: float | None
    """Standard error of `bits_per_dim`."""
    kind: Exactness | None
    """Whether `bits_per_dim` is exact or a bound; None if the folder holds no evaluation."""
    condition: str | None
    """Kind of the condition that images were given; None if there is none, or if the folder holds no evaluation."""
    heldout_images: int | None
    """Number of held-out images; None if the folder holds no evaluation."""
    bytes: int
    """Size of the folder's files in bytes."""
    license: str
    """The paragraph that begins with "License:" in the header of the recipe; empty if there is none."""
    provider: str
    """The plugin that provides the model."""
    path: Path
    """The model's folder."""


def described_model(registry: Registry, name: str) -> ShippedModel:
    """The description of a model that comes trained with a plugin. Raises `UserError` if its folder cannot be read."""
    run = model_folder(registry, name)
    recipe = read_recipe(run.recipe)
    purpose, license = run.purpose_and_license
    evaluation = evaluation_of(run)
    bits = Mean() if evaluation is None else evaluation.bits_per_dim()
    files = (path for pattern in FILES for path in entries(run.path, pattern) if path.is_file())
    return ShippedModel(
        name=run.name,
        purpose=purpose or registry.components["model", name].summary,
        image=recipe.image,
        data=recipe.data.path,
        bits_per_dim=bits.value,
        standard_error=bits.error,
        kind=None if evaluation is None else evaluation.kind,
        condition=None if evaluation is None else evaluation.condition,
        heldout_images=None if evaluation is None else evaluation.images.get("heldout"),
        bytes=sum(file.stat().st_size for file in files),
        license=license,
        provider=registry.providers["model", name],
        path=run.path,
    )
