"""The folder of drawn images: its name, its files, and the protection of other files in it."""

from __future__ import annotations

import contextlib
import hashlib
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from auxar.draw.conditions import LONGEST_NAME, NONE, Conditions
from auxar.draw.plan import Given
from auxar.errors import UserError
from auxar.files import FILE, FOLDER, check_output, entries, kind, read_json, remove, write_json
from auxar.leftovers import TEMPORARY
from auxar.model import FLOAT, Chain, ImageSpec
from auxar.recipe import SamplingConfig
from auxar.runs.lock import HOLDER, LOCK, holding
from auxar.work.chunks import user_of_work

PICTURE = re.compile(r"([0-9]{6}|[1-9][0-9]{6,})(-([0-9]{3}|[1-9][0-9]{3,}))?\.png")
"""The names of single pictures: at least six digits and, for a draw of a given image, a hyphen and at least three."""
RECORD, MARK = "samples.json", ".samples.json"
"""Names of the record of finished samples, and of the file that marks a folder while samples are drawn."""
SHEETS = (RECORD, MARK, "samples.png", "heldout.png", "growth.png", "draws.npz")
"""Names of the files that are written beside `images`, the folder of single pictures."""
KEY = "key"
"""Key of the record and of the mark: the key of the work, as `Work.key`, that the samples are of."""


def begin(folder: Path, mark: Mapping[str, Any], replace: bool) -> None:
    """Marks the folder with facts about the samples that will be drawn, and removes other samples if `replace`.

    Several processes may draw samples with the same key. Raises `UserError`, and changes nothing, as `check_samples`.
    """
    with holding(folder, patience=math.inf):
        if mark[KEY] == key_of(folder):
            return  # Other processes draw, or have drawn, the same images.
        earlier = check_samples(folder, mark[KEY], replace)
        # The mark is written first, so that pictures of a call that was stopped are always recognized.
        write_json(folder / MARK, dict(mark))
        # samples.json is removed next, because it marks the samples as complete.
        for path in sorted(earlier, key=lambda path: path.name != RECORD):
            if path != folder / MARK:
                remove(path)


def finish(folder: Path, record: dict[str, Any]) -> None:
    """Writes `samples.json`, which marks the samples as complete, and removes the mark of `begin`."""
    write_json(folder / RECORD, record)
    remove(folder / MARK)


def check_samples(folder: Path, key: str | None = None, replace: bool = True) -> list[Path]:
    """Returns the files of samples in a folder, of which samples with a key may replace those of another key.

    Files with the names of samples, and temporary files, count as samples only if auxar has drawn samples in this
    folder. Raises `UserError` if the folder holds other files, if it holds samples of another key and `replace` is
    False, or if another process draws such samples.
    """
    for name in SHEETS:
        check_output(folder / name)
    images = folder / "images"
    if (found := kind(images)) not in (None, FOLDER):
        raise UserError(f"{images} cannot be written: expected a folder, found a {found}")
    paths = [*entries(folder), *entries(images)]
    own = key_of(folder)  # It is read after the files are listed, because another process may just begin to draw.
    samples = {path: _is_sample(path, folder, own is not None) for path in paths}
    for path, is_sample in samples.items():
        # Other folders are allowed: they hold samples of other rules and seeds. Another process may rename a file.
        if not is_sample and path.name not in (LOCK, HOLDER) and kind(path) not in (None, FOLDER):
            raise UserError(f"{path} is not a sample of an earlier call; choose an empty folder with --out")
    if own not in (None, key):
        if (user := user_of_work(folder, str(own))) is not None:
            raise UserError(f"{folder} is in use: {user} draws other samples into it; choose another folder with --out")
        if not replace:
            raise UserError(
                f"{folder} holds samples of other options, weights or images; replace them with --replace, or choose "
                "another folder with --out"
            )
    return [path for path, is_sample in samples.items() if is_sample]


def key_of(folder: Path, names: Sequence[str] = (MARK, RECORD)) -> str | None:
    """Key of the samples that auxar draws or has drawn in a folder; None if there are none.

    The lock of the folder says nothing about this, because other programs use files of its name, too.
    """
    for name in names:
        with contextlib.suppress(UserError):
            record = read_json(folder / name)
            if isinstance(record, dict) and record.keys() >= {"rule", "seed", "count"}:
                return str(record.get(KEY, ""))
    return None


def _is_sample(path: Path, folder: Path, is_of_samples: bool) -> bool:
    if (temporary := TEMPORARY.fullmatch(path.name)) is not None:
        is_named = is_of_samples or temporary[1] in (MARK, HOLDER)
    else:
        is_named = path.name in SHEETS if path.parent == folder else PICTURE.fullmatch(path.name) is not None
        is_named = is_named and is_of_samples
    return is_named and kind(path) == FILE


def name_of_samples(
    model: Chain, usual: ImageSpec, config: SamplingConfig, given: Given | None, conditions: Conditions | None
) -> str:
    """The name of the default folder of drawn images, in the folder of the run's samples.

    It contains the size of the images if it is not the `usual` one, the rule, the options of the rule that are not its
    defaults, `conditions` unless they are None, and the seed, so that draws with other options do not replace each
    other.
    """
    kind = "" if given is None else "completed-" if given.known is not None else f"given-depth{given.depth}-"
    if model.image != usual:
        kind = f"{model.image.height}x{model.image.width}-{kind}"
    if model.arithmetic != FLOAT:
        kind = f"{model.arithmetic}-{kind}"
    chosen = [_text({"name": config.rule.name, **config.rule.changed})]
    is_vector = model.condition is None or model.condition.is_vector
    if conditions is not None:
        chosen.append("-".join(conditions.names) or NONE)
    plain = [re.sub(r"[^A-Za-z0-9_.-]+", "_", text)[:LONGEST_NAME] for text in chosen]
    if plain != chosen or (conditions is not None and not is_vector):
        # Other options or conditions could have the same name, so a part of their digest is added.
        whole = repr((chosen, None if conditions is None else conditions.digest))
        plain.append(hashlib.sha256(whole.encode()).hexdigest()[:8])
    return f"{kind}{'-'.join(plain)}-seed{config.seed}"


def _text(option: Any) -> str:
    """The value of an option in the name of a folder. A component is written with its name and its options."""
    if isinstance(option, Mapping):
        others = (f"-{key}{_text(value)}" for key, value in option.items() if key != "name")
        return str(option["name"]) + "".join(others)
    return str(option)
