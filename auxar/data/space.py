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
TEXTS = (*(os.strerror(number) for number in DISK), "Not enough disk space", "No usable temporary directory")
"""Texts of these errors, for libraries that do not pass their numbers on."""


def disk_problem(error: BaseException, what: str) -> str | None:
    """Returns the message for an error whose cause is that a cache cannot be written, or None if it has another cause.

    `what` names the files that were written, for example "the copy of the data set".
    """
    cause = next((each for each in _causes(error) if _is_disk_error(each)), None)
    if cause is None:
        return None
    folder, variable = _place(cause)
    return cannot_be_written(what, folder, reason(cause), variable)


def cannot_be_written(what: str, folder: Path, problem: str, variable: str = "HF_DATASETS_CACHE") -> str:
    """Returns the message for files that cannot be written to `folder`, which the environment variable determines."""
    return (
        f"data: {what} cannot be written to {folder}: {problem}; free disk space, or set the environment variable "
        f"{variable} to another folder"
    )


def reason(error: BaseException) -> str:
    """Returns the text of an error, without its number and the name of the file."""
    return getattr(error, "strerror", None) or str(error).strip().split("\n")[-1]


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yields an error and those that led to it. `datasets` hides some with `raise … from None`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _is_disk_error(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno is not None:
        return error.errno in DISK or (
            error.errno in (errno.EACCES, errno.EPERM) and any(_holds(folder, error) for folder, _ in _places())
        )
    return any(text in str(error) for text in TEXTS)


def _places() -> list[tuple[Path, str]]:
    """Returns the folders to which `datasets` writes, each with the environment variable that determines it."""
    return [
        (Path(datasets.config.HF_DATASETS_CACHE), "HF_DATASETS_CACHE"),
        (Path(huggingface_hub.constants.HF_HUB_CACHE), "HF_HUB_CACHE"),
        (Path(tempfile.tempdir or "/tmp"), "TMPDIR"),
    ]


def _place(error: BaseException) -> tuple[Path, str]:
    places = _places()
    if "temporary directory" in str(error):
        return places[-1]
    return next((place for place in places if _holds(place[0], error)), places[0])


def _holds(folder: Path, error: BaseException) -> bool:
    name = getattr(error, "filename", None)
    return isinstance(name, str) and Path(name).is_relative_to(folder)
