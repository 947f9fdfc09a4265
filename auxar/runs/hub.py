"""Downloads models from the Hugging Face hub, as folders of runs in the cache of `huggingface_hub`."""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auxar.errors import UserError, one_line
from auxar.files import UNFINISHED, entries, is_file, read_bytes
from auxar.runs.layout import RunFolder

logger = logging.getLogger("auxar")

FILES = (
    "run.json",
    "recipe.toml",
    "integer.json",
    "evaluation*.json",
    "evaluation*.safetensors",
    "plugins/*.py",
    "factors/*/weights.safetensors",
    "factors/*/integer.safetensors",
    "factors/*/metrics.jsonl",
)
"""Patterns of the files of a run that are read from the hub, and written there."""


def download(repository: str, revision: str | None) -> RunFolder:
    """Downloads the files of a model, unless they are in the cache already, and returns the folder.

    `revision` is a branch, a tag or a commit; None is the main branch. Without a network, the newest files in the cache
    are used. Nothing in the files is executed.

    Raises `UserError` if there is no such repository or revision, if it is not accessible or holds no run of auxar, and
    if files are neither in the cache nor could be downloaded.
    """
    # The import takes a fraction of a second, which other models do not need.
    import huggingface_hub
    from huggingface_hub import errors

    name = repository if revision is None else f"{repository}@{revision}"
    where = f"on the Hugging Face hub ({huggingface_hub.constants.ENDPOINT})"
    about = f"'{one_line(name)}' is neither the folder of a run nor a model {where}"
    try:
        with quiet_unless_logged():
            folder = huggingface_hub.snapshot_download(
                repository, revision=revision, allow_patterns=list(FILES), library_name="auxar"
            )
    except errors.RevisionNotFoundError:
        raise UserError(f"the model '{repository}' {where} has no revision '{one_line(str(revision))}'") from None
    except errors.GatedRepoError:
        raise UserError(f"the model '{repository}' {where} is restricted; ask for access on its page") from None
    except errors.RepositoryNotFoundError:
        raise UserError(
            f"{about}: there is none of this name, or it is private (`hf auth login` gives access to your own)"
        ) from None
    except errors.HFValidationError as error:
        raise UserError(f"{about}: {one_line(str(error))}") from None
    except Exception as error:  # The network, the hub and the disk all raise different exceptions.
        reason = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
        raise UserError(
            f"the model '{one_line(name)}' {where} could not be downloaded, and is not complete in the cache: "
            f"{one_line(reason, 300)}"
        ) from error
    run = RunFolder(Path(folder), name)
    for file in entries(run.path, "plugins/*"):
        _copied(file)
    if not is_file(run.recipe):
        raise UserError(f"'{one_line(name)}' {where} is no model of auxar: it has no recipe.toml")
    return run


def _copied(file: Path) -> None:
    """Replaces a link into the cache by a copy of its file, because plugin files are never loaded through links."""
    if file.is_symlink():
        with tempfile.NamedTemporaryFile(dir=file.parent, suffix=UNFINISHED, delete=False) as copy:
            copy.write(read_bytes(file))
        os.replace(copy.name, file)


@contextlib.contextmanager
def quiet_unless_logged() -> Iterator[None]:
    """A context in which the hub's library shows progress only if messages of the level INFO are shown."""
    import huggingface_hub

    bars: Any = huggingface_hub.utils
    silenced = not logger.isEnabledFor(logging.INFO) and not bars.are_progress_bars_disabled()
    if silenced:
        bars.disable_progress_bars()
    try:
        yield
    finally:
        if silenced:
            bars.enable_progress_bars()
