"""Finds the model with which a file is decoded, by the digests in the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from auxar.coding.archive import ARITHMETIC
from auxar.coding.container import Container
from auxar.errors import UserError, shown
from auxar.files import FOLDER, entries, kind
from auxar.plugins import load_plugins
from auxar.runs.converted import digests_of
from auxar.runs.models import find_run
from auxar.runs.wrong_path import DEFAULT


def find_model(container: Container) -> Path:
    """The folder of a run, or the name of a model that comes trained, with which a file is decoded.

    Raises `UserError` if none of the known ones has the digests in the file.
    """
    header = container.header
    for place in _places(container):
        try:
            found = digests_of(find_run(place), ARITHMETIC)
        except UserError:  # It is no run, or it cannot be read.
            continue
        if all(found.get(factor.name) == factor.digest for factor in header.factors):
            return place
    raise UserError(
        f"{container.path} was made with the model {shown(header.model)}, which is not among the models that come "
        "trained, the runs in ./runs and the folders beside the file; name its run with --run"
    )


def _places(container: Container) -> Iterator[Path]:
    yield from map(Path, load_plugins().names("model"))
    for folder in (DEFAULT, container.path.parent):
        with contextlib.suppress(UserError):  # The folder may not be readable.
            if kind(folder, follow_links=True) == FOLDER:
                yield from entries(folder)
