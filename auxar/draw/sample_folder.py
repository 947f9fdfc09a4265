"""The folder of drawn images: its files, and the protection of other files in it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelerate import Accelerator

from auxar.errors import UserError
from auxar.files import FILE, FOLDER, entries, kind, read_json, remove, unfinished, write_json
from auxar.runs.lock import HOLDER, LOCK

PICTURE = re.compile(r"([0-9]{6}|[1-9][0-9]{6,})(-([0-9]{3}|[1-9][0-9]{3,}))?\.png")
"""The names of single pictures: at least six digits and, for a draw of a given image, a hyphen and at least three."""
RECORD, MARK = "samples.json", ".samples.json"
"""Names of the record of finished samples, and of the file that marks a folder while samples are drawn."""
SHEETS = (RECORD, MARK, "samples.png", "heldout.png", "growth.png", "draws.npz")
"""Names of the files that are written beside `images`, the folder of single pictures."""
SHARDS = ".shards"
"""Name of the folder of the results of shards, and the key of the mark that identifies their work."""


def begin(folder: Path, mark: Mapping[str, Any], accelerator: Accelerator) -> None:
    """Marks the folder with facts about the samples that will be drawn, and removes earlier samples.

    Raises `UserError`, and changes nothing, if the folder holds other files.
    """
    if accelerator.is_main_process:
        earlier = _files(folder)
        # The mark is written first, so that pictures of a call that was stopped are always recognized.
        write_json(folder / MARK, mark)
        # samples.json is removed next, because it marks the samples as complete.
        for path in sorted(earlier, key=lambda path: path.name != RECORD):
            if path != folder / MARK:
                remove(path)
    # The other processes wait, so that none writes before the earlier samples are removed.
    accelerator.wait_for_everyone()


def finish(folder: Path, record: dict[str, Any]) -> None:
    """Writes `samples.json`, which marks the samples as complete, and removes the mark of `begin`."""
    write_json(folder / RECORD, record)
    remove(folder / MARK)


def check_samples(folder: Path) -> None:
    """Raises `UserError` if `folder` exists and holds files that are not samples, or shards that are not merged."""
    _files(folder)


def begun_with(folder: Path) -> Any:
    """The facts that identify the work of the shards that are drawn in `folder`; None if there are none."""
    mark = _record(folder / MARK)
    return None if mark is None else mark.get(SHARDS)


def advice_on_shards(folder: Path) -> str:
    """The end of a message about a folder with shards that are not merged."""
    return (
        f"merge them with --merge, choose another folder with --out, or delete {folder / SHARDS}, {folder / MARK} and "
        f"{folder / 'images'}"
    )


def is_sampled(folder: Path) -> bool:
    """Whether auxar has drawn samples in this folder, or has begun to draw them.

    The lock of the folder says nothing about this, because other programs use files of its name, too.
    """
    return any(_record(folder / name) is not None for name in (RECORD, MARK))


def _files(folder: Path) -> list[Path]:
    """The files of earlier samples in `folder`. Raises `UserError` if it holds shards that are not merged."""
    if begun_with(folder) is not None:
        raise UserError(f"{folder} holds shards of drawn images that are not merged; {advice_on_shards(folder)}")
    return files_of_samples(folder)


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
