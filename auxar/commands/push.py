"""The command `push`: uploads a finished run to the Hugging Face hub, with a card that describes it."""

from __future__ import annotations

import logging
import re
import tempfile
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from auxar.commandline import Result, command
from auxar.errors import UserError

if TYPE_CHECKING:
    from auxar.recipe import Recipe
    from auxar.runs.layout import RunFolder
    from auxar.runs.uploading import Pushed

logger = logging.getLogger("auxar")

LICENSE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+-]*", re.ASCII)


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
    from auxar.arguments import as_integer, as_path, check_flag, described
    from auxar.commands.export import export
    from auxar.distributed.joining import working_together
    from auxar.files import write_text
    from auxar.recipe.model_names import HUB_NAME
    from auxar.report.model_card import model_card
    from auxar.report.shipped_models import evaluation_of, purpose_and_license
    from auxar.runs.opening import open_run
    from auxar.runs.uploading import CARD, open_repository

    folder = as_path(run, "run")
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
        target = open_repository(name, private=private, update=update)
        with tempfile.TemporaryDirectory(prefix="auxar-") as temporary:
            exported = export(folder, Path(temporary, "run"), half=half, trust_plugins=trust_plugins)
            _, recipe, _ = open_run(exported.path, trust_plugins=trust_plugins)
            pictures = _draw(exported, recipe, images, trust_plugins=trust_plugins) if images else {}
            purpose, terms = purpose_and_license(exported)
            card = model_card(
                name,
                recipe,
                evaluation_of(exported),
                purpose=purpose,
                license=license,
                terms=terms,
                pictures=pictures,
            )
            write_text(exported.path / CARD, card)
            logger.info("uploading %s to %s", folder, name)
            pushed = target.upload(exported.path)
    if not (license or terms):
        logger.warning("no license was given; others may not use the model without one (--license ID)")
    return pushed


def _draw(run: RunFolder, recipe: Recipe, images: int, *, trust_plugins: bool) -> dict[str, str]:
    """Draws images into the folder to upload, and returns captions by file."""
    from auxar.commands.sample import sample
    from auxar.files import is_file
    from auxar.runs.uploading import PICTURES

    with tempfile.TemporaryDirectory(prefix="auxar-") as temporary:
        drawn = sample(run, images=images, seed=0, out=Path(temporary, "samples"), trust_plugins=trust_plugins)
        rule = f"rule {recipe.sampling.rule.name}, seed 0, not selected"
        captions = {}
        for file, content in PICTURES.items():
            if is_file(drawn / file):
                (run.path / file).write_bytes((drawn / file).read_bytes())
                captions[file] = f"{content[0].upper()}{content[1:]} ({rule})"
    return captions
