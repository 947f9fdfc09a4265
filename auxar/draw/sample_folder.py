"""The folder of drawn images: its files, and the protection of other files in it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from auxar.errors import UserError
from auxar.files import FILE, FOLDER, entries, kind, read_json, remove, unfinished, write_json
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
        if mark[KEY] in (key_of(folder / MARK), key_of(folder / RECORD)):
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

    Raises `UserError` if the folder exists and holds files that are not samples, if it holds samples of another key and
    `replace` is False, or if another process draws such samples.
    """
    try:
        files = files_of_samples(folder)
    except UserError:
        # Another process may have begun to draw the same images while the files were listed.
        if key is None or key not in (key_of(folder / MARK), key_of(folder / RECORD)):
            raise
        return []
    found = next((each for name in (MARK, RECORD) if (each := key_of(folder / name)) is not None), None)
    if found is not None and found != key:
        if (user := user_of_work(folder, found)) is not None:
            raise UserError(f"{folder} is in use: {user} draws other samples into it; choose another folder with --out")
        if not replace:
            raise UserError(
                f"{folder} holds samples of other options, weights or images; replace them with --replace, or choose "
                "another folder with --out"
            )
    return files


def key_of(path: Path) -> str | None:
    """The key in a record or in a mark; None if the file is none of auxar."""
    record = _record(path)
    return None if record is None else str(record.get(KEY, ""))


def is_sampled(folder: Path) -> bool:
    """Whether auxar has drawn samples in this folder, or has begun to draw them.

    The lock of the folder says nothing about this, because other programs use files of its name, too.
    """
    return any(_record(folder / name) is not None for name in (RECORD, MARK))


def files_of_samples(folder: Path) -> list[Path]:
    """The files of samples in `folder`. Raises `UserError` if it holds other files; lock files are ignored.

    Files with the names of samples, and temporary files of any name, count as samples only if auxar has drawn samples
    in this folder.
    """
    images = folder / "images"
    if (found := kind(images)) not in (None, FOLDER):
        raise UserError(f"{images} cannot be written: expected a folder, found a {found}")
    is_of_samples = is_sampled(folder)
    left = {*unfinished(folder), *unfinished(images)} if is_of_samples else {*unfinished(folder, (MARK, HOLDER))}
    samples = []
    for path in (*entries(folder), *entries(images)):
        is_picture = path.parent == images and PICTURE.fullmatch(path.name)
        is_named = is_picture or (path.parent == folder and path.name in SHEETS)
        if is_named and kind(path) == FILE:
            samples.append(path)
        # Other folders are allowed: they hold samples of other rules and seeds.
        elif path not in left and path.name not in (LOCK, HOLDER) and (is_named or not path.is_dir()):
            raise UserError(f"{path} is not a sample of an earlier call; choose an empty folder with --out")
    if samples and not is_of_samples:
        raise UserError(
            f"{samples[0]} is not a sample of an earlier call: the folder has neither a {RECORD} nor a {MARK} of "
            "auxar; choose an empty folder with --out"
        )
    return [*left, *samples]


def _record(path: Path) -> dict[str, Any] | None:
    """The record in a file; None if it is none of auxar."""
    try:
        record = read_json(path)
    except UserError:
        return None
    return record if isinstance(record, dict) and record.keys() >= {"rule", "seed", "count"} else None
