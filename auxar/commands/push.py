"""The command `push`: uploads a finished run to the Hugging Face hub, with a card that describes it."""

from __future__ import annotations

import contextlib
import glob
import logging
import re
import tempfile
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import attrs

from auxar.arguments import as_integer, as_path, check_flag, described
from auxar.commands.export import export
from auxar.commands.models import LICENSE
from auxar.commands.sample import sample
from auxar.distributed.joining import working_together
from auxar.errors import UserError
from auxar.evaluation.records import Evaluation
from auxar.files import is_file, read_bytes, write_text
from auxar.recipe import Recipe
from auxar.recipe.loading import MOST_BYTES
from auxar.recipe.model_names import HUB_NAME
from auxar.recipe.shipped import FIELDS, first_sentence, read_header
from auxar.report.model_card import model_card
from auxar.runs.hub import OWN, PATTERNS, quiet_unless_logged, reason_of
from auxar.runs.layout import RunFolder
from auxar.runs.opening import open_run
from auxar.runs.records import read_record

logger = logging.getLogger("auxar")

IMAGES = 16
"""Default number of drawn images on the card."""
LICENSE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*", re.ASCII)
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


def push(
    path: str | PathLike[str],
    name: str,
    *,
    license: str | None = None,
    private: bool = False,
    update: bool = False,
    half: bool = False,
    images: int = IMAGES,
    trust_plugins: bool = False,
) -> Pushed:
    """Uploads a finished run to the Hugging Face hub, with a card made from its recipe and its evaluation.

    `path` is the run's folder, and `name` that of the repository, such as "user/name". The files are those of
    `auxar.export`; `half` has the same meaning. The card shows `images` images that the model draws (none with 0), and
    names `license`, the identifier of a license as the hub knows it, such as "mit". A new repository is made, which
    only you can read if `private` is True. With `update`, an existing repository gets a new revision, in which the card
    and the files of an earlier model are replaced, and other files are kept.

    Raises `UserError` if the repository exists and `update` is False, or it is public although `private` is True, or
    it holds something else than a model of auxar. It is also raised if you are not logged in, if the hub cannot be
    reached or refuses, and as by `auxar.export`. If an upload fails, the same call with `update` tries it again.

    Examples:
        >>> import auxar
        >>> auxar.push("runs/quickstart", "quickstart", license="mit")
        Traceback (most recent call last):
        auxar.errors.UserError: name: expected the name of a repository, such as 'user/name', got 'quickstart'
    """
    folder = as_path(path, "path")
    repository = HUB_NAME.fullmatch(name) if isinstance(name, str) else None
    if repository is None or repository[1] or repository[4]:
        raise UserError(f"name: expected the name of a repository, such as 'user/name', got {described(name)}")
    for flag, value in (("private", private), ("update", update)):
        check_flag(value, flag)
    if license is not None and (not isinstance(license, str) or not LICENSE_ID.fullmatch(license)):
        raise UserError(f"license: expected the identifier of a license, such as 'mit', got {described(license)}")
    as_integer(images, "images", least=0)
    with working_together() as processes:
        if processes.count > 1:
            raise UserError("auxar push: run this command in one process")
        return _push(folder, name, license, images, private=private, update=update, half=half, trust=trust_plugins)


def _push(
    folder: Path, name: str, license: str | None, images: int, *, private: bool, update: bool, half: bool, trust: bool
) -> Pushed:
    # The import takes a fraction of a second, which other commands do not need.
    from huggingface_hub import HfApi

    api = HfApi(library_name="auxar")
    with _naming(name, api):
        api.whoami()  # Without a token that is valid, nothing needs to be prepared.
        exists = api.repo_exists(name)
        old = _replaceable(api, name, private=private, update=update) if exists else []
    with tempfile.TemporaryDirectory(prefix="auxar-") as temporary:
        exported = Path(temporary, "run")
        run = export(folder, exported, half=half, trust_plugins=trust)
        _, recipe, _ = open_run(exported, trust_plugins=trust)
        pictures = _draw(run, recipe, images, trust_plugins=trust) if images else {}
        card, licensed = _card(name, run, recipe, license, pictures)
        write_text(exported / CARD, card)
        logger.info("uploading %s to %s", folder, name)
        with _naming(name, api), quiet_unless_logged():
            if not exists:
                api.create_repo(name, private=private or None)
            commit = api.upload_folder(
                repo_id=name,
                folder_path=exported,
                commit_message="Upload with auxar",
                allow_patterns=[*PATTERNS, CARD, *PICTURES],
                delete_patterns=[glob.escape(file) for file in old] or None,
            )
    if not licensed:
        logger.warning("no license was given; others may not use the model without one (--license ID)")
    return Pushed(name, f"{api.endpoint}/{name}", commit.oid)


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


def _draw(run: RunFolder, recipe: Recipe, images: int, *, trust_plugins: bool) -> dict[str, str]:
    """Draws images into the folder to upload, and returns captions by file."""
    with tempfile.TemporaryDirectory(prefix="auxar-") as temporary:
        drawn = sample(run, images=images, seed=0, out=Path(temporary, "samples"), trust_plugins=trust_plugins)
        rule = f"rule {recipe.sampling.rule.name}, seed 0, not selected"
        captions = {}
        for file, content in PICTURES.items():
            if is_file(drawn / file):
                (run.path / file).write_bytes((drawn / file).read_bytes())
                captions[file] = f"{content[0].upper()}{content[1:]} ({rule})"
    return captions


def _card(name: str, run: RunFolder, recipe: Recipe, license: str | None, pictures: dict[str, str]) -> tuple[str, bool]:
    """The text of the card, and whether it names a license."""
    purpose, paragraphs = read_header(read_bytes(run.recipe, MOST_BYTES).decode(), (*FIELDS, LICENSE))
    evaluation = read_record(run.evaluation, Evaluation) if is_file(run.evaluation) else None
    terms = paragraphs.get(LICENSE, "")
    text = model_card(
        name,
        recipe,
        evaluation,
        purpose=first_sentence(purpose),
        license=license,
        terms=terms,
        pictures=pictures,
    )
    return text, bool(license or terms)


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
