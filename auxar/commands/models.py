"""The command `models`: lists the models that come trained."""

from __future__ import annotations

import logging
from pathlib import Path

import attrs

from auxar.errors import UserError
from auxar.evaluation.records import Evaluation, Exactness
from auxar.files import entries, is_file, read_bytes
from auxar.model import ImageSpec
from auxar.plugins import Component, load_plugins
from auxar.recipe import read_recipe
from auxar.recipe.loading import MOST_BYTES
from auxar.recipe.shipped import FIELDS, first_sentence, read_header
from auxar.runs.layout import RunFolder, check_contents
from auxar.runs.models import model_folder
from auxar.runs.records import read_record

logger = logging.getLogger("auxar")

LICENSE = "License"
"""The label of the paragraph about the license in the header of a model's recipe."""
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


def list_models() -> list[ShippedModel]:
    """Returns the models that come trained with the installed plugins, by name.

    A model whose folder cannot be read is left out with a warning.

    Examples:
        >>> import auxar
        >>> for model in auxar.list_models():
        ...     images = auxar.load(model.name).sample(2)
    """
    registry = load_plugins()
    found = []
    for name in registry.names("model"):
        try:
            run = model_folder(registry, name)
            found.append(_described(run, registry.components["model", name], registry.providers["model", name]))
        except UserError as error:
            logger.warning("%s", error)
    return found


def _described(run: RunFolder, component: Component, provider: str) -> ShippedModel:
    check_contents(run)
    recipe = read_recipe(run.recipe)
    purpose, paragraphs = read_header(read_bytes(run.recipe, MOST_BYTES).decode(), (*FIELDS, LICENSE))
    evaluation = read_record(run.evaluation, Evaluation) if is_file(run.evaluation) else None
    files = (path for pattern in FILES for path in entries(run.path, pattern) if path.is_file())
    return ShippedModel(
        name=run.name,
        purpose=first_sentence(purpose) or component.summary,
        image=recipe.image,
        data=recipe.data.path,
        bits_per_dim=None if evaluation is None else evaluation.bits_per_dim.get("heldout"),
        standard_error=None if evaluation is None else evaluation.standard_error.get("heldout"),
        kind=None if evaluation is None else evaluation.kind,
        heldout_images=None if evaluation is None else evaluation.images.get("heldout"),
        bytes=sum(file.stat().st_size for file in files),
        license=paragraphs.get(LICENSE, ""),
        provider=provider,
        path=run.path,
    )
