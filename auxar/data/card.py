"""Reads the file in which a folder of parquet files can describe its splits, in the format of the Hugging Face hub."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from huggingface_hub.repocard import REGEX_YAML_BLOCK
from yaml import MappingNode, Node, SafeLoader, ScalarNode

from auxar.errors import UserError, one_line, shown
from auxar.files import read_bytes, to_json

CARDS = ("README.md", ".huggingface.yaml")
"""Names of the file. The second one takes precedence."""
KEPT = ("config_name", "data_files", "data_dir", "default")
"""The entries of a configuration that auxar reads. The others describe columns, which auxar takes from the files."""
MOST_TEXT = 2**22
"""Maximum size of the file in bytes."""
MOST_VALUES = 1_000_000
"""Maximum number of values in the file. A value counts again for each alias that stands for it."""
LONGEST_NUMBER = 1000
"""Maximum number of characters of a number in the file."""
TEXT = "tag:yaml.org,2002:str"
"""The tag of texts in YAML."""
MOST_PATHS = 10_000
"""Maximum number of paths in all configurations."""


def copy_configurations(folder: Path, other: Path) -> None:
    """Writes the configurations that the card of `folder` has, if there are any, to a card in the folder `other`.

    Raises `UserError` if the card cannot be read or is invalid, or if it names files outside its folder.
    """
    for card in reversed(CARDS):
        if (folder / card).is_file():
            found = _configurations(folder / card)
            if found is not None:
                # JSON is also YAML.
                (other / CARDS[1]).write_text(to_json({"configs": found}), encoding="utf-8")
                return


def _configurations(card: Path) -> list[dict[str, Any]] | None:
    try:
        found = _metadata(card)
    except UserError:
        raise
    except Exception as error:  # Invalid YAML raises various exceptions.
        reason = one_line(" ".join(str(error).split()), 300)
        raise UserError(f"data.path: {card} cannot be read as YAML: {reason}") from error
    configs = found.get("configs")
    if configs is None:
        return None
    if not isinstance(configs, list) or not all(isinstance(entry, dict) for entry in configs):
        raise UserError(f"data.path: configs in {card} must be a list of tables; found {shown(configs)}")
    kept = [{key: entry[key] for key in KEPT if key in entry} for entry in configs]
    for entry in kept:
        if not _is_valid(**entry):
            raise UserError(
                f"data.path: {card}: expected configs with a text config_name and, optionally, data_files (a path, or "
                "a list of paths or of tables with a split and its path), a text data_dir, and a default (true or "
                f"false); found {shown(entry)}"
            )
    paths = [path for entry in kept for key in ("data_files", "data_dir") for path in _texts(entry.get(key))]
    if len(paths) > MOST_PATHS:  # A few lines of YAML can stand for many paths.
        raise UserError(f"data.path: configs in {card} name more than {MOST_PATHS:,} paths")
    for text in paths:
        if "::" in text or "://" in text or text.startswith(("/", "~")) or ".." in text.split("/"):
            raise UserError(
                f"data.path: {card} names {shown(text)}, which is not in its folder; expected paths relative to it"
            )
    return kept


def _metadata(card: Path) -> dict[Any, Any]:
    """The table in the YAML of a card, empty if there is none. Raises `UserError` if aliases make it too large."""
    text = read_bytes(card, MOST_TEXT).decode("utf-8-sig", errors="replace")
    if card.name == CARDS[0]:
        block = REGEX_YAML_BLOCK.search(text)
        text = block[2] if block else ""
    loader = SafeLoader(text)
    root = loader.get_single_node()
    if root is None:
        return {}
    if not isinstance(root, MappingNode):
        raise ValueError("expected a table")
    # The nodes are checked before they become values, because a merge (`<<`) copies the values of an alias.
    if _size(root, {}) > MOST_VALUES:
        raise UserError(f"data.path: the aliases in {card} stand for more than {MOST_VALUES:,} values")
    table: dict[Any, Any] = loader.construct_document(root)
    return table


def _size(node: Node, known: dict[Node, float]) -> float:
    """The number of nodes that a YAML node stands for, infinite if it contains itself. Visits each node once.

    Raises `ValueError` for a number or another special value of more than `LONGEST_NUMBER` characters, because the time
    that the conversion of a number takes may grow with the square of its length.
    """
    if isinstance(node, ScalarNode):
        if node.tag != TEXT and len(node.value) > LONGEST_NUMBER:
            raise ValueError(f"a number has more than {LONGEST_NUMBER} characters")
        return 1.0
    if node not in known:
        known[node] = float("inf")  # An alias inside its own node has this size.
        inside = itertools.chain(*node.value) if isinstance(node, MappingNode) else node.value
        known[node] = 1.0 + sum(_size(entry, known) for entry in inside)
    return known[node]


def _is_valid(config_name: Any = None, data_files: Any = None, data_dir: Any = None, default: Any = None) -> bool:
    """Whether the entries of a configuration have the types that `datasets` expects."""
    return (
        isinstance(config_name, str)
        and isinstance(data_dir, str | None)
        and isinstance(default, bool | None)
        and (data_files is None or _are(data_files, lambda entry: isinstance(entry, str) or _is_split(entry)))
    )


def _is_split(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == {"split", "path"}
        and isinstance(value["split"], str)
        and _are(value["path"], lambda entry: isinstance(entry, str))
    )


def _are(value: Any, is_valid: Callable[[Any], bool]) -> bool:
    """Whether a value is a text, or a list whose entries are all valid."""
    return isinstance(value, str) or (isinstance(value, list) and all(map(is_valid, value)))


def _texts(value: Any) -> Iterator[str]:
    """Yields the strings in valid `data_files`, a text or None."""
    if isinstance(value, str):
        yield value
    elif value is not None:
        for entry in value.values() if isinstance(value, dict) else value:
            yield from _texts(entry)
