"""The command `models`: lists the models that come trained."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from auxar.commandline import Result, command, paragraph
from auxar.errors import UserError, logger

if TYPE_CHECKING:
    from auxar.report.shipped_models import ShippedModel


LABEL = 9
"""Number of characters of a label."""


def _shown(models: list[ShippedModel]) -> Result:
    import attrs

    records = [{**attrs.asdict(model), "path": str(model.path)} for model in models]
    lines = [line for model in models for line in _lines(model)]
    end = "auxar sample NAME draws images." if models else "No model comes trained with the installed plugins."
    return Result([*lines, end], records)


def _lines(model: ShippedModel) -> Iterator[str]:
    from auxar.report import words

    yield model.name
    yield from paragraph("", model.purpose, LABEL)
    yield from paragraph("Images:", f"{model.image}, trained on {model.data}", LABEL)
    if model.bits_per_dim is not None and model.kind is not None:
        score = f"{words.number(model.bits_per_dim)} {words.uncertainty(model.standard_error)}".strip()
        kind = words.kind(model.kind, model.condition)
        images = "" if model.heldout_images is None else f" on {model.heldout_images:,} held-out images"
        yield from paragraph("Result:", f"{score} bits/dim ({kind.name}, {kind.formula}){images}", LABEL)
    yield from paragraph("Size:", f"{model.bytes / 1e6:.1f} MB", LABEL)
    if model.license:
        yield from paragraph("License:", model.license, LABEL)
    yield from paragraph("Plugin:", model.provider, LABEL)
    yield ""


@command("Share and store", show=_shown)
def list_models() -> list[ShippedModel]:
    """Lists the models that come trained.

    They come with auxar or with other installed packages. The list has the model, its images, its bits/dim on held-out
    images, and its size. A model whose folder cannot be read is left out with a warning.

    Commands and functions accept the names wherever they read a run: `auxar sample NAME` draws images. Nothing is
    written into the folder of such a model. Results are written into the folder ./NAME.

    Returns:
        The models, by name.

    Examples:
        >>> import auxar
        >>> for model in auxar.list_models():
        ...     images = auxar.load(model.name).sample(2)
    """
    from auxar.plugins import load_plugins
    from auxar.report.shipped_models import described_model

    registry = load_plugins()
    found = []
    for name in registry.names("model"):
        try:
            found.append(described_model(registry, name))
        except UserError as error:
            logger.warning("%s", error)
    return found
