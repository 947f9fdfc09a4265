"""`auxar models`: lists the models that come trained."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING

from auxar.cli.options import add_json
from auxar.cli.output import Result, paragraph

if TYPE_CHECKING:
    from auxar.commands.models import ShippedModel

LABEL = 9
"""Number of characters of a label."""


def add_to(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Adds the command `models` to the parser."""
    parser = commands.add_parser(
        "models",
        help="list the models that come trained",
        description="Lists the models that come trained, with auxar or with other installed packages: the model, its "
        "images, its bits/dim on held-out images, and its size. Commands accept the names wherever they read a run: "
        "`auxar sample NAME` draws images. Nothing is written into the folder of such a model. Results are written "
        "into the folder ./NAME.",
    )
    add_json(parser)
    parser.set_defaults(command=_models)


def _models(options: argparse.Namespace) -> Result:
    import attrs

    from auxar.commands.models import list_models

    models = list_models()
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
        images = "" if model.heldout_images is None else f" on {model.heldout_images:,} held-out images"
        yield from paragraph("Result:", f"{score} bits/dim ({words.KINDS[model.kind].name}){images}", LABEL)
    yield from paragraph("Size:", f"{model.bytes / 1e6:.1f} MB", LABEL)
    if model.license:
        yield from paragraph("License:", model.license, LABEL)
    yield from paragraph("Plugin:", model.provider, LABEL)
    yield ""
