"""The command `push`: uploads a finished run to the Hugging Face hub, with a card that describes it."""

from __future__ import annotations

import logging
import re
import tempfile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from auxar import Result, UserError, check_flag, command

if TYPE_CHECKING:
    from auxar_hub.uploading import Pushed

logger = logging.getLogger("auxar")

NAME = re.compile(r"\w[\w.-]*/\w[\w.-]*", re.ASCII)
"""The name of a repository."""
LICENSE = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*", re.ASCII)
"""The identifier of a license."""


def _shown(pushed: Pushed) -> Result:
    import attrs

    return Result([pushed.url, f"auxar sample {pushed.name} draws images."], attrs.asdict(pushed))


@command("Share and store", show=_shown)
def push(
    run: str | PathLike[str],
    name: str,
    *,
    license: str | None = None,
    private: bool = False,
    update: bool = False,
    half: bool = False,
    images: int = 16,
    trust_plugins: bool = False,
) -> Pushed:
    """Uploads a finished run to the Hugging Face hub.

    The files are those that `auxar export` writes, with a card that is made from the recipe and the evaluation and
    shows drawn images. They are uploaded to a new repository. Anyone can then use the model by its name:
    `auxar sample user/name`. `hf auth login` logs in. If an upload fails, the same command with --update tries it
    again.

    Args:
        name: the repository, such as user/name
        license (ID): license of the model, as the hub names it, such as mit
        private: make a repository that only you can read
        update: upload a new revision to a repository that exists: the card and the files of an earlier model are
            replaced, other files are kept
        half: store weights as float16, as `auxar export --half`
        images: number of drawn images on the card, or 0

    Raises:
        UserError: the repository exists and `update` is False, it is public although `private` is True, it holds
            something else than a model of auxar, you are not logged in, or the hub cannot be reached or refuses; also
            as `auxar.export`

    Examples:
        >>> import auxar
        >>> auxar.push("runs/quickstart", "quickstart", license="mit")
        Traceback (most recent call last):
        auxar.errors.UserError: name: expected the name of a repository, such as 'user/name', got 'quickstart'
    """
    if not NAME.fullmatch(str(name)):
        raise UserError(f"name: expected the name of a repository, such as 'user/name', got {name!r}")
    if license is not None and not LICENSE.fullmatch(str(license)):
        raise UserError(f"license: expected the identifier of a license, such as 'mit', got {license!r}")
    check_flag(private, "private")
    check_flag(update, "update")
    from huggingface_hub import HfApi

    from auxar import export
    from auxar_hub.card import card, draw
    from auxar_hub.uploading import CARD, files_of, uploaded

    api = HfApi(library_name="auxar")
    files = files_of(api, name, private=private, update=update)
    with tempfile.TemporaryDirectory(prefix="auxar-") as temporary:
        exported = export(run, Path(temporary, "run"), half=half, trust_plugins=trust_plugins)
        captions = draw(exported, images, trust_plugins=trust_plugins) if images else {}
        text = card(name, exported, license, captions, trust_plugins=trust_plugins)
        (exported.path / CARD).write_text(text, encoding="utf-8")
        logger.info("uploading %s to %s", run, name)
        pushed = uploaded(api, name, exported.path, files, private=private)
    if "No license was given." in text:
        logger.warning("no license was given; others may not use the model without one (--license ID)")
    return pushed
