"""Reads the file in which a folder of parquet files can describe its splits, in the format of the Hugging Face hub."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import huggingface_hub

from auxar.errors import UserError, one_line, shown
from auxar.files import read_bytes, to_json

CARDS = ("README.md", ".huggingface.yaml")
"""Names of the file. The second one takes precedence."""
KEPT = ("config_name", "data_files", "data_dir", "default")
"""The entries of a configuration that auxar reads. The others describe columns, which auxar takes from the files."""
MOST_TEXT = 2**22
"""Maximum size of the file in bytes."""
MOST_PATHS = 10_000
"""Maximum number of paths in all configurations."""


def copy_configurations(folder: Path, other: Path) -> None:
    """Writes the configurations that the card of `folder` has, if there are any, to a card in the folder `other`.

    Raises `UserError` if the card cannot be read, or if it names files outside its folder.
    """
    for card in reversed(CARDS):
        if (folder / card).is_file():
            found = _configurations(folder / card, other)
            if found is not None:
                # JSON is also YAML.
                (other / CARDS[1]).write_text(to_json({"configs": found}), encoding="utf-8")
                return


def _configurations(card: Path, scratch: Path) -> list[dict[str, Any]] | None:
    text = read_bytes(card, MOST_TEXT).decode(errors="replace")
    page = scratch / CARDS[0]
    page.write_text(text if card.name == page.name else f"---\n{text}\n---\n", encoding="utf-8")
    try:
        found = (huggingface_hub.metadata_load(page) or {}).get("configs")
    except Exception as error:  # Invalid YAML raises various exceptions.
        reason = one_line(" ".join(str(error).split()), 300)
        raise UserError(f"data.path: {card} cannot be read as YAML: {reason}") from error
    finally:
        page.unlink()
    if found is None:
        return None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise UserError(f"data.path: configs in {card} must be a list of tables; found {shown(found)}")
    kept = [{key: entry[key] for key in KEPT if key in entry} for entry in found]
    named = _texts([[entry.get(key) for key in ("data_files", "data_dir")] for entry in kept])
    paths = list(itertools.islice(named, MOST_PATHS + 1))
    if len(paths) > MOST_PATHS:  # A few lines of YAML can stand for millions of paths.
        raise UserError(f"data.path: configs in {card} name more than {MOST_PATHS:,} paths")
    for text in paths:
        if "::" in text or "://" in text or text.startswith(("/", "~")) or ".." in text.split("/"):
            raise UserError(
                f"data.path: {card} names {shown(text)}, which is not in its folder; expected paths relative to it"
            )
    return kept


def _texts(value: Any, depth: int = 0) -> Iterator[str]:
    """Yields the strings in nested lists and dictionaries. Deeper levels than `datasets` reads are left out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict) and depth < 8:
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry, depth + 1)
