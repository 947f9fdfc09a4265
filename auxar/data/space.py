"""Recognizes errors of a full or failing disk, and says which folder is concerned and how to choose another."""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import datasets
import huggingface_hub.constants

DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""Numbers of the errors that a full, failing or read-only disk raises."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_TEMPORARY = "No usable temporary directory"
TEXTS = (*(os.strerror(number) for number in DISK), "Not enough disk space", NO_TEMPORARY)
"""Texts of these errors, for libraries that do not pass their numbers on."""


def disk_problem(error: BaseException, what: str, more: str = "") -> str | None:
    """Returns the message for an error whose cause is that a cache cannot be written, or None if it has another cause.

    `what` names the files that were written, for example "the copy of the data set". `more` follows the reason.
    """
    causes = list(_causes(error))
    cause = next((each for each in causes if _is_disk_error(each)), None)
    if cause is None and not any(text in str(each) for each in causes for text in TEXTS):
        return None
    cause = cause or causes[-1]
    places = _places()
    folder, variable = next((place for place in places if _holds(place[0], cause)), places[0])
    if NO_TEMPORARY in str(cause):
        folder, variable = places[-1]
    return cannot_be_written(
        "temporary files" if variable == "TMPDIR" else what, folder, _reason(cause) + more, variable
    )


def cannot_be_written(what: str, folder: Path, reason: str, variable: str = "HF_DATASETS_CACHE") -> str:
    """Returns the message for files that cannot be written to `folder`, which the environment variable determines."""
    return (
        f"data: {what} cannot be written to {folder}: {reason}; free disk space, or set the environment variable "
        f"{variable} to another folder"
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and those that led to it. `datasets` hides some with `raise … from None`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_disk_error(error: BaseException) -> bool:
    if not isinstance(error, OSError):
        return False
    return error.errno in DISK or (
        error.errno in (errno.EACCES, errno.EPERM) and any(_holds(folder, error) for folder, _ in _places()[:2])
    )


def _places() -> list[tuple[Path, str]]:
    """Returns the folders to which `datasets` writes, each with the environment variable that determines it."""
    return [
        (Path(datasets.config.HF_DATASETS_CACHE), "HF_DATASETS_CACHE"),
        (Path(huggingface_hub.constants.HF_HUB_CACHE), "HF_HUB_CACHE"),
        (Path(tempfile.tempdir or os.environ.get("TMPDIR", "/tmp")), "TMPDIR"),
    ]


def _reason(error: BaseException) -> str:
    """Returns the text of an error, without its number and the name of the file."""
    strerror: str | None = getattr(error, "strerror", None)
    return strerror or str(error).strip().split("\n")[-1]


def _holds(folder: Path, error: BaseException) -> bool:
    name = getattr(error, "filename", None)
    return isinstance(name, str) and Path(name).is_relative_to(folder)
