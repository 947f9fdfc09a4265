"""Downloads models from the Hugging Face hub, as folders of runs in the cache of `huggingface_hub`."""

import contextlib
from pathlib import Path

from auxar.errors import UserError, one_line
from auxar.files import is_file
from auxar.progress import is_hidden, without_bars
from auxar.runs.format import RECORD, check_format
from auxar.runs.layout import RunFolder

PATTERNS = (
    "run.json",
    "recipe.toml",
    "integer.json",
    "evaluation*.safetensors",
    "plugins/*.py",
    "factors/*/weights.safetensors",
    "factors/*/integer.safetensors",
    "factors/*/metrics.jsonl",
)
"""Patterns of the files of a run that are downloaded. A star also stands for slashes."""


def download(repository: str, revision: str | None) -> RunFolder:
    """Downloads the files of a model, unless they are in the cache already, and returns the folder.

    `revision` is a branch, a tag or a commit; None is the main branch. Without a network, the newest files in the cache
    are used. Nothing in the files is executed.

    Raises `UserError` if there is no such repository or revision, if it is not accessible or holds no run of auxar, and
    if files are neither in the cache nor could be downloaded.
    """
    # The imports take a fraction of a second, which other models do not need.
    from huggingface_hub import constants, errors, snapshot_download, utils

    name = repository if revision is None else f"{repository}@{revision}"
    where = f"on the Hugging Face hub ({constants.ENDPOINT})"
    about = f"'{one_line(name)}' is neither the folder of a run nor a model {where}"
    try:
        with without_bars(utils) if is_hidden() else contextlib.nullcontext():
            folder = snapshot_download(
                repository, revision=revision, allow_patterns=list(PATTERNS), library_name="auxar"
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
        raise UserError(
            f"the model '{one_line(name)}' {where} could not be downloaded, and is not complete in the cache: "
            f"{reason_of(error)}"
        ) from error
    run = RunFolder(Path(folder), name)
    for needed in ("recipe.toml", RECORD):
        if not is_file(run.path / needed):
            raise UserError(f"'{one_line(name)}' {where} is no model of auxar: it has no {needed}")
    check_format(run.path)
    return run


def reason_of(error: BaseException) -> str:
    """The message of an exception of the hub's library on one line, with advice if a token is missing or wrong."""
    cause = error.__cause__ or error
    text = one_line(" ".join(str(cause).split()) or type(cause).__name__, 300)
    status = getattr(getattr(cause, "response", None), "status_code", None)
    return f"{text}; `hf auth login` sets your token" if status in (401, 403) else text
