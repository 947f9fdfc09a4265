"""Uploads models to the Hugging Face hub."""

from __future__ import annotations

import contextlib
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs

from auxar.errors import UserError
from auxar.runs.hub import OWN, PATTERNS, quiet_unless_logged, reason_of

CARD = "README.md"
PICTURES = {"samples.png": "samples", "growth.png": "samples from coarse to fine"}
"""The sheets of drawn images that are uploaded, and their contents."""


@attrs.frozen
class Pushed:
    """The result of `auxar.push`: a model that was uploaded to the hub.

    Examples:
        >>> import auxar
        >>> auxar.Pushed("user/name", "https://huggingface.co/user/name", "3f2a9c").name
        'user/name'
    """

    name: str
    """Name of the repository, `user/name`, which commands and functions accept in place of a run's folder."""
    url: str
    """Address of the model's page."""
    commit: str
    """The commit that was made: `user/name@commit` is exactly this model."""


@attrs.frozen
class Repository:
    """A repository on the hub to which a model can be uploaded. If it does not exist, the upload makes it."""

    api: Any
    """The hub's client, logged in."""
    name: str
    """Its name, `user/name`."""
    private: bool
    """Whether a new repository can be read only by its owner."""
    exists: bool
    """Whether it existed before."""
    replaced: list[str]
    """The files of an earlier model."""

    def upload(self, folder: Path) -> Pushed:
        """Uploads the files of a run, its card and its pictures. Files of an earlier model are replaced."""
        with _naming(self.name, self.api), quiet_unless_logged():
            if not self.exists:
                self.api.create_repo(self.name, private=self.private or None)
            commit = self.api.upload_folder(
                repo_id=self.name,
                folder_path=folder,
                commit_message="Upload with auxar",
                allow_patterns=[*PATTERNS, CARD, *PICTURES],
                delete_patterns=[glob.escape(file) for file in self.replaced] or None,
            )
        return Pushed(self.name, f"{self.api.endpoint}/{self.name}", commit.oid)


def open_repository(name: str, *, private: bool, update: bool) -> Repository:
    """Finds the repository of a name. Raises `UserError` if it exists and must not be changed, or without a login."""
    # The import takes a fraction of a second, which other commands do not need.
    from huggingface_hub import HfApi

    api = HfApi(library_name="auxar")
    with _naming(name, api):
        api.whoami()  # Without a token that is valid, nothing needs to be prepared.
        exists = api.repo_exists(name)
        replaced = _replaceable(api, name, private=private, update=update) if exists else []
    return Repository(api, name, private, exists, replaced)


def _replaceable(api: Any, name: str, *, private: bool, update: bool) -> list[str]:
    """The files of an earlier model in a repository that exists. Raises `UserError` if it must not be changed."""
    where = f"{name} exists on the hub ({api.endpoint})"
    if not update:
        raise UserError(f"{where}; --update uploads a new revision")
    if private and not api.repo_info(name).private:
        raise UserError(f"{where} and is public, so --private would not hide it; change it on its page")
    files = api.list_repo_files(name)
    if "recipe.toml" not in files and not set(files) <= {CARD, ".gitattributes"}:
        raise UserError(f"{where} and holds no model of auxar, so it is not changed; choose another name")
    return [file for file in files if OWN.fullmatch(file) or file in PICTURES]


@contextlib.contextmanager
def _naming(name: str, api: Any) -> Iterator[None]:
    """A context in which exceptions of the hub's library become messages."""
    from huggingface_hub import errors

    try:
        yield
    except UserError:
        raise
    except errors.LocalTokenNotFoundError:
        raise UserError(f"{name}: you are not logged in at {api.endpoint}; `hf auth login` does so") from None
    except Exception as error:  # The network, the hub and the disk all raise different exceptions.
        raise UserError(f"{name} could not be uploaded to {api.endpoint}: {reason_of(error)}") from error
