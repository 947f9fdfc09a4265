"""Uploads folders of models to the Hugging Face hub."""

import contextlib
import glob
import logging
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
from huggingface_hub import HfApi, utils

from auxar import UserError

logger = logging.getLogger("auxar")

CARD = "README.md"
"""The file of a model's card."""
REPLACED = re.compile(
    r"integer\.json|evaluation(-\w+)?\.safetensors|plugins/[^/]+\.py|factors/[^/]+/[^/]+\.(safetensors|jsonl)"
    r"|(samples|growth)\.png"
)
"""The files of an earlier model that a new one need not have."""


@attrs.frozen
class Pushed:
    """The result of `auxar.push`: a model that was uploaded to the hub."""

    name: str
    """Name of the repository, `user/name`, which commands and functions accept in place of a run's folder."""
    url: str
    """Address of the model's page."""
    commit: str
    """The commit that was made: `user/name@commit` is exactly this model."""


def uploaded(api: HfApi, name: str, folder: Path, files: Sequence[str] | None, *, private: bool) -> Pushed:
    """Uploads a folder to the repository `user/name`, and replaces files of an earlier model.

    `files` are those that the repository holds. If they are None, it does not exist and is made, readable only by its
    owner if it is `private`.
    """
    old = [glob.escape(file) for file in files or () if REPLACED.fullmatch(file)]
    with _naming(name, api), _quiet_unless_logged():
        if files is None:
            api.create_repo(name, private=private or None)
        commit = api.upload_folder(
            repo_id=name, folder_path=folder, commit_message="Upload with auxar", delete_patterns=old or None
        )
    return Pushed(name, f"{api.endpoint}/{name}", commit.oid)


def files_of(api: HfApi, name: str, *, private: bool, update: bool) -> list[str] | None:
    """The files of the repository `user/name`; None if it does not exist.

    Raises `UserError` if it exists and must not be changed, or without a login.
    """
    with _naming(name, api):
        api.whoami()  # Without a token that is valid, nothing needs to be prepared.
        files = api.list_repo_files(name) if api.repo_exists(name) else None
        public = files is not None and not api.repo_info(name).private
    where = f"{name} exists on the hub ({api.endpoint})"
    if files is not None and not update:
        raise UserError(f"{where}; --update uploads a new revision")
    if private and public:
        raise UserError(f"{where} and is public, so --private would not hide it; change it on its page")
    if files is not None and "recipe.toml" not in files and not {*files} <= {CARD, ".gitattributes"}:
        raise UserError(f"{where} and holds no model of auxar, so it is not changed; choose another name")
    return files


@contextlib.contextmanager
def _naming(name: str, api: HfApi) -> Iterator[None]:
    """A context in which exceptions of the hub's library become messages."""
    try:
        yield
    except Exception as error:  # The network, the hub and the disk all raise different exceptions.
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"{name} could not be uploaded to {api.endpoint}: {reason}; `hf auth login` sets your token"
        ) from error


@contextlib.contextmanager
def _quiet_unless_logged() -> Iterator[None]:
    """A context in which the hub's library shows progress only if messages of the level INFO are shown."""
    bars: Any = utils  # Its functions are not exported for type checkers.
    with contextlib.ExitStack() as after:
        if not logger.isEnabledFor(logging.INFO) and not bars.are_progress_bars_disabled():
            bars.disable_progress_bars()
            after.callback(bars.enable_progress_bars)
        yield
